"""Segments of ramps: where they begin and end."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jwpipe.dq import Group
from jwpipe.numerics.planes import list_where
from jwpipe.numerics.segments import find_segments

J, S, D, P = (
    int(bit) for bit in (Group.JUMP_DET, Group.SATURATED, Group.DO_NOT_USE, Group.PERSISTENCE)
)


def bounds_of(flags):
    found = np.zeros((len(flags), 2), np.int64)
    return found[: find_segments(np.array(flags, np.uint8), found)].tolist()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([0, 0, 0, 0], [[0, 4]]),
        # The group of a jump begins the segment that follows.
        ([0, 0, J, 0, 0], [[0, 2], [2, 5]]),
        ([0, J, J, 0], [[0, 1], [2, 4]]),
        # Not where it is of no use, and not without a good group after it.
        ([0, 0, J | D, 0, 0], [[0, 2], [3, 5]]),
        ([0, 0, 0, J], [[0, 3]]),
        ([0, 0, S, S], [[0, 2]]),
        ([D, 0, P, 0], [[1, 4]]),
        ([J, 0, 0], [[0, 3]]),
        ([D, D, D], []),
    ],
)
def test_hand_worked(flags, expected):
    assert bounds_of(flags) == expected


@given(flags=st.lists(st.sampled_from([0, 0, 0, J, S, D, P, J | S, J | P]), max_size=14))
@settings(max_examples=200, deadline=None)
def test_each_good_group_is_in_one_segment_and_no_other_but_its_jump(flags):
    good = [flag & ~P == 0 for flag in flags]
    covered = [0] * len(flags)
    for start, stop in bounds_of(flags):
        begins = start if good[start] else start + 1
        assert begins == start or flags[start] & ~P == J
        assert all(good[begins:stop])
        for k in range(begins, stop):
            covered[k] += 1
    assert covered == [int(each) for each in good]


@pytest.mark.parametrize("wanted", [True, False])
def test_places(wanted):
    marks = np.array([True, False, False, True, True])
    places = np.zeros(6, np.int32)
    count = list_where(marks, wanted, places)
    assert places[:count].tolist() == np.flatnonzero(marks == wanted).tolist()
