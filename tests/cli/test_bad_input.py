"""Bad input: a message naming file, step, what was found and expected; the others finish; nothing is left behind."""

import json
import subprocess

import numpy as np
import pytest
from astropy.io import fits

import jwpipe


@pytest.fixture
def run(jw, uncal, refs, tmp_path):
    """Stage 1 of a bad file beside a good one."""

    def call(bad, *options, pipeline="detector1"):
        return jw("run", pipeline, bad, uncal[1], "--refs", refs, "-o", tmp_path / "out", *options)

    return call


def written(folder):
    return sorted(path.name for path in (folder / "out").glob("*"))


def refused(ran, folder, *told):
    """One exposure failed with this message, the good one is there, nothing else is."""
    assert ran.status == 1, ran.output
    for text in told:
        assert text in ran.output, ran.output
    assert "1 done, 1 failed" in ran.output
    assert len(written(folder)) == 2
    assert all("_00002_" in name for name in written(folder))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (lambda raw: raw[: len(raw) // 2], "the file is cut short"),
        (lambda raw: raw[:3000], "the file is cut short"),
        (lambda raw: b"", "the file is empty"),
        (lambda raw: b"hello" * 100, "not a FITS file"),
    ],
)
def test_damaged_files(run, uncal, tmp_path, content, told):
    bad = tmp_path / "bad_uncal.fits"
    bad.write_bytes(content(uncal[0].read_bytes()))
    refused(run(bad), tmp_path, str(bad), told)


def put(**keywords):
    """A change of keywords, wherever they stand; ``None`` removes one."""

    def change(hdus):
        for name, value in keywords.items():
            key = name.replace("_", "-") if name.startswith("DATE") else name
            for hdu in hdus:
                if key in hdu.header and value is None:
                    del hdu.header[key]
                elif key in hdu.header:
                    hdu.header[key] = value

    return change


def without_science(hdus):
    del hdus["SCI"]


def one_frame(hdus):
    hdus["SCI"].data = hdus["SCI"].data[0, 0]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (without_science, "no SCI image; found PRIMARY, ZEROFRAME"),
        (one_frame, "expected 4"),
        (put(NGROUPS=9), "NGROUPS is 9, but SCI has 5 groups"),
        (put(NINTS=3), "NINTS is 3, but SCI has 1 integrations"),
        (put(NGROUPS=None), "keyword NGROUPS is missing"),
        (put(EXP_TYPE="NRC_FOO"), "EXP_TYPE is 'NRC_FOO', expected one of NIRCAM"),
        (put(EXP_TYPE=None), "keyword EXP_TYPE is missing"),
        (put(DETECTOR="NRCX9"), "DETECTOR is 'NRCX9', expected one of NIRCAM"),
        (put(INSTRUME="FOO"), "INSTRUME is 'FOO', expected NIRCAM"),
        (put(EXP_TYPE="NRC_DARK"), "run dark on it"),
        (put(TGROUP=0.0), "TGROUP is 0.0, expected a positive number"),
        (put(TGROUP=-3.0), "TGROUP is -3.0, expected a positive number"),
        (put(NFRAMES=0), "NFRAMES is 0, expected"),
        (put(GROUPGAP=-1), "GROUPGAP is -1, expected"),
        (put(NFRAMES=None), "dark_current: keyword NFRAMES is missing"),
        (put(SUBSIZE1=-4), "SUBSIZE1 is -4, but SCI has 64"),
        (put(SUBSTRT1=99999), "SUBSTRT1"),
        (put(FASTAXIS=7), "refpix: FASTAXIS 7"),
        (put(DATE_OBS="yesterday"), "DATE-OBS='yesterday'"),
    ],
)
def test_keywords_and_pixels_that_contradict(run, uncal, edited, tmp_path, change, told):
    refused(run(edited(uncal[0], change)), tmp_path, uncal[0].stem.removesuffix("_uncal"), told)


def all_samples(value):
    def change(hdus):
        hdus["SCI"].data = np.full(hdus["SCI"].shape, value, np.asarray(value).dtype)

    return change


@pytest.mark.parametrize(
    ("value", "told"),
    [(np.uint16(65535), "SATURATED: 4096"), (np.float32(np.nan), "DO_NOT_USE: 4096")],
)
def test_nothing_that_can_be_used(run, uncal, edited, tmp_path, left_over, value, told):
    ran = run(edited(uncal[0], all_samples(value)))
    refused(ran, tmp_path, uncal[0].name, "rate: none of 4096 pixels can be used", told)
    assert not left_over(tmp_path)


def test_everything_flagged_by_the_mask(run, uncal, tiny, edited, tmp_path):
    def flag(hdus):
        hdus["DQ"].data[...] = 1

    mask = edited(tiny.files["NRCB1"]["mask"], flag)
    ran = run(uncal[0], "--override", f"mask={mask}")
    assert (ran.status, written(tmp_path)) == (1, [])
    assert ran.output.count("none of 4096 pixels can be used (DO_NOT_USE: 4096") >= 2


