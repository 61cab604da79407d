"""The likelihood fit of ramps: worked cases, plain generalised least squares, and properties."""

import numpy as np
import pytest

from jwpipe.numerics.ramp_covariance import cadence, even_times
from jwpipe.stage1.likelihood import fit_likely

DO_NOT_USE, SATURATED, JUMP = 1, 2, 4
GAIN, READNOISE, FRAME = 2.0, 8.0, 10.0
NAMES = ("slope", "err", "dq", "var_poisson", "var_rnoise", "chi2")


def fit(sci, groupdq=None, zeroframe=None, dark=None, nframes=1, gap=0, **changes):
    """Results by name, of the exposure and of the integrations."""
    sci = np.ascontiguousarray(sci, np.float32)
    shape = sci.shape[2:]
    gain = np.broadcast_to(np.asarray(changes.get("gain", GAIN), np.float32), shape).copy()
    noise = np.broadcast_to(np.asarray(changes.get("readnoise", READNOISE), np.float32), shape)
    times = even_times(sci.shape[1], nframes, gap, FRAME)
    results = fit_likely(
        sci,
        np.zeros(sci.shape, np.uint8) if groupdq is None else np.asarray(groupdq, np.uint8),
        np.zeros(shape, np.uint32),
        zeroframe,
        None if dark is None else np.full(shape, dark, np.float32),
        gain,
        noise.copy(),
        times=changes.get("times", times),
    )
    return tuple(dict(zip(NAMES, each, strict=True)) for each in results)


def ramp(*values):
    """One pixel (1, g, 1, 1)."""
    return np.array(values, np.float32).reshape(1, -1, 1, 1)


def pixel(results):
    return {name: results[name].ravel()[0] for name in NAMES}


def covariance(times, rate, noise):
    """Covariance of the differences a second of groups that average reads at ``times``, from first principles.

    Photons (``rate`` a second, variance as mean) up to the earlier of two reads are common to both; the noise of each
    read (variance ``noise``) is its own.
    """
    reads = np.concatenate(times)
    own = np.minimum.outer(reads, reads) * rate + np.eye(reads.size) * noise
    average = np.zeros((len(times), reads.size))
    for group, (stop, size) in enumerate(
        zip(np.cumsum([len(t) for t in times]), (len(t) for t in times), strict=True)
    ):
        average[group, stop - size : stop] = 1 / size
    step = np.diff(np.eye(len(times)), axis=0) @ average
    step /= np.diff([np.mean(t) for t in times])[:, np.newaxis]
    return step @ own @ step.T


@pytest.mark.parametrize("times", [[[1], [2], [3], [5]], [[1, 2, 3], [4, 5, 6], [9, 11], [20]]])
def test_covariance_of_a_cadence(times):
    times = [np.array(group, float) for group in times]
    found, expected = cadence(times), covariance(times, 3.0, 7.0)
    np.testing.assert_allclose(3 * found.photon + 7 * found.read, np.diag(expected))
    np.testing.assert_allclose(3 * found.photon_pair + 7 * found.read_pair, np.diag(expected, k=1))
    assert not np.any(np.triu(expected, k=2).round(12))
    assert found.averaged.tolist() == [len(group) > 1 for group in times[1:-1]]


def test_even_times():
    # Two frames are read, one is dropped.
    np.testing.assert_array_equal(even_times(3, 2, 1, 10.0), [[10, 20], [40, 50], [70, 80]])


def test_noise_of_reads_alone():
    # Without light the best slope is that of all reads weighted alike: variance 12 s^2 / (t^2 (n^3 - n)).
    values = [0, -3, 2, -6, 1, -9]
    result = pixel(fit(ramp(*values))[0])
    noise = READNOISE**2 / 2
    variance = 12 * noise / (FRAME**2 * (6**3 - 6))
    slope = np.polyfit(np.arange(6), values, 1)[0] / FRAME
    assert slope < 0
    np.testing.assert_allclose(result["slope"], slope, rtol=1e-6)
    np.testing.assert_allclose(
        [result["err"] ** 2, result["var_rnoise"]], [variance, variance], rtol=1e-6
    )
    assert result["var_poisson"] == 0
    residuals = values - np.polyval(np.polyfit(np.arange(6), values, 1), np.arange(6))
    np.testing.assert_allclose(result["chi2"], np.sum(residuals**2) / noise, rtol=1e-5)


