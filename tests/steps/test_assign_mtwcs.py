"""Exposures of a moving target: brought together on the target, or left with a reason."""

import pickle

import numpy as np
import pytest
from astropy import coordinates, units
from astropy.modeling.models import Identity, Mapping, Shift
from gwcs import WCS
from gwcs.coordinate_frames import CelestialFrame, CompositeFrame, Frame2D, SpectralFrame
from mosaic_examples import dithered

from jwpipe.engine.preparing import Settings
from jwpipe.exposure import ExposureError, header
from jwpipe.mosaic import build_mosaic, parameters_for, solve
from jwpipe.stage3.assign_mtwcs import follow_target, is_moving, on_target

PLACES = ((10.001, -5.0), (10.002, -5.0005), (10.003, -5.001))


def moving(*places):
    """Dithered exposures with the target's place in each header."""
    found = []
    for exposure, place in zip(dithered(len(places)), places, strict=True):
        primary = {**exposure.attrs["primary"], "TARGTYPE": "MOVING"}
        target = {
            key: v for key, v in zip(("MT_RA", "MT_DEC"), place, strict=True) if v is not None
        }
        found.append(
            exposure.assign_attrs(primary=primary, sci={**exposure.attrs["sci"], **target})
        )
    return found


def test_exposures_are_shifted_to_the_average_place():
    exposures = moving(*PLACES)
    followed, reason = follow_target(exposures)
    assert not reason
    for before, after, (ra, dec) in zip(exposures, followed, PLACES, strict=True):
        old, new = before.attrs["wcs"](10.0, 20.0), after.attrs["wcs"](10.0, 20.0)
        # The average place is (10.002, -5.0005).
        np.testing.assert_allclose(np.subtract(new, old), (10.002 - ra, -5.0005 - dec), atol=1e-12)
        assert after.attrs["wcs"].available_frames[-2:] == [old_frame(before), "moving_target"]
        assert after.attrs["wcs"].bounding_box == before.attrs["wcs"].bounding_box
        assert after.attrs["sci"]["MT_AVRA"] == pytest.approx(10.002, abs=1e-12)
        assert after.attrs["sci"]["MT_AVDEC"] == pytest.approx(-5.0005, abs=1e-12)
        assert "MT_AVRA" not in before.attrs["sci"]
        corner = [float(v) for v in after.attrs["sci"]["S_REGION"].split()[2:4]]
        lower, left = (side[0] for side in after.attrs["wcs"].bounding_box)
        np.testing.assert_allclose(corner, after.attrs["wcs"](lower, left), atol=2e-9)
        pickle.loads(pickle.dumps(after.attrs["wcs"]))


def old_frame(exposure):
    return exposure.attrs["wcs"].output_frame.name


@pytest.mark.parametrize("place", [(None, -5.0), (10.0, None), (np.nan, -5.0)])
def test_without_the_targets_place_exposures_stay(place):
    exposures = moving(PLACES[0], place)
    followed, reason = follow_target(exposures)
    assert "MT_RA or MT_DEC missing" in reason
    assert header(exposures[1]).filename in reason
    assert followed == exposures


def test_the_last_frame_may_have_a_wavelength():
    sky = CelestialFrame(reference_frame=coordinates.ICRS(), name="sky")
    light = SpectralFrame(axes_order=(2,), unit=(units.micron,), name="light")
    plane = Frame2D(name="detector", unit=(units.pix, units.pix))
    world = CompositeFrame([sky, light], name="world")
    wcs = WCS([(plane, Mapping((0, 1, 0)) | Shift(1) & Shift(2) & Identity(1)), (world, None)])
    moved = on_target(wcs, (5.0, 6.0), (5.5, 5.0))
    np.testing.assert_allclose(moved(1.0, 1.0), (2.5, 2.0, 1.0))


def test_a_wcs_that_does_not_end_on_the_sky_is_refused():
    plane = Frame2D(name="detector", unit=(units.pix, units.pix))
    wcs = WCS([(plane, Identity(2)), (Frame2D(name="v2v3"), None)])
    with pytest.raises(ExposureError, match=r"one_cal.*assign_mtwcs.*Frame2D.*assign_wcs"):
        on_target(wcs, (0, 0), (0, 0), "one_cal.fits")


def test_image3_aligns_on_the_target_instead_of_the_stars():
    exposures = moving(*PLACES[:2])
    assert is_moving(exposures)
    skip = {"skip": True}
    layers = ({"skymatch": skip, "outlier_detection": skip, "source_catalog": skip},)
    mosaic, solved = build_mosaic(exposures, Settings(layers=layers))
    steps = {record["step"]: record for record in solved.exposures[0].attrs["history"]}
    assert steps["assign_mtwcs"]["status"] == "COMPLETE"
    assert steps["tweakreg"]["status"] == "SKIPPED"
    assert mosaic.attrs["primary"]["TARGTYPE"] == "MOVING"


def test_a_target_that_stands_still_is_left_to_tweakreg():
    exposures = dithered(2)
    parameters = parameters_for(header(exposures[0]), Settings())
    parameters["tweakreg"] = parameters["tweakreg"].model_copy(update={"skip": True})
    parameters["skymatch"] = parameters["skymatch"].model_copy(update={"skip": True})
    solved = solve(exposures, parameters)
    steps = [record["step"] for record in solved.exposures[0].attrs["history"]]
    assert "assign_mtwcs" not in steps


def test_skipped_it_says_so():
    exposures = moving(*PLACES[:2])
    parameters = parameters_for(header(exposures[0]), Settings())
    for step in ("assign_mtwcs", "tweakreg", "skymatch"):
        parameters[step] = parameters[step].model_copy(update={"skip": True})
    solved = solve(exposures, parameters)
    assert solved.exposures[0].attrs["wcs"] is exposures[0].attrs["wcs"]
