"""Jump detection on arrays: worked cases, a plain reference, and properties."""

import numpy as np
import pytest

from jwpipe.exposure import Header
from jwpipe.stage1.jump import Detection, JumpParams, find_jumps, jump

DO_NOT_USE, SATURATED, JUMP = 1, 2, 4
NO_GAIN = 1 << 19
DEFAULT = Detection(1, (6.0, 5.0, 4.0), 10, 100, True)


def run(sci, groupdq=None, gain=1.0, readnoise=5.0, detection=DEFAULT, **keywords):
    """Flags of ``sci`` with constant or given gain and read noise."""
    shape = sci.shape[2:]
    if groupdq is None:
        groupdq = np.zeros(sci.shape, np.uint8)
    options = {"neighbours": None, "after_dn": (0.0, 0.0), "after_groups": (0, 0), **keywords}
    return find_jumps(
        np.ascontiguousarray(sci, np.float32),
        groupdq,
        np.zeros(shape, np.uint32),
        np.broadcast_to(np.asarray(gain, np.float32), shape).copy(),
        np.broadcast_to(np.asarray(readnoise, np.float32), shape).copy(),
        options.pop("median_gain", 1.0),
        detection=detection,
        **options,
    )


def ramp(*steps):
    """One pixel (1, g, 1, 1) whose groups rise by ``steps``."""
    return np.concatenate([[0.0], np.cumsum(steps)]).reshape(1, -1, 1, 1)


def frame(pixel, ny=5, nx=7):
    """A frame of steady pixels around ``pixel`` at (2, 3)."""
    groups = pixel.shape[1]
    sci = np.tile(10.0 * np.arange(groups).reshape(1, -1, 1, 1), (1, 1, ny, nx))
    sci[:, :, 2, 3] = pixel[:, :, 0, 0]
    return sci


def test_one_hit_is_found_in_its_group():
    # Differences 10 10 10 500 10; the largest apart their median is 10, sigma = sqrt(10 + 25) = 5.9,
    # (500 - 10) / 5.9 = 83 > 4.
    flags, *_ = run(ramp(10, 10, 10, 500, 10))
    assert flags[0, :, 0, 0].tolist() == [0, 0, 0, 0, JUMP, 0]


@pytest.mark.parametrize(
    ("steps", "sigmas"), [((10, None), 6), ((10, 10, None), 5), ((10, 10, 10, 10, None), 4)]
)
def test_thresholds_by_number_of_differences(steps, sigmas):
    # Median 10 (of two differences the smaller), sigma = sqrt(10 + 25).
    limit = 10 + sigmas * np.sqrt(35)
    for last, found in ((limit - 0.01, 0), (limit + 0.01, JUMP)):
        flags, *_ = run(ramp(*(last if step is None else step for step in steps)))
        assert flags[0, -1, 0, 0] == found


def test_gain_and_frames_enter_the_noise():
    # Electrons: differences 20, sigma = sqrt(20 + (5 * 2)^2 / 4) = 6.708; limit 20 + 4 * 6.708 = 46.83 = 23.42 DN.
    detection = Detection(4, (6.0, 5.0, 4.0), 10, 100, True)
    for last, found in ((23.40, 0), (23.43, JUMP)):
        flags, *_ = run(ramp(10, 10, 10, 10, last), gain=2.0, detection=detection)
        assert flags[0, -1, 0, 0] == found


def test_a_drop_counts_by_its_size():
    # |-500| = 500 is as far as a rise; |-10| = 10 is the median itself.
    flags, *_ = run(ramp(10, -10, 10, -500, 10))
    assert flags[0, :, 0, 0].tolist() == [0, 0, 0, 0, JUMP, 0]


def test_median_runs_over_all_integrations():
    # 40 is 5 sigma from the median 10 of four integrations, yet nothing special among two.
    steady = np.concatenate([ramp(10, 10, 10)] * 4)
    steady[3, 3:] += 30
    flags, *_ = run(steady)
    assert flags[3, 3, 0, 0] == JUMP
    assert (flags != 0).sum() == 1


