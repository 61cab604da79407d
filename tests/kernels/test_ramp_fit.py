"""Ramp fits on arrays: worked cases, an independent least-squares fit, and properties."""

import numpy as np
import pytest

from jwpipe.exposure import Header
from jwpipe.numerics.segments import POWERS, slope_weights
from jwpipe.stage1.ramp_fit import RampFitParams, fit_ramps, ramp_fit

DO_NOT_USE, SATURATED, JUMP, PERSISTENCE, CHARGELOSS = 1, 2, 4, 32, 128
NO_GAIN = 1 << 19
KEYWORDS = {"INSTRUME": "NIRCAM", "TGROUP": 10.0, "TFRAME": 2.5, "NFRAMES": 1}
NAMES = ("slope", "err", "dq", "var_poisson", "var_rnoise")
GAIN, READNOISE, TIME, FRAME = 2.0, 8.0, 10.0, 2.5
# Read noise of a group in electrons: of a pair of frames in DN, times the gain, over root 2.
NOISE = READNOISE * GAIN / np.sqrt(2)


def read_variance(length, time=TIME):
    """12 (sigma / t)^2 / (n^3 - n), in DN/s."""
    return 12 * (NOISE / time) ** 2 / ((length**3 - length) * GAIN**2)


def fit(
    sci,
    groupdq=None,
    pixeldq=None,
    zeroframe=None,
    dark=None,
    gain=GAIN,
    readnoise=READNOISE,
    **keywords,
):
    """Results by name, of the exposure and of the integrations."""
    sci = np.ascontiguousarray(sci, np.float32)
    shape = sci.shape[2:]
    options = {"group_time": TIME, "frame_time": FRAME, "nframes": 1, "suppress_one_group": True}
    results = fit_ramps(
        sci,
        np.zeros(sci.shape, np.uint8) if groupdq is None else np.asarray(groupdq, np.uint8),
        np.zeros(shape, np.uint32) if pixeldq is None else np.asarray(pixeldq, np.uint32),
        zeroframe,
        None if dark is None else np.full(shape, dark, np.float32),
        np.broadcast_to(np.asarray(gain, np.float32), shape).copy(),
        np.broadcast_to(np.asarray(readnoise, np.float32), shape).copy(),
        **{**options, **keywords},
    )
    return dict(zip(NAMES, results[:5], strict=True)), dict(zip(NAMES, results[5:], strict=True))


def pixel(results, *index):
    """The five numbers of one pixel."""
    return tuple(results[name][(*index, 0, 0)] for name in NAMES)


def ramp(*values):
    """One pixel (1, g, 1, 1)."""
    return np.array(values, np.float32).reshape(1, -1, 1, 1)


def flags(*values):
    return np.array(values, np.uint8).reshape(1, -1, 1, 1)


def test_a_straight_ramp():
    rate, ints = fit(100 + 50.0 * np.arange(6).reshape(1, 6, 1, 1))
    poisson, read = 5 / (TIME * GAIN * 5), read_variance(6)
    expected = (5.0, np.sqrt(poisson + read), 0, poisson, read)
    np.testing.assert_allclose(pixel(rate), expected, rtol=1e-6)
    np.testing.assert_allclose(pixel(ints, 0), expected, rtol=1e-6)


def test_shapes_and_types():
    rate, ints = fit(np.zeros((2, 4, 3, 5)))
    for results, shape in ((rate, (3, 5)), (ints, (2, 3, 5))):
        for name in NAMES:
            assert results[name].shape == shape
            assert results[name].dtype == (np.uint32 if name == "dq" else np.float32)


@pytest.mark.parametrize("rise", [30, 120, 320, 1500, 6000, 40000])
def test_weights_by_signal_to_noise_ratio(rise):
    # Weighted least squares by numpy, with |distance from the middle|^power of the ratio's class.
    rng = np.random.default_rng(rise)
    values = np.linspace(0, rise, 7) + rng.normal(0, 10, 7)
    values[-1] = values[0] + rise
    ratio = rise * GAIN / np.sqrt(NOISE**2 + rise * GAIN)
    power = POWERS[int(np.searchsorted([5, 10, 20, 50, 100], ratio, side="right"))]
    weight = np.abs(np.arange(7) - 3) / 3.0
    weight = np.where(weight == 0, float(power == 0), weight**power)
    slope = np.polyfit(np.arange(7), values, 1, w=np.sqrt(weight))[0] / TIME
    rate, _ = fit(values.reshape(1, 7, 1, 1))
    np.testing.assert_allclose(rate["slope"][0, 0], slope, rtol=2e-6)


