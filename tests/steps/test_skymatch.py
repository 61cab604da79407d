import dask.array as da
import numpy as np
import pytest
from image3_examples import SHAPE, camera, exposure, pointing

from jwpipe.exposure import ExposureError
from jwpipe.stage3.overlaps import Plan, plan_overlaps
from jwpipe.stage3.skymatch import SkymatchParams, match_levels, match_sky, sky_levels

LEVELS = (1.0, 3.5, 0.25)
DITHERS = [(0.0, 0.0), (1.5, 0.6), (-1.2, 0.9)]


def dithers(levels=LEVELS, places=DITHERS, noise=0.05, shape=SHAPE):
    """Exposures of an empty sky of different ``levels``."""
    rng = np.random.default_rng(7)
    return [
        exposure(rng.normal(level, noise, shape), pointing(*place), number)
        for number, (level, place) in enumerate(zip(levels, places, strict=True), 1)
    ]


def levels_of(exposures):
    return [e.attrs["primary"].get("BKGLEVEL") for e in exposures]


def test_matched_levels_are_the_differences_to_the_lowest():
    matched, report = match_sky(dithers(), SkymatchParams())
    np.testing.assert_allclose(levels_of(matched), [0.75, 3.25, 0.0], atol=0.01)
    assert report.status == ("COMPLETE",) * 3
    assert report.warnings == ()
    first = matched[0].attrs["primary"]
    assert (first["BKGMETH"], first["BKGSUB"]) == ("match", False)


def test_matching_up_makes_the_highest_zero():
    matched, _ = match_sky(dithers(), SkymatchParams(match_down=False))
    np.testing.assert_allclose(levels_of(matched), [-2.5, 0.0, -3.25], atol=0.01)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("local", [1.0, 3.5, 0.25]),
        ("global", [0.25, 0.25, 0.25]),
        ("global+match", [1.0, 3.5, 0.25]),
    ],
)
def test_the_other_methods(method, expected):
    matched, _ = match_sky(dithers(), SkymatchParams(skymethod=method))
    np.testing.assert_allclose(levels_of(matched), expected, atol=0.02)


@pytest.mark.parametrize("skystat", ["mean", "median", "midpt", "mode"])
def test_all_statistics_agree_on_an_empty_sky(skystat):
    matched, _ = match_sky(dithers(), SkymatchParams(skystat=skystat))
    np.testing.assert_allclose(levels_of(matched), [0.75, 3.25, 0.0], atol=0.01)


def test_subtraction_is_lazy_and_changes_no_input():
    eager = dithers()
    before = [e["sci"].values.copy() for e in eager]
    lazy = [e.chunk({"y": 50}) for e in eager]
    matched, report = match_sky(lazy, SkymatchParams(subtract=True))
    assert isinstance(matched[0]["sci"].data, da.Array)
    assert matched[0]["sci"].dtype == np.float32
    for new, old, level in zip(matched, before, report.levels, strict=True):
        np.testing.assert_allclose(new["sci"], old - level, atol=1e-6)
        assert new.attrs["primary"]["BKGSUB"] is True
    for old, given in zip(before, eager, strict=True):
        np.testing.assert_array_equal(given["sci"], old)
    assert "BKGLEVEL" not in lazy[0].attrs["primary"]


def test_without_subtraction_pixels_are_passed_on():
    lazy = [e.chunk() for e in dithers()]
    matched, _ = match_sky(lazy, SkymatchParams())
    assert matched[0]["sci"].data is lazy[0]["sci"].data


def test_global_match_subtracts_what_it_says():
    matched, report = match_sky(dithers(), SkymatchParams(skymethod="global+match", subtract=True))
    for new in matched:
        assert np.median(new["sci"]) == pytest.approx(0, abs=0.02)
    np.testing.assert_allclose(report.levels, LEVELS, atol=0.02)