def test_all_at_once_from_ten_differences():
    # Two equal hits of 60 among ten: median 10, sigma 5.9. One by one both are left out together.
    steps = [10] * 8 + [60, 60]
    flags, *_ = run(ramp(*steps))
    assert flags[0, :, 0, 0].tolist() == [0] * 9 + [JUMP, JUMP]
    # A drop to -20 is 5 sigma below the median in the signed differences, but |-20| only 1.7 above it.
    below = ramp(*[10] * 9, -20)
    assert run(below)[0][0, -1, 0, 0] == JUMP
    assert run(below[:, 1:] - 10)[0][0, -1, 0, 0] == 0


def test_unusable_groups_take_no_part():
    groupdq = np.zeros((1, 7, 1, 1), np.uint8)
    groupdq[0, 3] = DO_NOT_USE
    groupdq[0, 6] = SATURATED
    flags, *_ = run(ramp(10, 10, 900, 10, 10, 9000), groupdq)
    np.testing.assert_array_equal(flags, groupdq)


def test_nan_takes_no_part():
    sci = ramp(10, 10, 10, 500, 10, 10, 10)
    sci[0, 2] = np.nan
    flags, *_ = run(sci)
    assert flags[0, :, 0, 0].tolist() == [0, 0, 0, 0, JUMP, 0, 0, 0]


def test_jumps_on_unusable_groups_are_taken_back():
    groupdq = np.zeros((1, 5, 1, 1), np.uint8)
    groupdq[0, 3] = SATURATED | JUMP
    assert run(ramp(1, 1, 1, 1), groupdq)[0][0, 3] == SATURATED


def test_neighbours_of_middling_jumps_only():
    sigma = np.sqrt(35)
    cross = [(1, 3), (2, 2), (2, 3), (2, 4), (3, 3)]
    for ratio, expected in ((9, [(2, 3)]), (11, cross), (999, cross), (1001, [(2, 3)])):
        flags, *_ = run(frame(ramp(10, 10, 10, 10 + ratio * sigma, 10)), neighbours=(10.0, 1000.0))
        assert list(zip(*np.nonzero(flags[0, 4]), strict=True)) == expected
        assert not flags[0, [0, 1, 2, 3, 5]].any()


def test_unusable_neighbours_stay_as_they_are():
    sci = frame(ramp(10, 10, 10, 500, 10))
    groupdq = np.zeros(sci.shape, np.uint8)
    groupdq[0, 4, 1, 3], groupdq[0, 4, 3, 3] = SATURATED, DO_NOT_USE
    flags, *_ = run(sci, groupdq, neighbours=(10.0, 1000.0))
    assert flags[0, 4, 1, 3] == SATURATED
    assert flags[0, 4, 3, 3] == DO_NOT_USE
    assert flags[0, 4, 2, 2] == flags[0, 4, 2, 4] == JUMP


def test_groups_after_large_jumps():
    steps = (10, 10, 500, 10, 10, 10, 10)
    pairs = {"after_dn": (100.0, 400.0), "after_groups": (1, 3)}
    assert np.flatnonzero(run(ramp(*steps), **pairs)[0]).tolist() == [3, 4, 5, 6]
    # The limits are DN: with a gain of 2 the rise of 490 DN is 980 electrons against 2 * 400 and against 2 * 500.
    pairs = {"after_dn": (100.0, 500.0), "after_groups": (1, 3), "gain": 2.0, "median_gain": 2.0}
    assert np.flatnonzero(run(ramp(*steps), **pairs)[0]).tolist() == [3, 4]


def test_pixels_without_gain():
    gain = np.array([[1.0, 0.0, -1.0, np.nan]])
    flags, pixeldq, *_ = run(np.tile(ramp(10, 10, 500, 10), (1, 1, 1, 4)), gain=gain)
    assert pixeldq[0].tolist() == [0, *[NO_GAIN | DO_NOT_USE] * 3]
    assert flags[0, 3, 0, 0] == JUMP


