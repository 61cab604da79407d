"""``jwpipe wcs``: where pixels look, and back."""

import pytest


@pytest.fixture
def cal(products):
    return next(iter(sorted(products.glob("*_cal.fits"))))


def _numbers(output, *names):
    lines = {line.split()[0]: line.split() for line in output.splitlines()}
    return [float(lines[name][n]) for name, n in names]


def test_a_pixel_and_back(jw, cal):
    there = jw("wcs", cal, 10.5, 20)
    assert (there.status, "counted from 0" in there.output) == (0, True), there.output
    ra, dec = _numbers(there.output, ("RA", 1), ("Dec", 1))
    back = jw("wcs", cal, "--inverse", ra, dec)
    assert _numbers(back.output, ("pixel", 1), ("pixel", 2)) == pytest.approx((10.5, 20), abs=1e-3)


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        (["-0.75", "3"], 1, "outside the bounding box"),
        (["3", "4", "--slit", "S200A1"], 1, "--slit has no meaning"),
        (["3", "4", "5"], 2, "expected X Y, found 3 numbers"),
        (["--inverse", "3"], 2, "expected RA DEC [WAVELENGTH]"),
        (["3", "4", "--slt", "S200A1"], 2, "'--slt' is not a valid float"),
    ],
)
def test_what_cannot_be_asked(jw, cal, words, status, told):
    ran = jw("wcs", cal, *words)
    assert (ran.status, told in ran.output) == (status, True), ran.output


def test_raw_files_have_no_wcs(jw, uncal):
    ran = jw("wcs", uncal[0], 1, 2)
    assert (ran.status, "no WCS in this uncal" in ran.output) == (1, True), ran.output


def test_adjusted_products(jw, cal, tmp_path):
    ran = jw("adjust-wcs", cal, "-d", "-0.36arcsec", "--output", tmp_path)
    assert ran.status == 0, ran.output
    before, after = jw("wcs", cal, 5, 6), jw("wcs", tmp_path / cal.name, 5, 6)
    [was], [now] = (_numbers(each.output, ("Dec", 1)) for each in (before, after))
    assert now - was == pytest.approx(-1e-4, rel=1e-3)


def test_adjusting_overwrites_nothing(jw, cal):
    ran = jw("adjust-wcs", cal, "-r", "1", "--output", cal.parent)
    assert (ran.status, "would be overwritten" in ran.output) == (2, True), ran.output


def test_angles_have_units_of_angles(jw, cal, tmp_path):
    ran = jw("adjust-wcs", cal, "-r", "1s", "--output", tmp_path)
    assert (ran.status, "is no angle" in ran.output) == (2, True), ran.output