def groups(number):
    def change(hdus):
        hdus["SCI"].data = hdus["SCI"].data[:, :number].copy()
        hdus[0].header["NGROUPS"] = number

    return change


@pytest.mark.parametrize("number", [1, 2])
def test_one_and_two_groups_give_rates(jw, uncal, refs, edited, tmp_path, number):
    short = edited(uncal[0], groups(number))
    ran = jw("run", "detector1", short, "--refs", refs, "-o", tmp_path / "out")
    assert ran.status == 0, ran.output
    rate = jwpipe.open(next((tmp_path / "out").glob("*_rate.fits")))
    assert np.isfinite(rate["sci"].values).mean() > 0.9


def test_samples_that_are_not_finite_spoil_their_pixels_alone(jw, uncal, refs, edited, tmp_path):
    def spoil(hdus):
        ramp = hdus["SCI"].data.astype(np.float32)
        ramp[0, 1, 10:12, 10:12], ramp[0, :, 30, 30] = np.nan, np.inf
        hdus["SCI"].data = ramp

    spoiled = edited(uncal[0], spoil)
    for name, path in (("good", uncal[0]), ("bad", spoiled)):
        ran = jw("run", "detector1", path, "--refs", refs, "-o", tmp_path / name)
        assert ran.status == 0, ran.output
    good, bad = (
        jwpipe.open(next((tmp_path / each).glob("*_rate.fits")))["sci"].values
        for each in ("good", "bad")
    )
    np.testing.assert_allclose(bad[10:12, 10:12], good[10:12, 10:12], atol=200.0)
    assert np.isnan(bad[30, 30])
    # Infinite samples are saturated, and saturation spreads to the neighbours.
    beside = np.ones(good.shape, bool)
    beside[10:12, 10:12] = beside[29:32, 29:32] = False
    np.testing.assert_array_equal(bad[beside], good[beside])


def reference(tiny, edited, kind, change):
    return edited(tiny.files["NRCB1"][kind], change, f"bad_{kind}.fits")


def smaller(hdus):
    for hdu in hdus[1:]:
        if hdu.is_image and hdu.data is not None and hdu.data.ndim >= 2:
            hdu.data = hdu.data[..., :32, :32].copy()
    for name in ("SUBSIZE1", "SUBSIZE2"):
        hdus[0].header[name] = 32


@pytest.mark.parametrize(
    ("kind", "change", "told"),
    [
        ("gain", put(INSTRUME="MIRI"), "gain reference for INSTRUME=MIRI"),
        ("gain", put(DETECTOR="NRCA1"), "gain reference for DETECTOR=NRCA1"),
        ("gain", put(REFTYPE="FLAT"), "REFTYPE is 'FLAT', expected GAIN"),
        ("gain", smaller, "gain reference"),
        ("dark", smaller, "dark reference of 32 x 32 pixels"),
    ],
)
def test_references_that_do_not_fit(run, uncal, tiny, edited, tmp_path, kind, change, told):
    bad = reference(tiny, edited, kind, change)
    ran = run(uncal[0], "--override", f"{kind}={bad}")
    assert (ran.status, str(bad) in ran.output, told in ran.output) == (1, True, True), ran.output
    assert written(tmp_path) == []


def test_pixels_without_a_reference_value_are_flagged(jw, uncal, refs, tiny, edited, tmp_path):
    def spoil(hdus):
        hdus["SCI"].data[5:8, 5:8] = np.nan

    gain = reference(tiny, edited, "gain", spoil)
    words = ("run", "detector1", uncal[0], "--refs", refs, "-o", tmp_path / "out")
    ran = jw(*words, "--override", f"gain={gain}")
    assert ran.status == 0, ran.output
    rate = jwpipe.open(next((tmp_path / "out").glob("*_rate.fits")))
    assert (rate["dq"].values[5:8, 5:8] & 1).all()
    assert np.isnan(rate["sci"].values[5:8, 5:8]).all()
    assert np.isfinite(rate["sci"].values[20:]).mean() > 0.9


