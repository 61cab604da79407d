"""Segments combined with their full covariance, and what ramp fits are worth where the truth is known."""

import numpy as np
import pytest

from jwpipe.numerics.ramp_covariance import cadence, even_times
from jwpipe.stage1.ramp_fit import fit_ramps

JUMP, SATURATED, DO_NOT_USE = 4, 2, 1
GAIN, READNOISE, FRAME = 2.0, 11.0, 10.0


def fit(sci, groupdq, *, covariance, nframes=1, gap=0, **changes):
    """Slope, error, flags, Poisson and read variance of the exposure, then of the integrations."""
    shape = sci.shape[2:]
    rules = {"suppress_one_group": True, **changes}
    return fit_ramps(
        np.ascontiguousarray(sci, np.float32),
        np.asarray(groupdq, np.uint8),
        np.zeros(shape, np.uint32),
        None,
        None,
        np.full(shape, GAIN, np.float32),
        np.full(shape, READNOISE, np.float32),
        group_time=FRAME * (nframes + gap),
        frame_time=FRAME,
        nframes=nframes,
        covariance=covariance,
        **rules,
    )


def simulated(rate, shape, *, nframes, gap, hits, seed):
    """Ramps (i, g, 1, x) at ``rate`` DN/s, with jumps of 300 DN that are flagged, in the share ``hits`` of groups."""
    rng = np.random.default_rng(seed)
    integrations, groups, pixels = shape
    level = np.zeros((integrations, pixels))
    sci = np.zeros((integrations, groups, 1, pixels))
    groupdq = np.zeros(sci.shape, np.uint8)
    for g in range(groups):
        hit = rng.random(level.shape) < hits * (g > 0)
        level += 300.0 * hit
        groupdq[:, g, 0] = np.where(hit, JUMP, 0)
        for frame in range(nframes + gap):
            level += rng.poisson(rate * FRAME * GAIN, level.shape) / GAIN
            if frame < nframes:
                noise = rng.normal(0, READNOISE / np.sqrt(2), level.shape)
                sci[:, g, 0] += (level + noise) / nframes
    return sci, groupdq


def test_two_segments_by_hand():
    # Groups 0-2 and 3-6 with a jump between: differences 0, 1 and 3, 4, 5 in two blocks of one covariance.
    values = np.array([0, 100, 210, 1000, 1090, 1200, 1295.0])
    groupdq = np.zeros((1, 7, 1, 1), np.uint8)
    groupdq[0, 3] = JUMP
    times = cadence(even_times(7, 1, 0, FRAME))
    used = np.array([0, 1, 3, 4, 5])
    steps = np.diff(values)[used] / FRAME
    tied = np.subtract.outer(used, used)
    rate = fit(values.reshape(1, 7, 1, 1), groupdq, covariance=False)[0][0, 0]
    for _ in range(2):
        own = rate / GAIN * times.photon[0] + READNOISE**2 / 2 * times.read[0]
        pair = rate / GAIN * times.photon_pair[0] + READNOISE**2 / 2 * times.read_pair[0]
        inverse = np.linalg.inv(np.where(tied == 0, own, np.where(abs(tied) == 1, pair, 0)))
        variance = 1 / inverse.sum()
        before, rate = rate, variance * (inverse @ steps).sum()
    weights = variance * inverse.sum(axis=0)
    photon = before / GAIN / FRAME * np.sum(weights**2)
    found = fit(values.reshape(1, 7, 1, 1), groupdq, covariance=True)
    for slope, err, dq, var_poisson, var_rnoise in (found[:5], [each[0] for each in found[5:]]):
        np.testing.assert_allclose(slope[0, 0], rate, rtol=1e-5)
        np.testing.assert_allclose(err[0, 0] ** 2, variance, rtol=1e-5)
        np.testing.assert_allclose(var_poisson[0, 0], photon, rtol=1e-5)
        np.testing.assert_allclose(var_rnoise[0, 0], variance - photon, rtol=1e-4)
        assert dq[0, 0] == JUMP


def test_without_light_it_is_the_same():
    # Read noise alone: both weight the reads of a segment alike.
    values = np.array([0, -4, 1, -9, -30, -33, -31.0]).reshape(1, 7, 1, 1)
    groupdq = np.zeros(values.shape, np.uint8)
    groupdq[0, 4] = JUMP
    first, second = (fit(values, groupdq, covariance=way) for way in (False, True))
    for ours, theirs in zip(first, second, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5)


