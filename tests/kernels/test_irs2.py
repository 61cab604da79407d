"""IRS2 frames: where reads lie, transforms of their series, bad reads, and noise of known size removed."""

import numpy as np
import pytest

from jwpipe.dq import Pixel
from jwpipe.exposure import ExposureError, Header
from jwpipe.numerics.irs2 import (
    FRAME_ROWS,
    LINES,
    MIDDLE,
    OUTPUTS,
    READS,
    SAMPLES,
    TICKS,
    Interleaving,
    at_ticks,
    bridge_gaps,
    frequencies,
    is_reference,
    lines_of,
    over_lines,
    waves,
    without_line,
)
from jwpipe.stage1.irs2.noise import (
    AROUND,
    EDGE_COLUMNS,
    Reads,
    filled,
    fitted_line,
    hermitian,
    passed,
    shared_noise,
)
from jwpipe.stage1.irs2.repair import (
    Repair,
    bad_pairs,
    clipped_mean,
    listed_rows,
    odd_columns,
    pair_moments,
    repaired,
    repairs,
)
from jwpipe.stage1.refpix import RefpixParams
from jwpipe.stage1.refpix_irs2 import Correction, is_irs2, layout_of, subtract_noise

LAYOUTS = [Interleaving(turned=False), Interleaving(turned=True)]
REFERENCE = is_reference()


def header(**keywords):
    found = {"INSTRUME": "NIRSPEC", "DETECTOR": "NRS1", "READPATT": "NRSIRS2RAPID"} | keywords
    return Header({"primary": found, "filename": "a_uncal.fits"})


# ---- where reads lie


def test_reference_reads_lie_in_groups_of_four_between_sixteen_pixels():
    assert REFERENCE.sum() == 128
    np.testing.assert_array_equal(np.flatnonzero(REFERENCE)[:8], [8, 9, 10, 11, 28, 29, 30, 31])
    np.testing.assert_array_equal(REFERENCE, REFERENCE[::-1])


def test_ticks_of_a_line():
    # 8 pixels, a tick to step out, 4 reference reads, a tick to step in, 16 pixels ...
    ticks = LAYOUTS[0].ticks(1)
    np.testing.assert_array_equal(ticks[:8], np.arange(8))
    np.testing.assert_array_equal(ticks[8:12], [9, 10, 11, 12])
    np.testing.assert_array_equal(ticks[12:28], np.arange(14, 30))
    np.testing.assert_array_equal(ticks[28:32], [31, 32, 33, 34])
    # ... and the last 8 pixels end 8 ticks before the line does.
    assert ticks[-1] == TICKS - 9


def test_outputs_are_read_in_turns_from_either_end():
    first, second = LAYOUTS
    for output in range(OUTPUTS):
        rising = output in (1, 3)
        assert (np.diff(first.ticks(output)) > 0).all() == rising
        assert (np.diff(second.ticks(output)) > 0).all() != rising
        assert first.rows(output)[0] == output * READS
        assert second.rows(output)[0] == (OUTPUTS - 1 - output) * READS


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pixels_are_what_is_left_without_reference_reads(layout):
    rows = layout.science_rows()
    assert rows.size == 2048
    assert (np.diff(rows) > 0).all()
    assert not np.isin(layout.rows(0), rows).any()
    np.testing.assert_array_equal(rows[:9] - rows[0], [0, 1, 2, 3, 4, 5, 6, 7, 12])


def test_the_second_detector_is_turned():
    first, second = LAYOUTS
    np.testing.assert_array_equal(
        second.science_rows(), FRAME_ROWS - 1 - first.science_rows()[::-1]
    )
    assert second.row_of_column(np.array(0)) == FRAME_ROWS - 1
    np.testing.assert_array_equal(second.lines()[:2], [2047, 2046])


def test_layout_of_a_header():
    assert layout_of(header(DETECTOR="NRS2", NRS_NORM=16, NRS_REF=4)).turned
    assert is_irs2(header())
    assert not is_irs2(header(READPATT="NRSRAPID"))
    with pytest.raises(ExposureError, match=r"a_uncal.*NRS_NORM 32"):
        layout_of(header(NRS_NORM=32))


# ---- series


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(4).normal(0, 5, (TICKS, LINES)).astype(np.float32)


def test_waves_are_the_transform_of_the_series_in_time(noise):
    expected = np.fft.fft(noise.T.reshape(-1).astype(np.float64))
    found = waves(over_lines(noise, np.arange(TICKS)))
    np.testing.assert_allclose(found, expected[frequencies()], atol=2e-5 * np.abs(expected).max())
    back = at_ticks(lines_of(found), np.arange(TICKS))
    np.testing.assert_allclose(back, noise, atol=2e-5)


