"""The fits of all segments of ramps: worked cases, and one with the rates."""

import dask
import numpy as np
import pytest
import xarray as xr

from jwpipe.io.lengths import cut_to_lengths
from jwpipe.stage1.optional_fits import numbers_of, segments_of
from jwpipe.stage1.ramp_fit import fit_ramps

DO_NOT_USE, SATURATED, JUMP = 1, 2, 4
GAIN, READNOISE, TIME, FRAME = 2.0, 8.0, 10.0, 2.5
NOISE = READNOISE * GAIN / np.sqrt(2)
RULES = {
    "group_time": TIME,
    "frame_time": FRAME,
    "nframes": 1,
    "suppress_one_group": True,
    "groups": None,
    "trim": False,
}


def fits(values, flags, share=0.25, void=None, **changes):
    """The segments of one pixel, arrays (segment) by name."""
    sci = np.array(values, np.float32).reshape(1, -1, 1, 1)
    groupdq = np.array(flags, np.uint8).reshape(1, -1, 1, 1)
    rules = {**RULES, **changes}
    sizes = numbers_of(groupdq, void, rules=rules)
    plane = np.ones((1, 1), np.float32)
    arrays = (sci, groupdq, np.zeros((1, 1), np.uint32), None, None)
    planes = (plane * GAIN, plane * READNOISE)
    found = segments_of(arrays, planes, void, bounds=sizes, share=share, **rules)
    return {name: value[0, ..., 0, 0] for name, value in found._asdict().items()}


def test_a_straight_ramp():
    # Below 5 sigma (100 DN rise: 200 / sqrt(128 + 200) = 11, power 1) weights go with the distance from the middle.
    found = fits([100, 125, 150, 175, 200], [0] * 5)
    weight = np.array([1, 0.5, 0, 0.5, 1]) / NOISE**2
    x = np.arange(5)
    scale = weight.sum() * (weight * x**2).sum() - (weight * x).sum() ** 2
    np.testing.assert_allclose(found["slope"], [2.5], rtol=1e-6)
    np.testing.assert_allclose(found["sigslope"], [np.sqrt(weight.sum() / scale)], rtol=1e-6)
    np.testing.assert_allclose(found["yint"], [100], rtol=1e-6)
    np.testing.assert_allclose(
        found["sigyint"], [np.sqrt((weight * x**2).sum() / scale)], rtol=1e-6
    )
    read = 12 * (NOISE / TIME) ** 2 / ((5**3 - 5) * GAIN**2)
    np.testing.assert_allclose(found["var_rnoise"], [read], rtol=1e-6)
    np.testing.assert_allclose(found["weights"], [1 / read], rtol=1e-6)
    np.testing.assert_allclose(found["var_poisson"], [2.5 / (TIME * GAIN * 4)], rtol=1e-6)
    # A quarter of the slope (per second) is taken off the first group.
    np.testing.assert_allclose(found["pedestal"], 100 - 0.25 * 2.5)


def test_segments_and_jumps():
    # A pair, a group alone (dropped), and a jump of 900 that begins a segment of two.
    found = fits([0, 10, 500, 510, 1410, 1425], [0, 0, DO_NOT_USE, 0, JUMP, 0])
    np.testing.assert_allclose(found["slope"], [1.0, 1.5], rtol=1e-6)
    np.testing.assert_allclose(found["sigslope"], [np.sqrt(2) * NOISE] * 2, rtol=1e-6)
    # Lines through pairs at group 0: 0, and 1410 - 4 * 15.
    np.testing.assert_allclose(found["yint"], [0, 1350], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found["crmag"], [900])


def test_jumps_beside_saturated_groups_have_no_size():
    found = fits([0, 10, 20, 30, 99], [0, 0, 0, JUMP, SATURATED | JUMP])
    np.testing.assert_array_equal(found["crmag"], [10, np.nan])


def test_one_good_group():
    assert fits([50, 99, 99], [0, SATURATED, SATURATED])["slope"].tolist() == [0]
    found = fits([50, 99, 99], [0, SATURATED, SATURATED], suppress_one_group=False)
    np.testing.assert_allclose(found["slope"], [50 / FRAME], rtol=1e-6)
    read = 2 * (NOISE / FRAME / GAIN) ** 2
    np.testing.assert_allclose(found["weights"], [1 / read], rtol=1e-6)
    assert found["sigslope"] == found["yint"] == 0


def test_nothing_to_fit():
    for flags in ([SATURATED] * 3, [DO_NOT_USE] * 3):
        found = fits([5, 6, 7], flags)
        assert found["slope"].tolist() == [0]
        assert found["pedestal"] == 0


def test_trimmed_groups_do_not_count():
    void = np.zeros((2, 1, 5), bool)
    void[..., 0] = void[..., -1] = True
    found = fits([-9, 0, 10, 20, 99], [1, JUMP, 0, 0, 1], trim=True, void=void)
    np.testing.assert_allclose(found["slope"], [1.0], rtol=1e-6)
    assert found["crmag"].size == 0


@pytest.mark.parametrize(
    ("flags", "segments"),
    [([0] * 6, 1), ([0, 0, 4, 0, 4, 0], 3), ([0, 1, 0, 1, 0, 1], 3), ([0, 1, 0, 0, 1, 0], 1)],
)
def test_how_many_there_are(flags, segments):
    groupdq = np.array(flags, np.uint8).reshape(1, -1, 1, 1)
    assert numbers_of(groupdq, None, rules=RULES) == (segments, flags.count(JUMP))


def test_together_they_are_the_rate():
    rng = np.random.default_rng(2)
    sci = np.cumsum(rng.normal(60, 9, (2, 9, 6, 40)), axis=1).astype(np.float32)
    groupdq = np.where(rng.random(sci.shape) < 0.15, JUMP, 0).astype(np.uint8)
    groupdq[rng.random(sci.shape) < 0.05] |= DO_NOT_USE
    gain = rng.uniform(1.5, 2.5, (6, 40)).astype(np.float32)
    noise = rng.uniform(5, 9, (6, 40)).astype(np.float32)
    arrays = (sci, groupdq, np.zeros((6, 40), np.uint32), None, None)
    bounds = numbers_of(groupdq, None, rules=RULES)
    found = segments_of(arrays, (gain, noise), None, bounds=bounds, share=0.3, **RULES)
    slope, _, _, _, read = fit_ramps(*arrays, gain, noise, **RULES)[:5]
    weights = found.weights.sum(axis=(0, 1))
    some = weights > 0
    np.testing.assert_allclose(
        (found.weights * found.slope).sum(axis=(0, 1))[some] / weights[some], slope[some], rtol=1e-4
    )
    np.testing.assert_allclose(1 / weights[some], read[some], rtol=1e-5)
    assert some.mean() > 0.9


def test_products_are_cut_to_what_is_in_use():
    variables = {"slope": (("segment", "x"), np.arange(12.0).reshape(4, 3))}
    lengths = {"segment": dask.delayed(max)([1, 2])}
    exposure = xr.Dataset(variables, attrs={"lengths": lengths})
    cut = cut_to_lengths(exposure, lambda values: dask.compute(*values))
    assert cut["slope"].shape == (2, 3)
    assert not cut.attrs["lengths"]
    assert cut_to_lengths(cut, dask.compute) is cut
