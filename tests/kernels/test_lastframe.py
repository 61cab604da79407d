import numpy as np

from jwpipe.exposure import Header
from jwpipe.stage1.lastframe import LastFrameParams, flag_last_group, lastframe


def test_the_last_group_of_every_integration_is_flagged():
    groupdq = np.zeros((2, 3, 1, 2), np.uint8)
    groupdq[0, 2, 0, 0] = 2
    before = groupdq.copy()
    (new,) = flag_last_group(groupdq)
    np.testing.assert_array_equal(new[:, 2, 0], [[3, 1], [1, 1]])
    np.testing.assert_array_equal(new[:, :2], 0)
    np.testing.assert_array_equal(groupdq, before)


def test_left_out_for_two_groups_and_other_detectors():
    for groups, instrument, reason in (
        (3, "MIRI", ""),
        (2, "MIRI", "2 groups"),
        (3, "NIRISS", "MIRI"),
    ):
        header = Header({"primary": {"INSTRUME": instrument, "NGROUPS": groups}})
        found = lastframe.applies(header, LastFrameParams())
        assert bool(found) == bool(reason)
        assert reason in found