def test_photons_alone():
    # Without read noise only the first and the last read count: variance rate / (gain t), t from one to the other.
    result = pixel(fit(ramp(0, 105, 195, 310, 400), readnoise=1e-6)[0])
    np.testing.assert_allclose(result["slope"], 10.0, rtol=1e-6)
    np.testing.assert_allclose(
        [result["err"] ** 2, result["var_poisson"]], [10 / (GAIN * 4 * FRAME)] * 2, rtol=1e-6
    )
    np.testing.assert_allclose(result["var_rnoise"], 0, atol=1e-12)


@pytest.mark.parametrize(("nframes", "gap"), [(1, 0), (4, 1)])
def test_against_generalised_least_squares(nframes, gap):
    # Twice, as the fit does: at the median rate, then at the rate found.
    rng = np.random.default_rng(4)
    values = np.cumsum(rng.normal(300, 30, 8))
    groupdq = np.zeros((1, 8, 1, 1), np.uint8)
    groupdq[0, 3] = JUMP
    times = even_times(8, nframes, gap, FRAME)
    used = np.array([True, True, False, False, True, True, True])
    steps = np.diff(values.astype(np.float32)) / np.diff([t.mean() for t in times])
    rate = np.median(steps)
    for _ in range(2):
        inverse = np.linalg.inv(covariance(times, rate / GAIN, READNOISE**2 / 2)[used][:, used])
        variance = 1 / inverse.sum()
        rate = variance * (inverse @ steps[used]).sum()
    result = pixel(fit(values.reshape(1, 8, 1, 1), groupdq, nframes=nframes, gap=gap)[0])
    np.testing.assert_allclose([result["slope"], result["err"] ** 2], [rate, variance], rtol=1e-5)
    np.testing.assert_allclose(
        result["var_poisson"] + result["var_rnoise"], result["err"] ** 2, rtol=1e-6
    )
    rest = steps[used] - rate
    np.testing.assert_allclose(result["chi2"], rest @ inverse @ rest, rtol=1e-3)
    assert result["dq"] == JUMP


def test_a_jump_is_left_out():
    # 1000 DN in one difference: without it the line fits.
    values = np.array([0, 100, 200, 1300, 1400, 1500, 1600])
    result = pixel(fit(values.reshape(1, 7, 1, 1))[0])
    np.testing.assert_allclose(result["slope"], 10.0, rtol=1e-6)
    assert result["dq"] == JUMP
    np.testing.assert_allclose(result["chi2"], 0, atol=1e-6)


def test_the_limit_of_a_jump():
    # Photons alone, one difference off by e: all differences have variance v = rate / (gain t); leaving it out
    # improves chi^2 by e^2 / v (1 - 1/n), n = 9 differences.
    variance = 10 / (GAIN * FRAME)
    limit = np.sqrt(20.25 * variance / (1 - 1 / 9))
    for excess, flag in ((0.995 * limit, 0), (1.005 * limit, JUMP)):
        steps = np.full(9, 10.0)
        steps[4] += excess
        values = np.concatenate([[0.0], np.cumsum(steps * FRAME)])
        result = pixel(fit(values.reshape(1, 10, 1, 1), readnoise=1e-3)[0])
        assert result["dq"] == flag


def test_a_jump_within_an_average_takes_two_differences():
    # The hit comes within group 4: some of its reads have it.
    values = np.arange(10) * 400.0
    values[4] += 500
    values[5:] += 1000
    result = pixel(fit(values.reshape(1, 10, 1, 1), nframes=4)[0])
    np.testing.assert_allclose(result["slope"], 10.0, rtol=1e-6)
    assert result["dq"] == JUMP


def test_of_two_differences_the_higher_goes():
    groupdq = np.zeros((1, 5, 1, 1), np.uint8)
    groupdq[0, 3:] = SATURATED
    result = pixel(fit(ramp(0, 100, 5000, 0, 0), groupdq)[0])
    np.testing.assert_allclose(result["slope"], 10.0, rtol=1e-6)
    assert result["dq"] == JUMP | SATURATED