def test_stars_and_flagged_pixels_do_not_matter():
    exposures = dithers()
    for e in exposures:
        e["sci"].values[50:60, 50:60] += 500
        e["sci"].values[20:40, :] += 0.2
        e["dq"].values[20:40, :] = 1
        e["sci"].values[100, 100] = np.nan
    matched, _ = match_sky(exposures, SkymatchParams())
    np.testing.assert_allclose(levels_of(matched), [0.75, 3.25, 0.0], atol=0.01)
    every, _ = match_sky(exposures, SkymatchParams(dqbits=None, skymethod="local", skystat="mean"))
    assert levels_of(every)[0] > 1.01


def test_groups_have_one_level():
    together = [e.assign_attrs(group_id=name) for e, name in zip(dithers(), "aab", strict=True)]
    _, report = match_sky(together, SkymatchParams())
    first, second, third = report.levels
    assert first == second
    assert third == 0
    # Weighted by the pixels of each overlap, between 0.75 and 3.25.
    assert 0.75 < first < 3.25
    local, _ = match_sky(together, SkymatchParams(skymethod="local"))
    np.testing.assert_allclose(levels_of(local), [1.0, 1.0, 0.25], atol=0.02)


def test_weights_are_the_pixels_of_the_overlaps_by_hand():
    # Three groups; pairs (1,2) and (2,3) and (1,3) measured with 100, 100 and 300 pixels, inconsistent by 0.6:
    # minimise 100^2 (s1-s2-1)^2 + 100^2 (s2-s3-1)^2 + 300^2 (s1-s3-2.6)^2. With a = s1-s2, b = s2-s3:
    # (a - 1) + 9 (a + b - 2.6) = 0 and the same for b, so a = b and 19 a = 24.4.
    plan = Plan({"1": [0], "2": [1], "3": [2]}, ({}, {}, {}))
    levels = [
        {"2": (2.0, 100), "3": (2.6, 300)},
        {"1": (1.0, 100), "3": (1.0, 100)},
        {"1": (0.0, 300), "2": (0.0, 100)},
    ]
    matched, warning = match_levels(plan, levels)
    assert matched == pytest.approx({"1": 2 * 24.4 / 19, "2": 24.4 / 19, "3": 0.0})
    assert warning == ""


def test_sets_that_do_not_overlap_are_reported():
    places = [(0.0, 0.0), (1.0, 0.0), (300.0, 0.0), (301.0, 0.0)]
    matched, report = match_sky(dithers((1.0, 2.0, 5.0, 7.0), places), SkymatchParams())
    # Within each set they agree; the solution of least norm centres each set on zero.
    np.testing.assert_allclose(np.diff(levels_of(matched))[[0, 2]], [1.0, 2.0], atol=0.03)
    (warning,) = report.warnings
    assert "2 sets that do not overlap" in warning


def test_an_exposure_apart_is_skipped_and_named():
    places = [(0.0, 0.0), (1.0, 0.0), (300.0, 0.0)]
    matched, report = match_sky(dithers(places=places), SkymatchParams())
    assert report.status == ("COMPLETE", "COMPLETE", "SKIPPED")
    assert report.levels[2] is None
    assert "BKGLEVEL" not in matched[2].attrs["primary"]
    assert any("00003" in warning for warning in report.warnings)


def test_one_exposure_alone():
    matched, report = match_sky(dithers()[:1], SkymatchParams())
    assert report.status == ("SKIPPED",)
    assert report.warnings
    matched, report = match_sky(dithers()[:1], SkymatchParams(skymethod="local"))
    assert report.levels[0] == pytest.approx(1.0, abs=0.02)
    assert matched[0].attrs["primary"]["BKGMETH"] == "local"


@pytest.mark.parametrize("method", ["match", "local", "global", "global+match"])
def test_an_exposure_of_nan_is_skipped(method):
    exposures = dithers()
    exposures[1]["sci"] = exposures[1]["sci"] * np.float32(np.nan)
    _, report = match_sky(exposures, SkymatchParams(skymethod=method))
    assert report.levels[0] is not None
    if method in ("match", "local"):
        assert report.status[1] == "SKIPPED"
    else:
        # The lowest level of all holds for the exposure without one too.
        assert report.levels[1] == pytest.approx(0.25, abs=0.02)


def test_all_of_nan_gives_no_level_and_no_crash():
    exposures = [e.assign(sci=e["sci"] * np.float32(np.nan)) for e in dithers()]
    for method in ("match", "local", "global", "global+match"):
        _, report = match_sky(exposures, SkymatchParams(skymethod=method))
        assert report.levels == (None,) * 3


