import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jwpipe.dq import Group
from jwpipe.exposure import Header
from jwpipe.stage1.persistence import (
    PersistenceParams,
    flag_persistence,
    group_times,
    persistence,
)

SATURATED, PERSISTENCE = int(Group.SATURATED), int(Group.PERSISTENCE)
START = 1.0e9


def one_pixel(groupdq, *, seconds, sci=None, until=0.0, threshold=None, unusable=False):
    """Flags that one pixel gets in groups (i, g) of 10 s, and when it is clean again, seconds after the start."""
    given_flags = np.array(groupdq, np.uint8)[..., None, None]
    counts = np.zeros(given_flags.shape, np.float32)
    if sci is not None:
        counts[..., 0, 0] = sci
    times = START + 10.0 * np.arange(1, given_flags[..., 0, 0].size + 1)
    times = times.reshape(given_flags.shape[:2])
    before = np.full((1, 1), until + START if until else 0.0)
    kept = given_flags.copy(), before.copy()
    flags, after = flag_persistence(
        counts, given_flags, before, times, seconds=seconds, threshold=threshold, unusable=unusable
    )
    np.testing.assert_array_equal(given_flags, kept[0])
    np.testing.assert_array_equal(before, kept[1])
    added = flags[..., 0, 0] & ~given_flags[..., 0, 0]
    return added.tolist(), after[0, 0] - START if after[0, 0] else 0.0


S, P, N = SATURATED, PERSISTENCE, PERSISTENCE | int(Group.DO_NOT_USE)


def test_suspect_from_the_first_saturated_group_on():
    """Saturated in the second group, which ends after 20 s: suspect until 45 s, in groups that end by then."""
    assert one_pixel([[0, S, S, 0, 0, 0]], seconds=25) == ([[0, P, P, P, 0, 0]], 0.0)


def test_a_lone_saturated_group_keeps_the_window_open_to_the_end_of_the_integration():
    """As jwst 3.0.0 does it: the window opens anew while one saturated group has been seen."""
    assert one_pixel([[0, S, 0, 0], [0, 0, 0, 0]], seconds=15) == (
        [[0, P, P, P], [P, 0, 0, 0]],
        0.0,
    )


def test_the_window_lasts_into_the_next_integration():
    added, until = one_pixel([[0, 0, S, S], [0, 0, 0, 0]], seconds=35)
    assert added == [[0, 0, P, P], [P, P, 0, 0]]
    assert until == 0.0


def test_the_state_outlives_the_exposure():
    """Saturated from the third group on: clean 100 s after its end at 30 s."""
    assert one_pixel([[0, 0, S, S]], seconds=100) == ([[0, 0, P, P]], 130.0)


def test_the_state_of_an_earlier_exposure_counts():
    assert one_pixel([[0, 0, 0, 0]], seconds=100, until=30.0) == ([[P, P, P, 0]], 0.0)


def test_a_state_of_the_future_is_none():
    """A window of 20 s cannot be open for 50 s more."""
    assert one_pixel([[0, 0]], seconds=20, until=61.0) == ([[0, 0]], 0.0)


def test_bright_pixels_are_suspect_where_there_is_a_threshold():
    counts = [[100.0, 300.0, np.nan, 500.0, 0.0]]
    assert one_pixel([[0] * 5], seconds=15, sci=counts, threshold=200.0, unusable=True) == (
        [[0, N, N, N, N]],
        55.0,
    )
    assert one_pixel([[0] * 5], seconds=15, sci=counts)[0] == [[0] * 5]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 3))
def test_blocks_give_what_the_whole_gives(seed, height, first):
    """Rows by themselves, and integrations one after another with the state between."""
    draw = np.random.default_rng(seed)
    shape = 4, 5, 10, 6
    groupdq = np.where(draw.random(shape) < 0.05, SATURATED, 0).astype(np.uint8)
    sci = draw.uniform(0, 100, shape).astype(np.float32)
    times = START + 10.0 * np.arange(1, 21).reshape(4, 5)
    until = np.where(draw.random(shape[2:]) < 0.2, START + draw.uniform(0, 90, shape[2:]), 0.0)
    options = {"seconds": 60, "threshold": 99.0, "unusable": False}
    flags, after = flag_persistence(sci, groupdq, until, times, **options)
    for start in range(0, 10, height):
        rows, state = slice(start, start + height), until[start : start + height]
        for ints in (slice(0, first), slice(first, 4)):
            part, state = flag_persistence(
                sci[ints, :, rows], groupdq[ints, :, rows], state, times[ints], **options
            )
            np.testing.assert_array_equal(part, flags[ints, :, rows])
        np.testing.assert_array_equal(state, after[rows])


def test_times_of_groups():
    """Listed integrations start when the table says, others one after another."""
    keywords = {"TGROUP": 10.0, "EXPSTART": 40587.5, "EFFINTTM": 40.0}
    table = np.array([(40588.0,)], [("int_start_MJD_UTC", "f8")])
    times = group_times(Header({"primary": keywords}), {"INT_TIMES": table}, 3, 2)
    noon, midnight = 43200.0, 86400.0
    np.testing.assert_allclose(
        times,
        [
            [midnight + 10, midnight + 20],
            [noon + 40 + 10, noon + 40 + 20],
            [noon + 80 + 10, noon + 80 + 20],
        ],
    )


def test_without_a_time_it_is_left_out():
    assert PersistenceParams().skip
    assert "persistence_time" in persistence.applies(Header({}), PersistenceParams(skip=False))
    given_time = PersistenceParams(skip=False, persistence_time=0)
    assert persistence.applies(Header({}), given_time)
    assert persistence.applies(Header({}), PersistenceParams(persistence_time=600)) == ""