def test_what_cannot_be_fitted_stays_as_it_is():
    sci = np.tile(np.arange(5.0).reshape(1, 5, 1, 1) * 100, (2, 1, 1, 4))
    groupdq = np.zeros(sci.shape, np.uint8)
    groupdq[0, :, 0, 1] = groupdq[:, :, 0, 2] = SATURATED
    groupdq[:, 1:, 0, 3] = DO_NOT_USE
    for suppress in (True, False):
        rules = {"suppress_one_group": suppress}
        plain = fit(sci, groupdq, covariance=False, **rules)
        found = fit(sci, groupdq, covariance=True, **rules)
        for a, b in zip(plain, found, strict=True):
            np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
        np.testing.assert_array_equal(plain[2], found[2])
        np.testing.assert_array_equal(plain[7], found[7])
        np.testing.assert_allclose(found[0][0, :2], 10.0, rtol=1e-6)
        # Ramps of one group keep their variances; together they weigh as those say.
        np.testing.assert_array_equal(plain[8][..., 3], found[8][..., 3])
        np.testing.assert_allclose(plain[0][0, 3], found[0][0, 3], rtol=1e-6)


def test_one_good_group_beside_a_whole_ramp():
    # 100 DN in a first group of mean time 10 s: 10 DN/s with variances 10 / (gain t) and 2 s^2 / (gain t)^2.
    sci = np.tile(np.arange(1.0, 5).reshape(1, 4, 1, 1) * 100, (2, 1, 1, 1))
    sci[0] *= 2
    groupdq = np.zeros(sci.shape, np.uint8)
    groupdq[1, 1:] = SATURATED
    found = fit(sci, groupdq, covariance=True, suppress_one_group=False)
    slopes, errors = found[5][:, 0, 0], found[6][:, 0, 0]
    np.testing.assert_allclose(slopes, [20.0, 10.0], rtol=1e-6)
    weight = 1 / errors**2
    np.testing.assert_allclose(found[0][0, 0], np.sum(weight * slopes) / weight.sum(), rtol=1e-6)
    np.testing.assert_allclose(found[1][0, 0] ** 2, 1 / weight.sum(), rtol=1e-6)


def test_strips_give_the_whole_and_inputs_stay():
    sci, groupdq = simulated(3.0, (2, 8, 700), nframes=2, gap=1, hits=0.1, seed=1)
    before = sci.copy(), groupdq.copy()
    whole = fit(sci, groupdq, covariance=True, nframes=2, gap=1)
    np.testing.assert_array_equal(sci, before[0])
    np.testing.assert_array_equal(groupdq, before[1])
    part = fit(sci[..., 100:650], groupdq[..., 100:650], covariance=True, nframes=2, gap=1)
    for ours, region in zip(whole, part, strict=True):
        np.testing.assert_array_equal(region, ours[..., 100:650])


SETUPS = {
    "single frames, two segments": ((1, 10, 20000), 1, 0, 0.12),
    "averages, two segments": ((1, 10, 20000), 4, 1, 0.12),
    "three integrations": ((3, 8, 12000), 1, 0, 0.15),
    "long averages": ((1, 20, 10000), 8, 2, 0.08),
}


def measure(rate, setup, covariance):
    """Mean and scatter of the slopes, and widths of the pulls of the exposure and of integrations."""
    shape, nframes, gap, hits = setup
    ramps = simulated(rate, shape, nframes=nframes, gap=gap, hits=hits, seed=7)
    found = fit(*ramps, covariance=covariance, nframes=nframes, gap=gap)
    good = found[1] > 0
    off = (found[0] - rate)[good]
    pulls = off / found[1][good]
    single = found[6] > 0
    each = ((found[5] - rate) / np.where(single, found[6], 1))[single]
    return off.mean(), off.std(), pulls.std(), each.std()


@pytest.mark.parametrize("name", SETUPS)
def test_truth_over_rates(name):
    """No more bias, no more scatter, and errors that hold, from noise of reads to noise of photons."""
    pixels = SETUPS[name][0][-1]
    for rate in (0.02, 0.3, 2.0, 20.0, 200.0):
        bias, scatter, pull, _ = measure(rate, SETUPS[name], False)
        new_bias, new_scatter, new_pull, each = measure(rate, SETUPS[name], True)
        mean_error = new_scatter / np.sqrt(pixels)
        assert abs(new_bias) < max(3.5 * mean_error, abs(bias) + mean_error)
        assert new_scatter < 1.004 * scatter
        # Pulls of N samples scatter by 1 / sqrt(2 N).
        allowed = 4 / np.sqrt(2 * pixels)
        assert abs(new_pull - 1) < 0.03 + allowed
        assert abs(each - 1) < 0.03 + allowed
        assert abs(new_pull - 1) < abs(pull - 1) + allowed


def test_where_errors_by_segment_fall_short():
    """Three bright integrations in pieces: scatter 1.1 times the error by segment, and 9 % more than need be."""
    _, scatter, pull, _ = measure(20.0, SETUPS["three integrations"], False)
    _, best, held, _ = measure(20.0, SETUPS["three integrations"], True)
    assert pull > 1.08
    assert scatter > 1.05 * best
    assert abs(held - 1) < 0.02