def test_too_few_usable_groups():
    groupdq = np.zeros((1, 4, 1, 1), np.uint8)
    groupdq[0, [0, 3]] = DO_NOT_USE
    sci = ramp(10, 900, 10)
    assert DEFAULT.test(groupdq) == "none"
    np.testing.assert_array_equal(run(sci, groupdq)[0], groupdq)


@pytest.mark.parametrize(
    ("integrations", "groups", "test"),
    [(1, 10, "one by one"), (1, 11, "at once"), (99, 4, "one by one"), (100, 4, "scatter")],
)
def test_choice_of_the_test(integrations, groups, test):
    assert DEFAULT.test(np.zeros((integrations, groups, 1, 1), np.uint8)) == test


def test_choice_by_groups_of_all_integrations():
    detection = Detection(1, (6.0, 5.0, 4.0), 10, 20, False)
    groupdq = np.zeros((2, 10, 1, 1), np.uint8)
    assert detection.test(groupdq) == "scatter"
    groupdq[0, 0] = DO_NOT_USE
    assert detection.test(groupdq) == "one by one"


def test_scatter_among_integrations():
    # 120 differences of -1 and 1: standard deviation 1; the step of 50 beyond 4 of them.
    sci = np.zeros((120, 3, 1, 2))
    sci[:, 1] = np.where(np.arange(120) % 2, 1.0, -1.0)[:, np.newaxis, np.newaxis]
    sci[:, 2] = 2 * sci[:, 1]
    sci[7, 2, 0, 0] += 50
    flags, *_ = run(sci)
    assert np.argwhere(flags).tolist() == [[7, 2, 0, 0]]


def test_a_group_in_which_all_pixels_jump_is_no_jump():
    sci = np.zeros((120, 3, 2, 2))
    sci[:, 1:] = np.where(np.arange(120) % 2, 1.0, -1.0)[:, np.newaxis, np.newaxis, np.newaxis]
    sci[7, 2] += 50
    assert not run(sci)[0].any()


def test_a_group_that_few_pixels_can_use_keeps_its_jumps():
    sci = np.zeros((120, 3, 2, 2))
    sci[:, 1:] = np.where(np.arange(120) % 2, 1.0, -1.0)[:, np.newaxis, np.newaxis, np.newaxis]
    sci[7, 2] += 50
    groupdq = np.zeros(sci.shape, np.uint8)
    groupdq[:, 2, :, 1] = groupdq[:, 2, 1, 0] = DO_NOT_USE
    flags, *_ = run(sci, groupdq)
    assert flags[7, 2].tolist() == [[JUMP, DO_NOT_USE], [DO_NOT_USE, DO_NOT_USE]]


def test_the_first_and_the_last_difference():
    # 500 among 10: median 10, sigma sqrt(35); the first group that can be flagged is the second.
    for place in (0, 4):
        steps = [10.0] * 5
        steps[place] = 500
        flags, *_ = run(ramp(*steps))
        assert np.flatnonzero(flags).tolist() == [place + 1]


def test_neighbours_at_the_edges_of_the_frame():
    hit = ramp(10, 10, 10, 10 + 50 * np.sqrt(35), 10)
    for y, x, neighbours in ((0, 0, [(0, 1), (1, 0)]), (4, 6, [(3, 6), (4, 5)])):
        sci = np.tile(10.0 * np.arange(6).reshape(1, 6, 1, 1), (1, 1, 5, 7))
        sci[:, :, y, x] = hit[:, :, 0, 0]
        flags, *_ = run(sci, neighbours=(10.0, 1000.0))
        assert sorted(zip(*np.nonzero(flags[0, 4]), strict=True)) == sorted([(y, x), *neighbours])


def test_neighbours_over_the_border_of_a_strip():
    # The hit lies in the first row beyond a strip of three rows, in its halo: its neighbour is flagged in the strip.
    sci = frame(ramp(10, 10, 10, 10 + 50 * np.sqrt(35), 10), ny=5)
    sci = np.roll(sci, 1, axis=2)
    strip, *_ = run(sci[:, :, :4], neighbours=(10.0, 1000.0))
    assert list(zip(*np.nonzero(strip[0, 4, :3]), strict=True)) == [(2, 3)]


