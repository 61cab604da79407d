"""Cosmic rays told by the neighbouring integrations: worked cases, truth, and what a variable source makes of it."""

import numpy as np
import pytest

from jwpipe.exposure import Header
from jwpipe.stage1.jump import Detection, find_jumps
from jwpipe.stage1.time_jump import TimeJumpParams, find_time_jumps, time_jump

JUMP = 4
GAIN, READ_NOISE = 2.0, 10.0
DEFAULTS = Detection(1, (6.0, 5.0, 4.0), 10, 100, True)


def ramps(differences):
    """Ramps (i, g, y, x) in DN of differences (i, g - 1, y, x) in electrons."""
    start = np.zeros_like(differences[:, :1])
    return (np.concatenate([start, np.cumsum(differences, axis=1)], axis=1) / GAIN).astype("f4")


def flagged(sci, groupdq=None, threshold=4.5, window=7):
    flags = np.zeros(sci.shape, np.uint8) if groupdq is None else groupdq
    gain = np.full(sci.shape[2:], GAIN, np.float32)
    return find_time_jumps(sci, flags, gain, threshold=threshold, window=window)[0]


def alternating(integrations=21):
    """One pixel, one difference, which is 99, 101, 99, ..."""
    steps = np.where(np.arange(integrations) % 2, 101.0, 99.0)
    return steps[:, None, None, None].copy()


def test_a_step_above_its_neighbours():
    """Of the six others around a 99 in a window of 7 four are 101, and the other way round: 2 or -2 is left.

    So the limit is 4.5 x 1.4826 x 2 = 13.3 electrons, above 101 in the middle of the series.
    """
    for step, found in ((114.0, 0), (115.0, JUMP)):
        steps = alternating()
        steps[10] = step
        flags = flagged(ramps(steps))
        assert flags[10, 1, 0, 0] == found
        flags[10, 1] = 0
        assert not flags.any()


def test_a_step_below_is_no_jump():
    steps = alternating()
    steps[10] = 50
    assert not flagged(ramps(steps)).any()


def test_flagged_differences_do_not_count():
    steps = alternating()
    steps[[8, 9, 11, 12]] = 1000
    steps[10] = 120
    sci = ramps(steps)
    groupdq = np.zeros(sci.shape, np.uint8)
    groupdq[[8, 9], 1] = JUMP
    groupdq[[11, 12], 0] = 1
    flags = flagged(sci, groupdq, window=11)
    assert flags[10, 1, 0, 0] == JUMP
    np.testing.assert_array_equal(flags[[8, 9, 11, 12]], groupdq[[8, 9, 11, 12]])


def test_pixels_without_gain_or_series_are_left_alone():
    steps = alternating()
    steps[10] = 500
    sci = ramps(steps)
    flags = np.zeros(sci.shape, np.uint8)
    gain = np.full((1, 1), np.nan, np.float32)
    assert not find_time_jumps(sci, flags, gain, threshold=4.5, window=7)[0].any()
    few = np.zeros(sci.shape, np.uint8)
    few[:15, 0] = 1
    np.testing.assert_array_equal(flagged(sci, few), few)


def simulated(integrations, light, hits=0.01, seed=3):
    """Ramps of 5 groups with hits of 3 to 12 standard deviations; their places, and the true differences."""
    rng = np.random.default_rng(seed)
    shape = (integrations, 4, 24, 48)
    truth = np.broadcast_to(light[:, None, None, None], shape)
    noise = np.sqrt(truth + (READ_NOISE * GAIN) ** 2)
    steps = truth + noise * rng.normal(size=shape)
    struck = rng.random(shape) < hits
    return ramps(steps + struck * noise * rng.uniform(3, 12, shape)), struck, truth


def default_jumps(sci):
    shape = sci.shape[2:]
    gain = np.full(shape, GAIN, np.float32)
    noise = np.full(shape, READ_NOISE, np.float32)
    flags, pixels = np.zeros(sci.shape, np.uint8), np.zeros(shape, np.uint32)
    rules = {"detection": DEFAULTS, "neighbours": None, "after_dn": (0, 0), "after_groups": (0, 0)}
    return find_jumps(sci, flags, pixels, gain, noise, 1.0, **rules)[0]


def rates_of(flags, struck):
    """Shares of the hits that are found, and of all else that is taken for one."""
    found = flags[:, 1:] & JUMP != 0
    return found[struck].mean(), found[~struck].mean()


def eclipsed(integrations):
    """Light that drifts, and is 3 % fainter in the middle of the series."""
    time = np.linspace(-1, 1, integrations)
    return 20000 * (1 + 0.01 * time) * np.where(np.abs(time) < 0.4, 0.97, 1.0)


@pytest.mark.parametrize("integrations", [60, 120])
def test_more_hits_at_the_same_false_rate(integrations):
    """Beside the jump step with its defaults, which are those of jwst 3.0.0, in the light of an eclipsed star.

    It compares with the median of all integrations: 60 of them by the noise expected, 120 by the scatter found.
    """
    sci, struck, _ = simulated(integrations, eclipsed(integrations))
    complete, false = rates_of(default_jumps(sci), struck)
    for threshold in np.arange(3.0, 6.0, 0.1):
        more, wrong = rates_of(flagged(sci, threshold=threshold, window=15), struck)
        if wrong <= max(false, 3e-5):
            break
    assert wrong <= max(false, 3e-5)
    assert more > complete + 0.05
    both = rates_of(flagged(sci, default_jumps(sci), window=15), struck)[0]
    assert both >= complete


def test_a_variable_source_stays_as_it_is():
    """The mean of what is not flagged is the truth, in and out of eclipse, to a hundredth of a standard deviation."""
    sci, _, truth = simulated(200, eclipsed(200), hits=0.0)
    used = flagged(sci, window=15)[:, 1:] & JUMP == 0
    rest = (np.diff(sci, axis=1) * GAIN - truth) / np.sqrt(truth + (READ_NOISE * GAIN) ** 2)
    eclipse = truth[:, 0, 0, 0] < 19500
    for part in (eclipse, ~eclipse):
        assert abs(rest[part][used[part]].mean()) < 0.01
    assert 1 - used.mean() < 1e-3
    edges = np.flatnonzero(np.diff(eclipse)) + 1
    # A step of four standard deviations within one integration is not followed at once.
    assert 1 - used[edges].mean() < 2e-2


def test_chunks_give_the_whole_and_inputs_stay():
    sci, _, _ = simulated(40, np.full(40, 500.0))
    before = sci.copy()
    whole = flagged(sci)
    parts = [flagged(np.ascontiguousarray(sci[:, :, y : y + 8, x : x + 16]))
             for y in (0, 8, 16) for x in (0, 16, 32)]  # fmt: skip
    rows = [np.concatenate(parts[k : k + 3], axis=-1) for k in (0, 3, 6)]
    np.testing.assert_array_equal(np.concatenate(rows, axis=-2), whole)
    np.testing.assert_array_equal(sci, before)


def test_when_it_runs():
    params = TimeJumpParams(skip=False)
    assert TimeJumpParams().skip

    def header(**keywords):
        return Header({"primary": {"NGROUPS": 5, "NINTS": 100, **keywords}, "sci": {}})

    assert not time_jump.applies(header(), params)
    assert "29 integrations" in time_jump.applies(header(NINTS=29), params)
    assert "9 integrations" in time_jump.applies(header(INTSTART=92, INTEND=100), params)
    assert "one group" in time_jump.applies(header(NGROUPS=1), params)