def test_gaps_are_bridged_by_what_is_around_in_time():
    series = np.full((TICKS, LINES), 7, np.float32)
    series[5, 9] = series[TICKS - 1] = 0
    filled_in = bridge_gaps(series, AROUND)
    np.testing.assert_allclose(filled_in, 7, rtol=1e-6)
    assert series[5, 9] == 0
    # The first tick of a line is beside the last one of the line before: one of the two weights each.
    series = np.zeros((TICKS, LINES), np.float32)
    series[0, 4], series[TICKS - 2, 3] = 3, 1
    assert bridge_gaps(series, np.ones(3))[TICKS - 1, 3] == 2
    assert bridge_gaps(series, np.ones(3))[100, 100] == 0


def test_a_straight_line_is_fitted_and_subtracted_where_reads_are():
    layout = LAYOUTS[0]
    time = layout.lines()[np.newaxis] * TICKS + layout.ticks(0)[:, np.newaxis] - MIDDLE
    values = (3 + 2e-6 * time).astype(np.float32)
    values[7, 100:200] = values[9, 1] = 0
    line = fitted_line(Reads(values, values[:0, EDGE_COLUMNS]), layout, 0)
    np.testing.assert_allclose(line, (3, 2e-6), rtol=1e-6)
    left = without_line(values, layout.ticks(0), *line)
    np.testing.assert_allclose(left, 0, atol=1e-6)
    nothing = Reads(np.zeros_like(values), values[:0, EDGE_COLUMNS])
    assert fitted_line(nothing, layout, 0) == (0.0, 0.0)


