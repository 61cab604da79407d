"""Outliers: found where they are, nothing else touched, blocks and tiles do not show."""

import dask
import numpy as np
import pytest
from image3_examples import picture, pointing, sky_of_stars
from mosaic_examples import DITHERS, SHAPE, calibrated, counted, dithered
from pydantic import ValidationError

from jwpipe.dq import Pixel
from jwpipe.exposure import ExposureError
from jwpipe.stage3.outlier_detection import (
    OutlierDetectionParams,
    bad_bits,
    detect_outliers,
    outlier_detection,
)
from jwpipe.stage3.outlier_tasks import FLAGS, consistent

DATA = ("sci", "err", "var_rnoise", "var_poisson", "var_flat")
OUTLIER = int(Pixel.OUTLIER)
ALL = 0xFFFFFFFF


def hit(found, places, value):
    """``found`` with something added at (row, column) ``places``."""
    found = found.copy(deep=True)
    for row, column in places:
        found["sci"].values[row, column] += value
    return found


PLACES = [[(20, 30), (20, 31)], [(33, 12)], [(8, 50), (20, 44)], [(30, 36)]]


@pytest.fixture(scope="module")
def clean():
    return dithered()


@pytest.fixture(scope="module")
def struck(clean):
    """Hits of 10 on a noise of some 0.04, each at its own place of the sky."""
    return [hit(found, own, 10.0) for found, own in zip(clean, PLACES, strict=True)]


def computed(exposures, side=500, **options):
    found = detect_outliers(exposures, OutlierDetectionParams(**options), side=side)
    return list(dask.compute(*found.exposures))


@pytest.fixture(scope="module")
def flagged(struck):
    return computed(struck)


def places(exposure):
    return [tuple(place) for place in np.argwhere(exposure["dq"].values & OUTLIER).tolist()]


def test_hits_are_found(flagged):
    assert [places(exposure) for exposure in flagged] == PLACES


def test_flags_and_undefined_pixels(struck, flagged):
    for before, after in zip(struck, flagged, strict=True):
        new = (after["dq"].values & OUTLIER) > 0
        expected = before["dq"].values | np.where(new, FLAGS, np.uint32(0))
        np.testing.assert_array_equal(after["dq"], expected)
        gone = (expected & 1) > 0
        for name in DATA:
            np.testing.assert_array_equal(after[name], np.where(gone, np.nan, before[name]))
            assert after[name].dtype == np.float32
        assert after.attrs["product"] == "crf"
        assert after["sci"].attrs == before["sci"].attrs


def test_a_quiet_sky_is_left_alone(clean):
    """At 5 sigma and 7000 pixels of 4 exposures, hardly anything."""
    assert sum(len(places(exposure)) for exposure in computed(clean)) <= 2


def test_stars_are_not_outliers():
    """Bright undersampled stars, moved by fractions of pixels: the slope allows for them."""
    stars = sky_of_stars(12, seed=5, reach=0.7)
    assert sum(len(places(exposure)) for exposure in computed(dithered(stars=stars))) <= 3


@pytest.mark.parametrize("options", [{}, {"kernel": "turbo"}, {"in_memory": False}])
def test_tiles_and_chunks_do_not_show(struck, options):
    whole = computed(struck, **options)
    lazy = [counted(exposure, (13, 19))[0] for exposure in struck]
    for other in (computed(struck, side=17, **options), computed(lazy, side=30, **options)):
        for a, b in zip(other, whole, strict=True):
            for name in (*DATA, "dq"):
                np.testing.assert_array_equal(a[name], b[name])