def test_nothing_to_fit():
    for groupdq, dq in (
        ([DO_NOT_USE] * 4, DO_NOT_USE),
        ([SATURATED] * 4, DO_NOT_USE | SATURATED),
        ([0, SATURATED, SATURATED, SATURATED], SATURATED),
        ([0, JUMP, 0, JUMP], JUMP),
    ):
        result = pixel(fit(ramp(1, 2, 3, 4), np.reshape(groupdq, (1, 4, 1, 1)))[0])
        assert result.pop("dq") == dq
        assert np.isnan(list(result.values())).all()


def test_nan_and_gain():
    assert np.isnan(pixel(fit(ramp(1, np.nan, 3, 4, 5))[0])["slope"])
    assert np.isnan(pixel(fit(ramp(1, 2, 3, 4, 5), gain=np.nan)[0])["slope"])


def test_the_first_frame_is_a_group_of_its_own():
    # Of four frames at 10, 20, 30 and 40 s the first is known: the other three have the mean (4 * 250 - 100) / 3.
    sci, zero = ramp(250, 650, 1050, 1450), np.full((1, 1, 1), 100.0, np.float32)
    groups = ramp(100, 300, 650, 1050, 1450)
    times = [np.array([10.0]), np.array([20.0, 30.0, 40.0]), *even_times(4, 4, 0, FRAME)[1:]]
    with_zero, _ = fit(sci, zeroframe=zero, nframes=4)
    alone, _ = fit(groups, times=times)
    for name in NAMES:
        np.testing.assert_allclose(with_zero[name], alone[name], rtol=1e-6, atol=1e-9)
    # A group of one frame has no other: the first frame says nothing new.
    single, _ = fit(sci, zeroframe=zero)
    plain, _ = fit(sci)
    np.testing.assert_array_equal(single["slope"], plain["slope"])


def test_dark_current_adds_to_the_photon_noise():
    result = pixel(fit(ramp(0, 100, 200, 300), dark=5.0, readnoise=1e-6)[0])
    np.testing.assert_allclose(result["var_poisson"], 15 / (GAIN * 3 * FRAME), rtol=1e-6)


def test_integrations_are_weighted_at_one_rate():
    sci = np.concatenate([ramp(0, 100, 200, 300, 400), ramp(0, 120, 240, 360, 480)])
    groupdq = np.zeros(sci.shape, np.uint8)
    groupdq[1, 3:] = SATURATED
    rate, ints = fit(sci, groupdq)
    slopes, photon, read = (ints[n].ravel() for n in ("slope", "var_poisson", "var_rnoise"))
    mean = 11.0
    for _ in range(2):
        light = photon * mean / slopes
        weight = 1 / (light + read)
        mean = np.sum(weight * slopes) / weight.sum()
    variances = np.sum(np.array([light, read]) * weight**2, axis=1) / weight.sum() ** 2
    found = pixel(rate)
    np.testing.assert_allclose(found["slope"], mean, rtol=1e-6)
    np.testing.assert_allclose([found["var_poisson"], found["var_rnoise"]], variances, rtol=1e-5)
    assert found["dq"] == SATURATED


def cube(seed, integrations, groups, ny=12, nx=300):
    """Random ramps with hits, saturation and NaN."""
    rng = np.random.default_rng(seed)
    shape = (integrations, groups, ny, nx)
    steps = rng.poisson(10 ** rng.uniform(0, 3, (ny, nx)), shape) + rng.normal(0, 6, shape)
    hits = rng.random(shape) < 0.03
    sci = np.cumsum(steps + hits * 10 ** rng.uniform(1, 4, shape), axis=1)
    groupdq = np.where(np.maximum.accumulate(sci > 8000, axis=1), SATURATED, 0).astype(np.uint8)
    groupdq[rng.random(shape) < 0.01] |= DO_NOT_USE
    sci[rng.random(shape) < 0.001] = np.nan
    return sci.astype(np.float32), groupdq


@pytest.mark.parametrize("shape", [(1, 4), (3, 6), (1, 12)])
def test_strips_give_the_whole_and_inputs_stay(shape):
    sci, groupdq = cube(3, *shape)
    before = sci.copy(), groupdq.copy()
    whole = fit(sci, groupdq)
    np.testing.assert_array_equal(sci, before[0])
    np.testing.assert_array_equal(groupdq, before[1])
    for region in (np.s_[..., 5:9, :], np.s_[..., 40:300]):
        part = fit(sci[region], groupdq[region])
        for results, parts in zip(whole, part, strict=True):
            for name in NAMES:
                np.testing.assert_array_equal(parts[name], results[name][region])
