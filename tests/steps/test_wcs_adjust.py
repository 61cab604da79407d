"""Adjusting the WCS of an image by hand."""

import numpy as np
import pytest
import xarray as xr
from astropy.coordinates import SkyCoord
from test_wcs_grism import ROWS, exposure, nircam_tree, references
from test_wcs_inspect import image

from jwpipe.exposure import ExposureError
from jwpipe.stage2.assign_wcs import AssignWcsParams
from jwpipe.wcs import imaging
from jwpipe.wcs.adjust import Adjustment, adjusted


def pointed():
    """NIRCam pixels of 0.06 arcsec; 1000, 1000 is at the reference point, (53.16, -27.8)."""
    bare = exposure(ROWS)
    wcs = imaging.build(bare, references(nircam_tree()), AssignWcsParams())
    wcs.bounding_box = ((-0.5, 79.5), (-0.5, 63.5))
    return bare.assign_attrs(wcs=wcs)


def place(given, x, y):
    return SkyCoord(*given.attrs["wcs"](x, y, with_bounding_box=False), unit="deg")


def test_the_reference_point_moves_by_the_angles():
    before = pointed()
    after = adjusted(before, Adjustment(ra=0.01, dec=-0.002))
    was, now = place(before, 1000.0, 1000.0), place(after, 1000.0, 1000.0)
    assert (now.ra.deg - was.ra.deg, now.dec.deg - was.dec.deg) == pytest.approx((0.01, -0.002))


@pytest.mark.parametrize(
    ("by", "turn", "stretch"), [(Adjustment(roll=0.5), 0.5, 1), (Adjustment(scale=1.01), 0, 1.01)]
)
def test_the_rest_turns_and_scales_about_it(by, turn, stretch):
    middle = place(pointed(), 1000.0, 1000.0)
    was = place(pointed(), 1400.0, 900.0)
    now = place(adjusted(pointed(), by), 1400.0, 900.0)
    turned = (middle.position_angle(now) - middle.position_angle(was)).deg
    assert turned == pytest.approx(turn, abs=1e-6)
    ratio = middle.separation(now) / middle.separation(was)
    assert float(ratio) == pytest.approx(stretch, rel=1e-6)


def test_the_header_follows_and_the_input_stays():
    before = pointed()
    corner = place(before, -0.5, -0.5)
    after = adjusted(before, Adjustment(dec=0.01))
    region = np.array(after.attrs["sci"]["S_REGION"].split()[2:4], float)
    now = place(after, -0.5, -0.5)
    np.testing.assert_allclose(region, (now.ra.deg, now.dec.deg), atol=1e-8)
    assert "CRVAL2" in after.attrs["sci"]
    assert "S_REGION" not in before.attrs["sci"]
    assert place(before, -0.5, -0.5) == corner
    xr.testing.assert_identical(after.drop_attrs(), before.drop_attrs())


def test_other_wcs_are_refused():
    with pytest.raises(ExposureError, match="expected an image's, with a step"):
        adjusted(image(), Adjustment(ra=1))
    with pytest.raises(ExposureError, match="no WCS to adjust"):
        adjusted(exposure(ROWS), Adjustment(ra=1))
