"""What the jump step screens with, and the medians that it hands on to ramp_fit."""

import numpy as np
import pytest

from jwpipe.engine.chain import Bound, run_step
from jwpipe.numerics.planes import usable_windows
from jwpipe.numerics.screening import (
    FACTS,
    HIGH,
    LARGEST,
    LEAST,
    LOW,
    MOST,
    SECOND,
    fill_sorted,
    from_bracket,
    from_sorted,
)
from jwpipe.stage1.jump import Detection, find_jumps
from jwpipe.stage1.ramp_fit import fit_ramps
from jwpipe.step import Params, Step

ONE_BY_ONE = Detection(1, (6.0, 5.0, 4.0), 100, 1000, True)
AT_ONCE = Detection(1, (6.0, 5.0, 4.0), 1, 1000, True)


def ramps(shape, seed=3, jumps=0.01):
    """Ramps (i, g, y, x) of some 20 DN a group with noise and jumps, and flags on a few groups."""
    chance = np.random.default_rng(seed)
    steps = chance.normal(20, 6, shape) + 400 * (chance.random(shape) < jumps)
    groupdq = np.where(chance.random(shape) < 0.01, 1, 0).astype(np.uint8)
    return np.cumsum(steps, axis=1).astype(np.float32), groupdq


def sorted_steps(sci, groupdq):
    """The differences of one row, sorted by integration, and what comes with them."""
    integrations, groups, _, columns = sci.shape
    windows = usable_windows(groupdq)
    values = np.empty((integrations * (groups - 1), columns), np.float32)
    usable, complete = np.empty(columns, np.int32), np.empty(columns, np.bool_)
    medians, counts = np.empty((integrations, 1, columns)), np.empty(columns, np.float32)
    fill_sorted(sci, groupdq, windows, 0, 0, values, usable, complete, medians, counts)
    return values, windows, usable, complete, medians, counts


def test_facts_of_a_hand_worked_ramp():
    """Differences 3, -8, 5, 1, sorted -8, 1, 3, 5: the median of the three smallest is 1, the largest sizes 8 and 5."""
    sci = np.cumsum([0.0, 3, -8, 5, 1], dtype=np.float32).reshape(1, 5, 1, 1)
    flags = np.zeros(sci.shape, np.uint8)
    values, _, usable, complete, medians, counts = sorted_steps(sci, flags)
    facts = np.empty((FACTS, 1), np.float32)
    from_sorted(values, 4, 3, facts)
    assert facts[[LOW, HIGH, LEAST, MOST, LARGEST, SECOND], 0].tolist() == [1, 1, -8, 5, 8, 5]
    assert (usable[0], complete[0], medians[0, 0, 0], counts[0]) == (4, True, 2.0, 1.0)


def test_a_missing_group_leaves_no_median():
    sci, groupdq = np.zeros((1, 5, 1, 2), np.float32), np.zeros((1, 5, 1, 2), np.uint8)
    groupdq[0, 2, 0, 1] = 2
    _, _, usable, complete, medians, _ = sorted_steps(sci, groupdq)
    assert usable.tolist() == [4, 2]
    assert complete.tolist() == [True, False]
    np.testing.assert_array_equal(medians[0, 0], [0, np.nan])


@pytest.mark.parametrize("left", [80, 79])
def test_bounds_hold_the_median_and_are_mostly_found(left):
    """The median of all samples, and of all but the largest, lies between the bounds of each pixel."""
    sci, _ = ramps((8, 11, 1, 500), jumps=0)
    values, windows, *_ = sorted_steps(sci, np.zeros(sci.shape, np.uint8))
    facts = np.empty((FACTS, 500), np.float32)
    from_bracket(values, windows, 80, left, facts)
    median = np.median(np.sort(values, axis=0)[:left], axis=0)
    assert np.all((facts[LOW] <= median) & (median <= facts[HIGH]))
    assert np.isfinite(facts[LOW]).mean() > 0.9
    sizes = np.sort(np.abs(values), axis=0)
    np.testing.assert_array_equal(facts[[LARGEST, SECOND]], sizes[[-1, -2]])
    np.testing.assert_array_equal(facts[[LEAST, MOST]], [values.min(axis=0), values.max(axis=0)])


def flagged(sci, groupdq, detection):
    """Flags and medians that the jump step finds."""
    plane = np.ones(sci.shape[2:], np.float32)
    found, _, medians = find_jumps(
        sci,
        groupdq,
        np.zeros(plane.shape, np.uint32),
        1.8 * plane,
        8 * plane,
        1.8,
        detection=detection,
        neighbours=(10.0, 1000.0),
        after_dn=(0.0, 0.0),
        after_groups=(0, 0),
    )
    return found, medians


@pytest.mark.parametrize("detection", [ONE_BY_ONE, AT_ONCE], ids=["one by one", "at once"])
@pytest.mark.parametrize("shape", [(6, 9, 3, 200), (6, 4, 3, 200), (1, 12, 3, 200)], ids=str)
def test_what_is_screened_is_what_is_judged(shape, detection):
    """Flags do not depend on the pixels around, nor on whether a screen looks at a whole or at a shorter ramp."""
    sci, groupdq = ramps(shape)
    found, _ = flagged(sci, groupdq, detection)
    spoilt = np.concatenate([sci, sci], axis=3)
    spoilt_dq = np.concatenate([groupdq, groupdq], axis=3)
    # A group that only the second half lacks makes its pixels suspects, and is no difference of theirs.
    spoilt_dq[0, -1, :, shape[3] :] = 1
    short_dq = groupdq.copy()
    short_dq[0, -1] = 1
    short, _ = flagged(sci, short_dq, detection)
    both, _ = flagged(spoilt, spoilt_dq, detection)
    np.testing.assert_array_equal(both[..., : shape[3] - 1], found[..., :-1])
    np.testing.assert_array_equal(both[..., shape[3] + 1 :], short[..., 1:])
    assert (found & 4).any()


@pytest.mark.parametrize("detection", [ONE_BY_ONE, AT_ONCE], ids=["one by one", "at once"])
@pytest.mark.parametrize("shape", [(3, 9, 4, 150), (1, 12, 4, 150)], ids=str)
def test_known_medians_change_no_fit(shape, detection):
    sci, groupdq = ramps(shape)
    flags, medians = flagged(sci, groupdq, detection)
    plane = np.ones(shape[2:], np.float32)
    pixels = np.zeros(shape[2:], np.uint32), None, None, 1.8 * plane, 8 * plane
    times = {"group_time": 10.0, "frame_time": 10.0, "nframes": 1, "suppress_one_group": True}
    alone = fit_ramps(sci, flags, *pixels, **times)
    handed = fit_ramps(sci, flags, *pixels, **times, medians=medians)
    assert np.isfinite(medians).mean() > 0.5
    for expected, found in zip(alone, handed, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_medians_are_forgotten_once_a_step_changes_the_ramp():
    def bound(writes):
        step = Step("other", lambda sci: (sci,), ("sci",), writes, (), Params)
        return Bound(step, {}, (), 0)

    state = {"sci": np.zeros((1, 2, 3, 4), np.float32), "median_step": np.zeros((1, 3, 4))}
    run_step(bound(("pixeldq",)), state, (), ())
    assert "median_step" in state
    run_step(bound(("sci",)), state, (), ())
    assert "median_step" not in state