def test_blocks_of_rows_do_not_show(struck, flagged, monkeypatch):
    from jwpipe.stage3 import outlier_graph

    def blocks(ny, planes):
        return (7,) * (ny // 7) + ((ny % 7,) if ny % 7 else ())

    monkeypatch.setattr(outlier_graph, "row_blocks", blocks)
    again = computed(struck)
    for a, b in zip(again, flagged, strict=True):
        np.testing.assert_array_equal(a["dq"], b["dq"])


def test_rows_on_demand(struck, monkeypatch):
    """Asking for some rows reads, of the pixels, those rows; weights are needed of the whole groups."""
    from jwpipe.stage3 import outlier_graph

    monkeypatch.setattr(outlier_graph, "row_blocks", lambda ny, planes: (10,) * (ny // 10))
    lazy, counters = zip(*(counted(exposure) for exposure in struck), strict=True)
    found = detect_outliers(lazy, OutlierDetectionParams(), side=20)
    assert not any(c.read.any() for own in counters for c in own.values())
    found.exposures[0]["var_flat"].isel(y=slice(0, 10)).compute()
    read = counters[0]["var_flat"].read
    assert read[:10].all()
    assert not read[10:].any()
    assert not any(own["var_flat"].read.any() for own in counters[1:])


def test_sky_levels(struck):
    """Skymatch's levels are taken off for the median, and put back for the comparison."""
    raised = []
    for k, exposure in enumerate(struck):
        level = float(k)
        higher = exposure.assign(sci=exposure["sci"] + np.float32(level))
        higher["sci"].attrs = exposure["sci"].attrs
        primary = {**exposure.attrs["primary"], "BKGLEVEL": level, "BKGSUB": False}
        raised.append(higher.assign_attrs(primary=primary))
    assert [places(exposure) for exposure in computed(raised)] == PLACES


def test_background_parameter():
    """Exposures without a level: all lie 1 above the median of themselves less 1, that is, none does."""
    images = [
        calibrated(np.ones(SHAPE), pointing(*DITHERS[k]), k + 1, noise=1e-3) for k in range(3)
    ]
    for found in images:
        found["err"].values[:] = 0.1
    assert all(not places(exposure) for exposure in computed(images))
    assert all(len(places(exposure)) > 4000 for exposure in computed(images, backg=1.0))


def test_groups_are_one_picture(struck):
    """Detectors of one exposure make one picture: with two groups, the median is their mean."""
    names = ("one", "one", "two", "two")
    grouped = [e.assign_attrs(group_id=name) for e, name in zip(struck, names, strict=True)]
    params = OutlierDetectionParams(save_intermediate_results=True)
    first, second, median, *_ = dask.compute(*detect_outliers(grouped, params).intermediate)
    assert [made.attrs["product"] for made in (first, second, median)] == ["outlier_i2d"] * 2 + [
        "median"
    ]
    high = (first["wht"] > 4000) & (second["wht"] > 4000)
    mean = (first["sci"] + second["sci"]) / 2
    np.testing.assert_allclose(median["sci"].values[high], mean.values[high], rtol=1e-5)


def test_masked_weights(struck):
    """With a threshold above all weights nothing is left to compare with."""
    assert not any(places(exposure) for exposure in computed(struck, maskpt=5.0))


def test_without_resampling():
    stars = sky_of_stars(10, reach=0.6)
    images = []
    for k in range(3):
        sky = picture(stars, pointing(), shape=SHAPE, seed=k)
        images.append(hit(calibrated(sky, pointing(), k + 1, seed=k), [(10 + k, 20)], 10.0))
    found = computed(images, resample_data=False)
    assert [places(exposure) for exposure in found] == [[(10, 20)], [(11, 20)], [(12, 20)]]
    odd = calibrated(np.ones((50, 60)), pointing(), 4)
    with pytest.raises(ExposureError, match="resample_data = true"):
        detect_outliers([*images, odd], OutlierDetectionParams(resample_data=False))


def test_intermediate_products(struck):
    params = OutlierDetectionParams(save_intermediate_results=True)
    found = detect_outliers(struck, params, side=40)
    products = [made.attrs["product"] for made in found.intermediate]
    assert products == ["outlier_i2d"] * 4 + ["median"] + ["blot"] * 4
    group, median, blotted = dask.compute(*(found.intermediate[k] for k in (0, 4, 5)))
    assert set(group) == {"sci", "wht"}
    assert group["sci"].shape == median["sci"].shape
    assert float(np.nanmax(group["sci"] - median["sci"])) > 5
    assert blotted["sci"].shape == SHAPE
    residual = (struck[0]["sci"] - blotted["sci"]).values
    assert float(np.nanmedian(np.abs(residual))) < 0.1
    assert not detect_outliers(struck, OutlierDetectionParams()).intermediate
    plain = OutlierDetectionParams(save_intermediate_results=True, resample_data=False)
    (alone,) = detect_outliers(struck, plain).intermediate
    np.testing.assert_array_equal(
        alone["sci"], np.nanmedian([e["sci"].values for e in struck], axis=0)
    )


def test_one_exposure_is_skipped(clean):
    found = detect_outliers(clean[:1], OutlierDetectionParams())
    assert "at least two" in found.reason
    assert found.exposures[0] is clean[0]


def test_inputs_stay_as_they_are(struck):
    before = [exposure.copy(deep=True) for exposure in struck]
    computed(struck)
    for a, b in zip(struck, before, strict=True):
        assert all(a[name].equals(b[name]) for name in b)


def test_consistent():
    """A NaN in any variable, or DO_NOT_USE, makes all undefined."""
    pixels = {
        "dq": np.array([[0, 1, 4, 0]], np.uint32),
        "sci": np.array([[1, 2, 3, 4]], np.float32),
        "err": np.array([[1, 2, 3, np.nan]], np.float32),
    }
    found = consistent(pixels)
    assert found["dq"].tolist() == [[0, 1, 4, 1]]
    np.testing.assert_array_equal(found["sci"], [[1, np.nan, 3, np.nan]])
    np.testing.assert_array_equal(found["err"], [[1, np.nan, 3, np.nan]])
    assert pixels["dq"].tolist() == [[0, 1, 4, 0]]


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("~DO_NOT_USE", 1),
        ("~DO_NOT_USE+NON_SCIENCE", 513),
        ("~ 1, saturated", 3),
        ("SATURATED | JUMP_DET", ALL - 6),
        ("0", ALL),
        ("~0", 0),
    ],
)
def test_good_bits(good, bad):
    assert bad_bits(good) == bad


@pytest.mark.parametrize(
    "options", [{"good_bits": "~BROKEN"}, {"snr": "5"}, {"scale": "a b"}, {"kernel": "gaussian"}]
)
def test_bad_parameters(options):
    with pytest.raises(ValidationError):
        OutlierDetectionParams(**options)


def test_the_step():
    assert outlier_detection.name == "outlier_detection"
    assert outlier_detection.params is OutlierDetectionParams