@pytest.mark.parametrize("length", [2, 3, 8, 9, 40])
def test_weights_give_the_slope_of_a_line(length):
    line = 3.0 + 0.25 * np.arange(length)
    pairs = (line[::-1] - line)[: length // 2]
    np.testing.assert_allclose(slope_weights(length) @ pairs, 0.25, rtol=1e-6)


def test_falling_and_empty_ramps_are_fitted_without_weights():
    rate, _ = fit(ramp(90, 60, 30, 0))
    np.testing.assert_allclose(rate["slope"][0, 0], -3.0, rtol=1e-6)
    # A falling ramp has no photons: only read noise counts.
    assert rate["var_poisson"][0, 0] == 0
    np.testing.assert_allclose(rate["err"][0, 0] ** 2, read_variance(4), rtol=1e-6)


def test_two_groups():
    rate, _ = fit(ramp(10, 110))
    expected = (10.0, 10 / (TIME * GAIN), read_variance(2))
    found = tuple(rate[name][0, 0] for name in ("slope", "var_poisson", "var_rnoise"))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_segments_between_jumps_are_weighted_with_their_read_variance():
    # Groups 0-2 rise by 10 a group; the jump into group 3 starts a segment 3-7 that rises by 20.
    values = [0, 10, 20, 1000, 1020, 1040, 1060, 1080]
    rate, ints = fit(ramp(*values), flags(0, 0, 0, JUMP, 0, 0, 0, 0))
    lengths, slopes = np.array([3, 5]), np.array([1.0, 2.0])
    weight = 1 / read_variance(lengths)
    slope = (slopes * weight).sum() / weight.sum()
    # The median of the differences but the jump's, 10 10 20 20 20 20, is 20 DN a group.
    poisson = 1 / (1 / (2.0 / (TIME * GAIN * (lengths - 1)))).sum()
    total = 1 / (1 / (2.0 / (TIME * GAIN * (lengths - 1)) + read_variance(lengths))).sum()
    np.testing.assert_allclose(
        pixel(ints, 0), (slope, np.sqrt(total), JUMP, poisson, 1 / weight.sum()), rtol=1e-6
    )
    err = np.sqrt(poisson + 1 / weight.sum())
    np.testing.assert_allclose(pixel(rate)[:2], (slope, err), rtol=1e-6)


def test_segments_of_one_group_give_way_to_longer_ones():
    lone, _ = fit(ramp(0, 900, 10, 20, 30), flags(0, JUMP, JUMP, 0, 0))
    longer, _ = fit(ramp(10, 20, 30), flags(0, 0, 0))
    # The first group alone is dropped; group 1, a jump followed by a jump, belongs to nothing.
    np.testing.assert_allclose(lone["slope"], longer["slope"], rtol=1e-6)
    np.testing.assert_allclose(lone["var_rnoise"], longer["var_rnoise"], rtol=1e-6)


def test_five_groups():
    # 60 DN of rise: S = 120 / sqrt(128 + 120) = 7.6, weights |k - 2|^0.4 / 2^0.4: 1, 0.758, 0, 0.758, 1.
    values = np.array([0, 20, 26, 48, 60.0])
    weight = (np.array([2, 1, 0, 1, 2]) / 2) ** 0.4
    slope = np.sum(weight * (np.arange(5) - 2) * values) / np.sum(weight * (np.arange(5) - 2) ** 2)
    rate, _ = fit(values.reshape(1, 5, 1, 1))
    # Differences 20 6 22 12, median 16.
    expected = (slope / TIME, 1.6 / (TIME * GAIN * 4), read_variance(5))
    found = tuple(rate[name][0, 0] for name in ("slope", "var_poisson", "var_rnoise"))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_jumps_at_the_ends():
    # Into the second group: the first stands alone and is dropped, the others are a whole.
    first, _ = fit(ramp(0, 900, 910, 920, 930), flags(0, JUMP, 0, 0, 0))
    # Into the last: it belongs to no segment.
    last, _ = fit(ramp(0, 10, 20, 30, 900), flags(0, 0, 0, 0, JUMP))
    whole, _ = fit(ramp(0, 10, 20, 30))
    for results in (first, last):
        assert results["dq"][0, 0] == JUMP
        for name in ("slope", "err", "var_poisson", "var_rnoise"):
            np.testing.assert_allclose(results[name], whole[name], rtol=1e-6)


def test_orphan_groups():
    # No two good groups are neighbours: the first one stands for all, with a whole group's time.
    groupdq = flags(DO_NOT_USE, 0, DO_NOT_USE, 0, DO_NOT_USE)
    rate, _ = fit(ramp(9, 50, 9, 70, 9), groupdq)
    # No difference, and no first group: no rate is known, and no photon noise.
    np.testing.assert_allclose(rate["slope"][0, 0], 5.0, rtol=1e-6)
    np.testing.assert_allclose(rate["var_rnoise"][0, 0], read_variance(2), rtol=1e-6)
    assert rate["var_poisson"][0, 0] == 0


def test_integrations_are_combined():
    sci = np.concatenate([ramp(0, 10, 20, 30, 40), ramp(0, 20, 40, 60, 80)])
    groupdq = np.concatenate([flags(0, 0, 0, 0, 0), flags(0, 0, 0, 0, SATURATED)])
    rate, ints = fit(sci, groupdq)
    weight = 1 / read_variance(np.array([5, 4]))
    # The median rate of the pixel, 1.5 DN/s, is that of both integrations.
    poisson = 1.5 / (TIME * GAIN * np.array([4, 3]))
    expected = ((np.array([1.0, 2.0]) * weight).sum() / weight.sum(), 1 / (1 / poisson).sum())
    np.testing.assert_allclose(
        (rate["slope"][0, 0], rate["var_poisson"][0, 0]), expected, rtol=1e-6
    )
    np.testing.assert_allclose(ints["var_poisson"][:, 0, 0], poisson, rtol=1e-6)
    assert ints["dq"][:, 0, 0].tolist() == [0, SATURATED]
    assert rate["dq"][0, 0] == SATURATED


def test_nothing_to_fit():
    for groupdq, dq in (
        ([DO_NOT_USE] * 3, DO_NOT_USE),
        ([SATURATED] * 3, DO_NOT_USE | SATURATED),
        ([0, SATURATED, SATURATED], DO_NOT_USE | SATURATED),
        ([DO_NOT_USE, SATURATED, SATURATED], DO_NOT_USE | SATURATED),
    ):
        for results in fit(ramp(1, 2, 3), flags(*groupdq)):
            values = {name: results[name].ravel()[0] for name in NAMES}
            assert np.isnan(values.pop("slope"))
            assert values == {"err": 0, "dq": dq, "var_poisson": 0, "var_rnoise": 0}


def test_an_exposure_is_usable_if_one_integration_is():
    sci = np.tile(ramp(0, 10, 20), (2, 1, 1, 1))
    rate, ints = fit(sci, np.concatenate([flags(0, 0, 0), flags(*[SATURATED] * 3)]))
    assert rate["dq"][0, 0] == SATURATED
    assert ints["dq"][:, 0, 0].tolist() == [0, DO_NOT_USE | SATURATED]
    assert np.isnan(ints["slope"][:, 0, 0]).tolist() == [False, True]
    np.testing.assert_allclose(rate["slope"][0, 0], 1.0, rtol=1e-6)


def test_flags_of_pixels():
    sci = np.tile(ramp(0, 10, 20), (1, 1, 1, 4))
    pixeldq = np.array([[0, DO_NOT_USE, SATURATED, 1 << 11]])
    rate, ints = fit(sci, pixeldq=pixeldq)
    assert np.isnan(rate["slope"]).tolist() == [[False, True, True, False]]
    np.testing.assert_array_equal(rate["dq"], pixeldq)
    np.testing.assert_array_equal(ints["dq"][0], pixeldq)
    rate, _ = fit(sci, gain=[[GAIN, 0.0, -1.0, np.nan]])
    assert rate["dq"].tolist() == [[0, *[NO_GAIN | DO_NOT_USE] * 3]]
    assert (rate["err"][0, 1:] == 0).all()


def test_one_good_group_fitted_on_request():
    groupdq = flags(0, SATURATED, SATURATED)
    rate, _ = fit(ramp(50, 99, 99), groupdq, suppress_one_group=False)
    # The mean of one frame comes after (1 + 1) / 2 frame times.
    poisson, read = 20 / (FRAME * GAIN), read_variance(2, FRAME)
    np.testing.assert_allclose(
        pixel(rate), (20.0, np.sqrt(poisson + read), SATURATED, poisson, read), rtol=1e-6
    )
    later, _ = fit(ramp(50, 99, 99), flags(DO_NOT_USE, 0, SATURATED), suppress_one_group=False)
    np.testing.assert_allclose(later["slope"][0, 0], 99 / TIME, rtol=1e-6)


def test_exposures_of_one_group():
    rate, _ = fit(ramp(50))
    np.testing.assert_allclose(rate["slope"][0, 0], 50 / FRAME, rtol=1e-6)
    assert rate["dq"][0, 0] == 0


def test_zero_frame_of_ramps_without_a_good_group():
    sci, groupdq = np.tile(ramp(60, 99), (1, 1, 1, 3)), np.full((1, 2, 1, 3), SATURATED)
    zeroframe = np.array([[[25.0, 0.0, np.nan]]], np.float32)
    rate, _ = fit(sci, groupdq, zeroframe=zeroframe, suppress_one_group=False)
    np.testing.assert_allclose(rate["slope"][0, 0], 10.0, rtol=1e-6)
    assert np.isnan(rate["slope"][0, 1:]).all()
    assert rate["dq"].tolist() == [[SATURATED, SATURATED | DO_NOT_USE, SATURATED]]
    assert np.isnan(fit(sci, groupdq, zeroframe=zeroframe)[0]["slope"]).all()


def test_persistence_is_passed_on_and_fitted():
    rate, ints = fit(ramp(0, 10, 20, 30), flags(0, 0, PERSISTENCE, 0))
    np.testing.assert_allclose(rate["slope"][0, 0], 1.0, rtol=1e-6)
    assert rate["dq"][0, 0] == ints["dq"][0, 0, 0] == PERSISTENCE


def test_lost_charge_counts_for_the_read_noise_only():
    lost = CHARGELOSS | DO_NOT_USE
    rate, ints = fit(ramp(0, 10, 20, 25, 26), flags(0, 0, 0, lost, lost))
    short, _ = fit(ramp(0, 10, 20))
    for results in (rate, ints):
        np.testing.assert_allclose(results["var_rnoise"].ravel(), read_variance(5), rtol=1e-6)
    for name in ("slope", "err", "var_poisson"):
        np.testing.assert_allclose(rate[name], short[name], rtol=1e-6)


def test_groups_chosen_by_the_user():
    chosen, _ = fit(ramp(-99, 0, 10, 20, 99), groups=(1, 3))
    alone, _ = fit(ramp(0, 10, 20))
    for name in NAMES:
        np.testing.assert_allclose(chosen[name], alone[name], rtol=1e-6)


def test_leading_unusable_groups_are_trimmed_with_the_jumps_from_them():
    groupdq = flags(DO_NOT_USE, JUMP, 0, 0, DO_NOT_USE)
    values = ramp(-99, 0, 10, 20, 99)
    assert fit(values, groupdq)[0]["dq"][0, 0] == JUMP
    trimmed, _ = fit(values, groupdq, trim=True)
    alone, _ = fit(ramp(0, 10, 20))
    for name in NAMES:
        np.testing.assert_allclose(trimmed[name], alone[name], rtol=1e-6)
    nothing, _ = fit(values, flags(DO_NOT_USE, *[DO_NOT_USE] * 3, 0), trim=True)
    assert nothing["dq"][0, 0] == DO_NOT_USE


def test_dark_current_adds_to_the_poisson_variance():
    rate, _ = fit(ramp(0, 10, 20), dark=0.5)
    np.testing.assert_allclose(rate["var_poisson"][0, 0], 1.5 / (TIME * GAIN * 2), rtol=1e-6)
    rate, _ = fit(ramp(20, 10, 0), dark=0.5)
    np.testing.assert_allclose(rate["var_poisson"][0, 0], 0.5 / (TIME * GAIN * 2), rtol=1e-6)


def test_variances_out_of_reason_become_zero():
    rate, ints = fit(ramp(0, 10, 20), readnoise=1e6)
    for results in (rate, ints):
        assert results["var_rnoise"].ravel()[0] == 0
        assert results["slope"].ravel()[0] == 0
    assert ints["err"][0, 0, 0] == 0


def test_nan_without_a_flag_counts_as_zero():
    rate, _ = fit(ramp(0, np.nan, 20, 30))
    plain, _ = fit(ramp(0, 0, 20, 30))
    np.testing.assert_allclose(rate["slope"], plain["slope"], rtol=1e-6)
    assert np.isnan(fit(ramp(0, np.nan))[0]["slope"][0, 0])
    assert np.isnan(fit(ramp(0, 10, 20), readnoise=np.nan)[0]["slope"][0, 0])
    assert np.isnan(fit(ramp(0, 10, 20), readnoise=0.0)[0]["slope"][0, 0])


def cube(seed, integrations, groups, ny=24, nx=40):
    """Random ramps with all sorts of flags, and NaN."""
    rng = np.random.default_rng(seed)
    shape = (integrations, groups, ny, nx)
    steps = rng.poisson(10 ** rng.uniform(-1, 3.5, (ny, nx)), shape) + rng.normal(0, 5, shape)
    sci = np.cumsum(steps, axis=1)
    sci[rng.random(shape) < 0.002] = np.nan
    groupdq = np.where(np.maximum.accumulate(sci > 9000, axis=1), SATURATED, 0).astype(np.uint8)
    odd = np.array([DO_NOT_USE, JUMP, JUMP, 8, PERSISTENCE, CHARGELOSS | DO_NOT_USE], np.uint8)
    hit = rng.random(shape) < 0.06
    groupdq |= np.where(hit, rng.choice(odd, shape), 0).astype(np.uint8)
    pixeldq = np.where(rng.random((ny, nx)) < 0.02, DO_NOT_USE, 0)
    zeroframe = (0.3 * sci[:, 0]).astype(np.float32)
    gain, readnoise = rng.uniform(1.5, 2.5, (ny, nx)), rng.uniform(5, 15, (ny, nx))
    return sci.astype(np.float32), groupdq, pixeldq, zeroframe, gain, readnoise


@pytest.mark.parametrize("suppress", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (1, 3), (3, 9), (1, 30)])
def test_strips_give_the_whole_and_inputs_stay(shape, suppress):
    arrays = cube(7, *shape)
    before = [array.copy() for array in arrays]
    whole = fit(*arrays, suppress_one_group=suppress)
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)
    for start in range(0, 24, 9):
        part = [np.ascontiguousarray(array[..., start : start + 9, :]) for array in arrays]
        strip = fit(*part, suppress_one_group=suppress)
        for results, parts in zip(whole, strip, strict=True):
            for name in NAMES:
                np.testing.assert_array_equal(parts[name], results[name][..., start : start + 9, :])


@pytest.mark.parametrize("groups", [3, 10, 40])
def test_flagged_and_clean_ramps_agree(groups):
    # The loop over pixels and the loop over rows are two ways to the same numbers: a flag that excludes
    # nothing (DROPOUT on an unusable last group) sends the ramps the other way.
    sci = cube(9, 2, groups)[0]
    sci = np.where(np.isnan(sci), 0, sci)
    clean, _ = fit(sci, gain=1.7)
    sci = np.concatenate([sci, sci[:, -1:]], axis=1)
    groupdq = np.zeros(sci.shape, np.uint8)
    groupdq[:, -1] = DO_NOT_USE | 8
    flagged, _ = fit(sci, groupdq, gain=1.7)
    for name in NAMES:
        np.testing.assert_allclose(flagged[name], clean[name], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("first", "last"), [(30, None), (5, 5), (None, 0)])
def test_groups_that_leave_nothing_are_told(first, last):
    header = Header({"primary": KEYWORDS | {"NGROUPS": 20}})
    with pytest.warns(UserWarning, match="leave nothing of 20 groups: all are fitted"):
        found = ramp_fit.keywords(header, RampFitParams(firstgroup=first, lastgroup=last))
    assert found["groups"] is None