def test_the_plan_finds_the_common_pixels():
    # A quarter of the frame's width further along the detector's x axis.
    shape = (100, 120)
    places = [camera(pointing(), shape), None]
    ra, dec = places[0](59.5 + 30, 49.5)
    east = (ra - 80.48) * 3600 * np.cos(np.radians(-69.5))
    north = (dec + 69.5) * 3600
    exposures = dithers((0, 0), [(0.0, 0.0), (float(east), float(north))], shape=shape)
    plan = plan_overlaps(exposures, ("a", "b"))
    first, second = plan.regions
    # Along the edge a row or a column may be lost to rounding.
    pixels = (first["b"][:, 2] - first["b"][:, 1] + 1).sum()
    assert pixels == pytest.approx(90 * 100, rel=0.02)
    assert first["b"][:, 1].min() >= 29
    assert second["a"][:, 2].max() <= 90
    assert plan_overlaps(exposures, ("a", "a")).regions == ({}, {})


def test_levels_of_one_exposure_under_two_regions():
    image = np.zeros((10, 10), np.float32)
    image[:, 5:] = 4
    image[0, 0] = np.nan
    left = np.array([[k, 0, 4] for k in range(10)], np.int32)
    right = np.array([[k, 5, 9] for k in range(10)], np.int32)
    found = sky_levels(image, None, {"l": left, "r": right}, SkymatchParams())
    assert found == {"l": (0.0, 49), "r": (4.0, 50)}
    assert sky_levels(image, None, {"r": right}, SkymatchParams(), 1.5)["r"][0] == 2.5


def test_user_levels_with_and_without_suffix(tmp_path):
    exposures = dithers()
    path = tmp_path / "levels.txt"
    names = [e.attrs["filename"] for e in exposures]
    names[1] = names[1].replace("_cal.fits", "_tweakreg.fits")
    path.write_text("\n".join(f"{name} {k + 0.5}" for k, name in enumerate(names)))
    matched, report = match_sky(exposures, SkymatchParams(skymethod="user", skylist=str(path)))
    assert report.levels == (0.5, 1.5, 2.5)
    assert matched[1].attrs["primary"]["BKGMETH"] == "user"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "is not a file"),
        ("a b c", "line 1 is 'a b c'"),
        ("jw01234001001_02101_00001_nrcb1_cal.fits x", "expected an exposure and a level"),
        ("other_cal.fits 1", "found 0 levels for"),
    ],
)
def test_bad_lists_of_levels_are_named(tmp_path, text, message):
    path = tmp_path / "levels.txt"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ExposureError, match=message):
        match_sky(dithers(), SkymatchParams(skymethod="user", skylist=str(path)))


def test_a_second_run_must_agree_with_the_first():
    matched, _ = match_sky(dithers(), SkymatchParams(subtract=True))
    again, _ = match_sky(matched, SkymatchParams(subtract=True))
    np.testing.assert_allclose(levels_of(again), levels_of(matched), atol=1e-3)
    with pytest.raises(ExposureError, match="ran before with subtract=True"):
        match_sky(matched, SkymatchParams())
    broken = [e.assign_attrs(primary={"BKGLEVEL": 1.0}) for e in dithers()]
    with pytest.raises(ExposureError, match="both or none"):
        match_sky(broken, SkymatchParams())


def test_following_the_border_in_steps_finds_the_same_levels():
    straight, _ = match_sky(dithers(), SkymatchParams())
    stepped, _ = match_sky(dithers(), SkymatchParams(stepsize=100))
    np.testing.assert_allclose(levels_of(stepped), levels_of(straight), atol=0.01)


def test_bad_parameters_are_refused():
    with pytest.raises(ValueError, match="is not a DQ flag"):
        SkymatchParams(dqbits="NO_SUCH_FLAG")
    with pytest.raises(ValueError, match="nothing lies between"):
        SkymatchParams(lower=2.0, upper=1.0)
    with pytest.raises(ExposureError, match="no exposures"):
        match_sky([], SkymatchParams())