def test_the_filter_passes_the_ends_of_the_spectrum():
    gain, above = passed(), frequencies()
    assert (gain[above <= 30267] == 1).all()
    assert (gain[(above >= 35268) & (above <= SAMPLES // 2 - 35269)] == 0).all()
    half = SAMPLES // 2
    assert (gain[np.abs(above - half) <= 30268] == 1).all()
    # Half way down the cosine.
    assert gain[above == 30268 + 2500] == pytest.approx(0.5, abs=1e-3)


def test_what_the_filter_fills_follows_a_slow_wave():
    # A wave far below the filter's limit: what is missing is bridged nearly, then filled nearly exactly.
    time = np.arange(TICKS)[:, np.newaxis] + TICKS * np.arange(LINES)
    wave = (2 + np.sin(2 * np.pi * 3000 * time / SAMPLES)).astype(np.float32)
    holed = wave.copy()
    missing = np.setdiff1d(np.arange(TICKS), LAYOUTS[0].ticks(1)[~REFERENCE])
    holed[missing[missing < TICKS - 8]] = 0
    bridged = bridge_gaps(holed, AROUND)
    found = at_ticks(filled(bridged), np.arange(TICKS))
    inside = np.arange(TICKS - 8)
    before, after = (np.abs(x - wave)[inside].max() for x in (bridged, found))
    assert after < before / 3
    np.testing.assert_allclose(
        found[LAYOUTS[0].ticks(1)[~REFERENCE]],
        wave[LAYOUTS[0].ticks(1)[~REFERENCE]],
        atol=1e-5,
    )


def test_kernels_act_on_the_real_part():
    rng = np.random.default_rng(2)
    kernel = (rng.normal(size=SAMPLES) + 1j * rng.normal(size=SAMPLES)).astype(np.complex64)
    signal = rng.normal(size=SAMPLES)
    expected = np.fft.ifft(np.fft.fft(signal) * kernel).real.reshape(LINES, TICKS).T
    series = signal.reshape(LINES, TICKS).T.astype(np.float32)
    lines = lines_of(waves(over_lines(series, np.arange(TICKS))) * hermitian(kernel))
    np.testing.assert_allclose(at_ticks(lines, np.arange(TICKS)), expected, atol=1e-3)


# ---- noise of known size


def kernels(alpha=0.0, beta=0.0):
    found = np.zeros((2, 4, TICKS, LINES // 2 + 1), np.complex64)
    found[0], found[1] = alpha, beta
    return found


def frame_of(layout, output_series):
    """Reads of the five outputs of a frame whose reads are ``output_series(output, tick, line)``."""
    reads = []
    for output in range(OUTPUTS):
        ticks = layout.ticks(output)[:, np.newaxis]
        values = output_series(output, ticks, layout.lines()).astype(np.float32)
        used = np.ones(READS, bool) if output == 0 else REFERENCE
        reads.append(Reads(values[used], values[~used][:, EDGE_COLUMNS]))
    return reads


def no_offset(reads):
    return [Reads(np.zeros(r.values.shape), np.zeros(r.edges.shape)) for r in reads]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_sine_in_all_outputs_is_taken_off_the_pixels(layout):
    # The reference output sees a wave of amplitude 4, each output 1.5 times as much: alpha is 1.5.
    def wave(tick, line):
        return np.sin(0.3 + 2 * np.pi * 2000 * (tick + TICKS * line) / SAMPLES)

    reads = frame_of(layout, lambda output, tick, line: (6 if output else 4) * wave(tick, line))
    noises = shared_noise(reads, no_offset(reads), kernels(alpha=1.5), layout)
    for output in range(1, OUTPUTS):
        ticks = layout.ticks(output)[~REFERENCE][:, np.newaxis]
        time = layout.lines() * TICKS + ticks - MIDDLE
        noise = noises[output]
        # What the straight line takes off the reference output it takes off the others as well, 1.5 times.
        removed = noise.plane + noise.intercept + noise.slope * time
        np.testing.assert_allclose(removed, 6 * wave(ticks, layout.lines()), atol=1e-4)


def test_stripes_in_the_reference_reads_are_taken_off_by_lines():
    # Reads of 2 in every other line, elsewhere nothing. A kernel that passes the slow frequencies alone (k2 = 0 and its
    # mirror) gives the mean over a line: 256 of the 712 samples of a line are reads.
    layout = LAYOUTS[0]
    reads = frame_of(layout, lambda output, tick, line: 2.0 * (line % 2) + 0 * tick)
    edges = [Reads(r.values, np.zeros_like(r.edges)) for r in reads]
    beta = np.zeros((TICKS, LINES // 2 + 1), np.complex64)
    beta[0] = beta[-1] = 1
    flat = [Reads(np.full(r.values.shape, 1.0), np.zeros(r.edges.shape)) for r in reads]
    noises = shared_noise(edges, flat, kernels(beta=beta), layout)
    # Less the mean of 1 the reads are +1 and -1; the line through the edges is 0.
    line = layout.lines()
    for noise in noises[1:]:
        assert abs(noise.intercept) < 1e-6
        mean_of_line = noise.plane.mean(axis=0)
        expected = np.where(line % 2 == 1, 1, -1) * 256 / 712
        assert np.corrcoef(mean_of_line, expected)[0, 1] > 0.99


def test_without_kernels_the_line_alone_is_left():
    layout = LAYOUTS[1]
    reads = frame_of(layout, lambda output, tick, line: 5.0 + output + 0 * (tick + line))
    noises = shared_noise(reads, no_offset(reads), kernels(), layout)
    for output, noise in enumerate(noises):
        assert noise.intercept == pytest.approx(5 + output, rel=1e-6)
        np.testing.assert_allclose(noise.plane, 0)
        np.testing.assert_allclose(noise.reads, 0, atol=1e-5)


def test_pixels_lose_noise_line_and_level():
    # Two groups of 10 and 14, mean 12: less 1 and 1 of noise, and -2 and 2 of a line in time with 0.5 a line.
    sci = np.array([10, 14], np.float32).reshape(1, 2, 1, 1) + np.zeros((1, 2, 3, 4), np.float32)
    sci[0, :, 2, 3] = 7
    before = sci.copy()
    along = np.zeros((1, 2, 3))
    intercept, slope = along + np.array([[[-2], [2]]]), along + np.array([[[0.0], [0.5]]])
    noise = np.full(sci.shape, 1, np.float32)
    line = np.arange(4.0)
    (found,) = subtract_noise(sci, noise, intercept, slope, along.astype(np.float32), line)
    np.testing.assert_allclose(found[0, 0, 0], 10 - 1 + 2)
    np.testing.assert_allclose(found[0, 1, 0], 14 - 1 - 2 - 0.5 * line)
    # A pixel that equals its mean loses no line.
    assert found[0, 0, 2, 3] == found[0, 1, 2, 3] == 6
    np.testing.assert_array_equal(sci, before)
    (level,) = subtract_noise(sci, noise, intercept, slope, (along + 3).astype(np.float32), line)
    np.testing.assert_allclose(level, found - 3, rtol=1e-6)
    rows = [np.ascontiguousarray(a[:, :, 1:2]) for a in (sci, noise, intercept, slope)]
    (part,) = subtract_noise(*rows, along[:, :, 1:2].astype(np.float32), line)
    np.testing.assert_array_equal(part, found[:, :, 1:2])


# ---- bad reads


def test_moments_of_a_pair():
    values = np.array([[1, 3, 5, 7], [2, 2, 2, 2]], np.float32)
    np.testing.assert_allclose(pair_moments(values), [[(1 + 1 + 3 + 5) / 4, 3, (84 + 16) / 8]])


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_pairs_that_stand_out_are_bad(kind):
    rng = np.random.default_rng(7)
    mean, scatter = rng.normal(0, 1, 64), rng.normal(5, 0.1, 64)
    apart = rng.normal(6, 0.1, 64)
    (apart, mean, scatter)[kind][20] += 40
    moments = np.stack([apart, mean, mean**2 + scatter**2], axis=1)[np.newaxis]
    known = np.zeros(64, bool)
    found = bad_pairs(moments, known, 5.0)
    np.testing.assert_array_equal(np.flatnonzero(found), [20])
    # Lower than others is not bad, and what was known stays.
    moments[..., 0] = 100 - moments[..., 0] if kind == 0 else moments[..., 0]
    known[3] = True
    assert bad_pairs(moments, known, 5.0)[3]
    assert not known[20]


def test_clipping_is_around_the_median():
    mean, width = clipped_mean(np.array([1.0, 2, 3, 1000, 2, 2, 2, 2, 2, 2, 2, 2]), 3.0)
    assert mean == 2
    assert width == pytest.approx(np.sqrt(2 / 11))
    assert clipped_mean(np.zeros(0), 3.0) == (0.0, np.inf)


def test_bad_reads_of_a_reference():
    # Mask 0b101 of output 1, first pair: groups 0 and 2, so that rows 8, 9 and 48, 49 of the output are bad.
    (found,) = listed_rows([(1, 1, 0b101), (2, 1, 1)], 1, LAYOUTS[0])
    np.testing.assert_array_equal(found, [8, 9, 48, 49])
    # Output 2 is read the other way round, so that its first pair is the second one in the frame.
    (found,) = listed_rows([(2, 1, 1)], 2, LAYOUTS[0])
    np.testing.assert_array_equal(found, [10, 11])
    # In the other detector rows fall while the detector's columns grow.
    (found,) = listed_rows([(1, 1, 1 << 31)], 1, LAYOUTS[1])
    np.testing.assert_array_equal(found, [READS - 1 - 628, READS - 1 - 629])


def test_what_replaces_a_bad_read():
    bad = np.zeros(READS, bool)
    bad[[9, 49, 68, 88, 108, 110]] = True
    found = {fix.bad: fix for fix in repairs(bad, [])}
    # The first group has one neighbour of the same parity, others two; between bad ones the pair beside counts.
    assert found[9] == Repair(9, 29, 29)
    assert found[49] == Repair(49, 29, 69)
    assert found[68] == Repair(68, 48, 48)
    assert found[88] == Repair(88, 90, 90)
    assert found[110] == Repair(110, 90, 130)
    everything = repairs(np.ones(READS, bool), [])
    assert everything[8] == Repair(8, -1, -1)
    # What a reference lists comes after what was found, and again is not touched.
    later = repairs(bad, [np.array([9, 29])])
    assert [fix.bad for fix in later][-1] == 29
    assert later[-1] == Repair(29, 69, 69) or later[-1].first == 31


def test_reads_are_replaced():
    rows = np.flatnonzero(REFERENCE)
    values = np.repeat(rows[:, np.newaxis], 3, axis=1).astype(np.float32)
    before = values.copy()
    fixes = [Repair(28, 8, 48), Repair(9, 29, 29), Repair(30, -1, -1), Repair(0, 20, 20)]
    found = dict(zip(rows, repaired(values, rows, fixes)[:, 0], strict=True))
    assert (found[28], found[9], found[30], found[8]) == (28, 29, 0, 8)
    np.testing.assert_array_equal(values, before)


def test_parity_of_columns():
    odd = odd_columns()
    np.testing.assert_array_equal(odd[:14], [1, 0] * 4 + [1, 1, 0, 0] + [1, 0])


def test_mean_levels_of_both_ends_odd_and_even_apart():
    layout = LAYOUTS[0]
    odd = odd_columns()[layout.rows(2)]
    edges = np.where(odd[:, np.newaxis], 10.0, 20.0) + np.r_[[0.0] * 4, [2.0] * 4]
    flags = np.zeros(edges.shape, np.uint32)
    edges[5], flags[5] = 1e4, Pixel.DO_NOT_USE
    params = RefpixParams(irs2_mean_subtraction=True)
    found = Correction(layout, None, (), params).levels(2, edges, flags)
    np.testing.assert_allclose(found, np.where(odd, 11, 21))
    params = params.model_copy(update={"odd_even_columns": False})
    found = Correction(layout, None, (), params).levels(2, edges, flags)
    np.testing.assert_allclose(found, 16, atol=0.05)
    flags[:] = Pixel.DO_NOT_USE
    np.testing.assert_array_equal(Correction(layout, None, (), params).levels(2, edges, flags), 0)


def test_a_single_group_shows_no_noise():
    # Less its own mean it is nothing.
    layout = LAYOUTS[0]
    reads = frame_of(layout, lambda output, tick, line: 3.0 + output + 0 * (tick + line))
    rng = np.random.default_rng(1)
    beta = rng.normal(size=(TICKS, LINES // 2 + 1))
    for noise in shared_noise(reads, reads, kernels(alpha=1, beta=beta), layout)[1:]:
        assert (noise.intercept, noise.slope) == (0.0, 0.0)
        assert not noise.plane.any()