def test_orphan_groups():
    # Groups with unusable ones on both sides have no difference: nothing is told of them.
    groupdq = np.array([0, DO_NOT_USE, 0, DO_NOT_USE, 0, 0, 0, 0], np.uint8).reshape(1, 8, 1, 1)
    flags, *_ = run(ramp(10, 10, 9000, 10, 10, 10, 500), groupdq)
    assert np.flatnonzero(flags & JUMP).tolist() == [7]


def test_all_saturated():
    groupdq = np.full((1, 6, 1, 1), SATURATED, np.uint8)
    flags, *_ = run(ramp(10, 10, 900, 10, 10), groupdq)
    np.testing.assert_array_equal(flags, groupdq)


def test_hits_by_their_size():
    """How many of 6000 hits each are found: few at 2 sigma, half at the threshold of 4, all but none at 7."""
    rng = np.random.default_rng(5)
    found = {}
    for sigmas in (2, 4, 7):
        steps = rng.poisson(50.0, (1, 9, 60, 100)) + 0.0
        sigma = np.sqrt(50 + 2 * 4.0**2)
        steps[0, 5] += sigmas * sigma
        sci = np.cumsum(np.concatenate([np.zeros((1, 1, 60, 100)), steps], axis=1), axis=1)
        sci += rng.normal(0, 4.0, sci.shape)
        # Noise of a pair of frames, as the reference has it.
        flags, *_ = run(sci, readnoise=np.sqrt(2) * 4.0)
        found[sigmas] = (flags[0, 6] & JUMP > 0).mean()
        # Beyond 4 sigma lie 6e-5 of normal differences; photons and the scatter of the median add to it.
        assert (flags[0, :5] & JUMP > 0).mean() < 1e-3
    assert found[2] < 0.06
    assert 0.35 < found[4] < 0.6
    assert found[7] > 0.98


def cube(seed, integrations, groups, ny=24, nx=32):
    """Random ramps with hits, saturation, unusable groups and NaN."""
    rng = np.random.default_rng(seed)
    shape = (integrations, groups, ny, nx)
    steps = rng.poisson(10 ** rng.uniform(0, 3, (ny, nx)), shape) + rng.normal(0, 8, shape)
    hits = rng.random(shape) < 0.04
    sci = np.cumsum(steps + hits * 10 ** rng.uniform(1, 4, shape), axis=1)
    groupdq = np.where(np.maximum.accumulate(sci > 8000, axis=1), SATURATED, 0).astype(np.uint8)
    groupdq[rng.random(shape) < 0.01] |= DO_NOT_USE
    sci[rng.random(shape) < 0.003] = np.nan
    gain = rng.uniform(1.5, 2.5, (ny, nx))
    readnoise = rng.uniform(5, 15, (ny, nx))
    return sci.astype(np.float32), groupdq, gain, readnoise


def plain_flags(steps, noise, thresholds, at_once):
    """The same rules for the differences of one pixel, written down step by step."""
    found = np.zeros(steps.shape, bool)
    if at_once:
        centre = np.nanmedian(steps)
        return np.abs(steps - centre) / np.sqrt(abs(centre) + noise) > thresholds[2]
    sizes = np.abs(steps)
    while (count := np.isfinite(sizes).sum()) >= 2:
        kept = sizes[np.isfinite(sizes)]
        if count >= 4:
            kept = kept[kept < kept.max()]
        if kept.size == 0:
            break
        centre = kept.min() if count == 2 else np.median(kept)
        ratio = np.abs(sizes - centre) / np.sqrt(abs(centre) + noise)
        if not np.nanmax(ratio) > thresholds[min(count, 4) - 2]:
            break
        worst = ratio == np.nanmax(ratio)
        found |= worst
        sizes = np.where(worst, np.nan, sizes)
    return found