def test_missing_references_are_one_message_before_anything_runs(jw, uncal, tmp_path):
    (tmp_path / "refs").mkdir()
    words = (
        "run",
        "detector1,image2",
        uncal[0],
        "--refs",
        tmp_path / "refs",
        "-o",
        tmp_path / "out",
    )
    ran = jw(*words)
    assert ran.status == 1
    for kind in ("mask", "gain", "dark", "flat", "distortion", "photom"):
        assert f"  {kind}: INSTRUME=NIRCAM" in ran.output, ran.output
    assert "give each with --override" in ran.output
    assert "detector1,image2 ..." not in ran.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("pipeline", "suffix", "told"),
    [
        ("image2", "uncal", "image2: this uncal has dimensions integration, group, y, x"),
        ("image2", "cal", "image2: this cal is calibrated already"),
        ("detector1", "rate", "detector1: this rate has dimensions y, x"),
        ("image3", "rate", "image3: no WCS; run image2"),
        ("image3", "i2d", "image3: this is a mosaic"),
        ("jump", "cal", "this cal has dimensions y, x"),
        ("flat_field", "uncal", "this uncal has dimensions"),
    ],
)
def test_products_of_another_stage(jw, uncal, products, refs, tmp_path, pipeline, suffix, told):
    path = uncal[0] if suffix == "uncal" else sorted(products.glob(f"*_{suffix}.fits"))[0]
    ran = jw("run", pipeline, path, "--refs", refs, "-o", tmp_path / "out")
    assert (ran.status, told in ran.output) == (1, True), ran.output
    assert written(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"products": [', "line 1, column 15: not JSON"),
        ("[1, 2]", "no association"),
        (b"\xff\xfe\x00", "not text"),
        ({"products": [{"name": "p", "members": []}]}, "no list 'members'"),
        (["nowhere_cal.fits"], "1 of 1 members are missing"),
        (["../../etc/passwd"], "leads out of the association's folder"),
        (["/etc/passwd"], "leads out of the association's folder"),
    ],
)
def test_associations_that_cannot_be_used(jw, refs, tmp_path, content, told):
    if isinstance(content, list):
        members = [{"expname": name, "exptype": "science"} for name in content]
        content = {"products": [{"name": "p", "members": members}]}
    path = tmp_path / "asn.json"
    raw = content if isinstance(content, bytes | str) else json.dumps(content)
    path.write_bytes(raw if isinstance(raw, bytes) else raw.encode())
    ran = jw("run", "image3", path, "--refs", refs, "-o", tmp_path / "out")
    assert (ran.status, told in ran.output, str(path) in ran.output) == (1, True, True), ran.output
    assert written(tmp_path) == []


def test_exposures_of_different_fields(jw, products, refs, edited, tmp_path):
    """A mosaic of exposures degrees apart would be empty space."""
    cals = sorted(products.glob("*_cal.fits"))
    rate = sorted(products.glob("*_rate.fits"))[2]

    def moved(hdus):
        hdus["SCI"].header["RA_REF"] += 20.0

    far = edited(rate, moved)
    assert jw("run", "image2", far, "--refs", refs, "-o", tmp_path / "far").status == 0
    away = next((tmp_path / "far").glob("*_cal.fits"))
    words = ("run", "image3", *cals[:2], away, "--refs", refs, "-o", tmp_path / "out")
    ran = jw(*words, "--skip", "tweakreg")
    assert (ran.status, away.name in ran.output) == (1, True), ran.output
    assert not any("i2d" in name for name in written(tmp_path))


def test_one_exposure_makes_a_mosaic(jw, products, refs, tmp_path):
    cal = sorted(products.glob("*_cal.fits"))[0]
    ran = jw("run", "image3", cal, "--refs", refs, "-o", tmp_path / "out")
    assert ran.status == 0, ran.output
    assert any(name.endswith("_i2d.fits") for name in written(tmp_path))


def test_a_failed_exposure_is_left_out_of_the_mosaic(jw, uncal, refs, edited, tmp_path):
    bad = edited(uncal[0], all_samples(np.uint16(65535)))
    words = ("detector1,image2,image3", bad, *uncal[1:], "--refs", refs, "-o", tmp_path / "out")
    ran = jw("run", *words, "--skip", "source_catalog")
    assert ran.status == 1
    assert f"without {bad.name}, which failed" in ran.output
    assert len([name for name in written(tmp_path) if "_crf" in name]) == 2
    assert len([name for name in written(tmp_path) if "_i2d" in name]) == 1


def test_the_same_exposure_twice(jw, uncal, refs, copied, tmp_path):
    (again,) = copied([uncal[0]])
    ran = jw("run", "detector1", uncal[0], again, "--refs", refs, "-o", tmp_path / "out")
    assert (ran.status, "the same exposure as" in ran.output) == (1, True)
    assert len(written(tmp_path)) == 2


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 150 kB, where the system lets us have one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=150k", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("no right to mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("form", ["fits", "zarr"])
def test_a_full_disk(jw, uncal, refs, small_disk, form):
    ran = jw("run", "detector1", uncal[0], "--refs", refs, "-o", small_disk, "--format", form)
    assert (ran.status, "the disk is full; free space or choose" in ran.output) == (1, True)
    assert list(small_disk.iterdir()) == []


def test_a_folder_that_cannot_be_written(jw, uncal, refs, tmp_path):
    (tmp_path / "file").touch()
    ran = jw("run", "detector1", uncal[0], "--refs", refs, "-o", tmp_path / "file" / "below")
    assert (ran.status, "a file stands where" in ran.output) == (1, True), ran.output


def test_a_file_without_its_pixels(run, uncal, edited, tmp_path):
    def emptied(hdus):
        hdus["SCI"] = fits.ImageHDU(name="SCI")

    refused(run(edited(uncal[0], emptied)), tmp_path, "no SCI image")
