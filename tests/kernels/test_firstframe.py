import numpy as np

from jwpipe.dq import Group, Pixel
from jwpipe.exposure import Header
from jwpipe.stage1.firstframe import FirstFrameParams, firstframe, flag_first_group


def header(groups, instrument="MIRI"):
    return Header({"primary": {"INSTRUME": instrument, "NGROUPS": groups}})


def flags():
    """Two integrations of four groups; pixel 1 saturates in the third group of the second one."""
    groupdq = np.zeros((2, 4, 1, 2), np.uint8)
    groupdq[1, 2:, 0, 1] = Group.SATURATED
    groupdq[0, 0, 0, 0] = Group.JUMP_DET
    return groupdq, np.zeros((1, 2), np.uint32)


def test_first_groups_are_flagged_but_of_ramps_that_saturate_by_the_third():
    groupdq, pixeldq = flags()
    given = groupdq.copy(), pixeldq.copy()
    new, new_pixeldq = flag_first_group(groupdq, pixeldq, bright_use_group1=True)
    np.testing.assert_array_equal(new[:, 0, 0], [[5, 1], [1, 0]])
    np.testing.assert_array_equal(new[:, 1:], groupdq[:, 1:])
    np.testing.assert_array_equal(new_pixeldq, [[0, Pixel.FLUX_ESTIMATED]])
    np.testing.assert_array_equal(groupdq, given[0])
    np.testing.assert_array_equal(pixeldq, given[1])


def test_all_first_groups_are_flagged_where_bright_ones_are_not_kept():
    groupdq, pixeldq = flags()
    new, new_pixeldq = flag_first_group(groupdq, pixeldq, bright_use_group1=False)
    np.testing.assert_array_equal(new[:, 0, 0], [[5, 1], [1, 1]])
    assert not new_pixeldq.any()


def test_off_by_default_and_left_out_for_three_groups_and_other_detectors():
    params = FirstFrameParams()
    assert params.skip
    assert firstframe.applies(header(4), params) == ""
    assert "3 groups" in firstframe.applies(header(3), params)
    assert "MIRI" in firstframe.applies(header(4, "NIRCAM"), params)