def plain_groups(sci, groupdq, gain, readnoise):
    """The flags of all groups by ``plain_flags``."""
    gain, readnoise = gain.astype(np.float32), readnoise.astype(np.float32)
    counts = np.where(groupdq & (SATURATED | DO_NOT_USE), np.nan, sci * gain)
    steps = np.diff(counts.astype(np.float32), axis=1).astype(np.float64)
    noise = ((readnoise * gain) ** 2).astype(np.float64)
    expected = groupdq.copy()
    for y, x in np.ndindex(noise.shape):
        found = plain_flags(steps[:, :, y, x], noise[y, x], (6.0, 5.0, 4.0), sci.shape[1] > 10)
        expected[:, 1:, y, x] |= np.where(found, JUMP, 0).astype(np.uint8)
    assert (expected & JUMP).any()
    return expected


@pytest.mark.filterwarnings("ignore:All-NaN")
@pytest.mark.parametrize("shape", [(1, 3), (1, 4), (1, 6), (3, 5), (1, 12), (2, 14), (6, 7)])
def test_against_a_plain_implementation(shape):
    ramps = cube(3, *shape, ny=12, nx=16)
    flags, *_ = run(*ramps)
    np.testing.assert_array_equal(flags, plain_groups(*ramps))


@pytest.mark.parametrize("shape", [(1, 9), (1, 10), (5, 8), (1, 12), (1, 13), (4, 12)])
def test_nobody_escapes_the_screen(shape):
    """Faint and bright ramps without flags, with hits about the threshold: those that a screen might miss."""
    rng = np.random.default_rng(11)
    level = np.repeat([0.0, 1, 4, 20, 200], 160).reshape(20, 40)
    steps = rng.normal(level, np.sqrt(level / 2 + 18), (*shape, 20, 40))
    steps += (rng.random(steps.shape) < 0.05) * rng.uniform(-40, 60, steps.shape)
    sci = (300 + np.cumsum(steps, axis=1)).astype(np.float32)
    ramps = sci, np.zeros(sci.shape, np.uint8), np.full((20, 40), 2.0), np.full((20, 40), 4.2)
    flags, *_ = run(*ramps)
    np.testing.assert_array_equal(flags, plain_groups(*ramps))


@pytest.mark.parametrize("shape", [(2, 8), (1, 12), (101, 4)])
def test_strips_with_halo_give_the_whole_and_inputs_stay(shape):
    arrays = cube(5, *shape)
    before = [array.copy() for array in arrays]
    options = {
        "neighbours": (10.0, 1000.0),
        "after_dn": (50.0, 500.0),
        "after_groups": (1, 2),
    }
    whole, *_ = run(*arrays, **options)
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)
    halo = jump.halo(JumpParams())
    assert halo == 1
    for start in range(0, 24, 7):
        stop = min(start + 7, 24)
        low, high = max(start - halo, 0), min(stop + halo, 24)
        part = [np.ascontiguousarray(array[..., low:high, :]) for array in arrays]
        strip, *_ = run(*part, **options)
        np.testing.assert_array_equal(
            strip[:, :, start - low : stop - low], whole[:, :, start:stop]
        )


def header(**keywords):
    keywords = {"NGROUPS": 8, "NFRAMES": 4, "TGROUP": 10.0, **keywords}
    return Header({"primary": keywords, "filename": "x_uncal.fits"})


def test_keywords_of_the_kernel():
    params = JumpParams(after_jump_flag_time1=25, after_jump_flag_dn1=100, flag_4_neighbors=False)
    keywords = jump.keywords(header(), params)
    assert keywords["detection"] == Detection(4, (6.0, 5.0, 4.0), 10, 100, True)
    assert keywords["after_groups"] == (2, 0)
    assert keywords["neighbours"] is None
    assert jump.halo(params) == 0


def test_two_groups_are_too_few():
    assert jump.applies(header(NGROUPS=3), JumpParams()) == ""
    assert "2 groups" in jump.applies(header(NGROUPS=2), JumpParams())


def test_showers_are_looked_for_where_asked():
    assert jump.keywords(header(), JumpParams())["showers"] is None
    assert jump.keywords(header(), JumpParams(find_showers=True))["showers"] is not None
    assert jump.halo(JumpParams(find_showers=True)) == 4


def test_parameters_are_those_of_the_reference_pipeline():
    assert len(JumpParams().own()) == 35
    assert all(field.description for field in JumpParams.model_fields.values())
