"""Velocity aberration by hand, and S_REGION from the WCS."""

import nirspec_examples
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from test_wcs_adjust import pointed
from wcs_modes import modes

from jwpipe.cli import main
from jwpipe.exposure import ExposureError
from jwpipe.io import open, save
from jwpipe.stage2.assign_wcs import AssignWcsParams, tie_to_sky
from jwpipe.wcs.repair import LIGHT, aberration, with_s_region, with_velocity_aberration

HEADER = {"JWST_DX": 0.0, "JWST_DY": 29.0, "JWST_DZ": 0.0, "RA_REF": 0.0, "DEC_REF": 0.0}


def test_a_star_at_right_angles_to_the_motion():
    """It is seen v / c ahead, 20 arcsec for 29 km/s: tan = beta gamma; the scale is gamma."""
    beta = 29.0 / LIGHT
    gamma = 1 / np.sqrt(1 - beta**2)
    found = aberration((0.0, 29.0, 0.0), 0.0, 0.0)
    assert np.tan(np.radians(found.ra)) == pytest.approx(beta * gamma, rel=1e-9)
    assert found.dec == pytest.approx(0.0, abs=1e-12)
    assert found.scale == pytest.approx(gamma, rel=1e-15)


def test_a_star_ahead():
    """It stays where it is, and scales with the Doppler factor, sqrt((1 + beta) / (1 - beta))."""
    beta = 30.0 / LIGHT
    found = aberration((0.0, 0.0, 30.0), 12.0, 90.0)
    assert found.dec == pytest.approx(90.0, abs=1e-6)
    assert found.scale == pytest.approx(np.sqrt((1 + beta) / (1 - beta)), rel=1e-12)


def test_at_rest():
    found = aberration((0.0, 0.0, 0.0), 359.5, -3.0)
    assert (found.scale, found.ra, found.dec) == (1.0, 359.5, -3.0)


@given(
    velocity=st.tuples(*[st.floats(-40, 40)] * 3), ra=st.floats(0, 359.99), dec=st.floats(-89, 89)
)
def test_the_way_back_is_the_opposite_velocity(velocity, ra, dec):
    there = aberration(velocity, ra, dec)
    back = aberration(tuple(-value for value in velocity), there.ra, there.dec)
    assert (back.ra - ra + 180) % 360 - 180 == pytest.approx(0, abs=1e-8)
    assert back.dec == pytest.approx(dec, abs=1e-8)
    assert back.scale * there.scale == pytest.approx(1, rel=1e-12)


def test_keywords_of_the_aberration():
    before = pointed().assign_attrs(sci=HEADER, wcs=None)
    after = with_velocity_aberration(before)
    assert after.attrs["sci"]["VA_SCALE"] == pytest.approx(1 + 0.5 * (29 / LIGHT) ** 2)
    assert after.attrs["primary"]["VA_RA"] == pytest.approx(np.degrees(29 / LIGHT), rel=1e-7)
    assert "VA_SCALE" not in before.attrs["sci"]


@pytest.mark.parametrize(
    ("name", "value"), [("JWST_DX", None), ("DEC_REF", "x"), ("RA_REF", np.nan)]
)
def test_the_velocity_and_the_pointing_are_needed(name, value):
    sci = {key: kept for key, kept in (HEADER | {name: value}).items() if kept is not None}
    with pytest.raises(ExposureError, match=name):
        with_velocity_aberration(pointed().assign_attrs(sci=sci))


def test_the_region_of_an_image_is_its_corners():
    after = with_s_region(pointed())
    corners = np.array(after.attrs["sci"]["S_REGION"].split()[2:], float).reshape(4, 2)
    expected = pointed().attrs["wcs"](-0.5, -0.5, with_bounding_box=False)
    np.testing.assert_allclose(corners[0], expected, atol=1e-8)


@pytest.mark.skipif(
    not nirspec_examples.REFERENCES.exists(), reason=f"{nirspec_examples.REFERENCES} is absent"
)
def test_the_region_of_slices_is_that_of_assign_wcs(tmp_path):
    (mode,) = modes(tmp_path, "miri mrs long")
    solved = tie_to_sky(mode.exposure(tmp_path), mode.files(), AssignWcsParams())
    bare = solved.assign_attrs(sci={**solved.attrs["sci"], "S_REGION": "none"})
    found, expected = (
        np.array(each.attrs["sci"]["S_REGION"].split()[2:], float)
        for each in (with_s_region(bare), solved)
    )
    # 1e-3 pixels of 0.27 arcsec
    np.testing.assert_allclose(found, expected, atol=1e-3 * 0.27 / 3600)


@pytest.mark.skipif(
    not nirspec_examples.REFERENCES.exists(), reason=f"{nirspec_examples.REFERENCES} is absent"
)
def test_slitless_spectra_have_the_region_of_their_direct_image(tmp_path):
    (mode,) = modes(tmp_path, "nircam wfss a r")
    solved = tie_to_sky(mode.exposure(tmp_path), mode.files(), AssignWcsParams())
    with pytest.raises(ExposureError, match="copy S_REGION from the direct image"):
        with_s_region(solved)


def test_from_the_command_line(tmp_path):
    given = pointed().assign_attrs(sci={**pointed().attrs["sci"], **HEADER}, product="cal")
    path = save(given, tmp_path / "one_cal.fits")
    for command in ("set-velocity-aberration", "set-s-region"):
        result = CliRunner().invoke(main, [command, str(path), "--output", str(tmp_path / command)])
        assert result.exit_code == 0, result.output
    assert open(tmp_path / "set-velocity-aberration" / path.name).attrs["sci"]["VA_SCALE"] > 1
    assert "POLYGON" in open(tmp_path / "set-s-region" / path.name).attrs["sci"]["S_REGION"]
    result = CliRunner().invoke(main, ["set-s-region", str(path), "--output", str(tmp_path)])
    assert (result.exit_code, "would be overwritten" in result.output) == (2, True)
