import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jwpipe.dq import Group
from jwpipe.exposure import Header
from jwpipe.stage1.charge_migration import (
    ChargeMigrationParams,
    charge_migration,
    flag_migrated,
)
from jwpipe.stage1.ramp_fit import fit_ramps

LOST = int(Group.CHARGELOSS | Group.DO_NOT_USE)
JUMP = int(Group.JUMP_DET)


def ramps(*rates, groups=5):
    """One row of pixels that rise by ``rates`` DN a group, unflagged."""
    sci = np.outer(np.arange(1, groups + 1), rates).astype(np.float32)[None, :, None]
    return sci, np.zeros(sci.shape, np.uint8)


def test_a_pixel_and_its_neighbours_are_lost_from_the_first_bright_group_on():
    """10 000 DN a group: 30 000 DN in the third group are the first above 25 000."""
    sci, groupdq = np.zeros((1, 5, 5, 5), np.float32), np.zeros((1, 5, 5, 5), np.uint8)
    sci[0, :, 2, 3] = 10000 * np.arange(1, 6)
    (flags,) = flag_migrated(sci, groupdq, signal_threshold=25000.0)
    cross = np.zeros((5, 5), int)
    cross[[2, 1, 3, 2, 2], [3, 3, 3, 2, 4]] = LOST
    expected = np.array([0, 0, 1, 1, 1])[:, None, None] * cross
    np.testing.assert_array_equal(flags[0], expected)
    assert not groupdq.any()


def test_corners_have_two_neighbours():
    sci, groupdq = np.zeros((1, 3, 3, 4), np.float32), np.zeros((1, 3, 3, 4), np.uint8)
    sci[0, 0, 0, 0] = sci[0, 2, 2, 3] = 1.0
    (flags,) = flag_migrated(sci, groupdq, signal_threshold=0.5)
    first = np.array([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    last = np.array([[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 1]])
    np.testing.assert_array_equal(flags[0], LOST * np.array([first, first, first | last]))


def test_the_threshold_itself_is_not_above_it():
    sci, groupdq = ramps(5000.0)
    (flags,) = flag_migrated(sci, groupdq, signal_threshold=25000.0)
    assert not flags.any()


@pytest.mark.parametrize(("flag", "counts"), [(1, False), (JUMP, True), (1 | JUMP, True)])
def test_groups_with_do_not_use_alone_do_not_count(flag, counts):
    sci, groupdq = ramps(10000.0, groups=3)
    groupdq[0, 2] = flag
    (flags,) = flag_migrated(sci, groupdq, signal_threshold=25000.0)
    assert flags[0, 2, 0, 0] == (flag | LOST if counts else flag)


def test_integrations_are_apart_and_nan_is_not_bright():
    sci, groupdq = np.zeros((2, 3, 2, 2), np.float32), np.zeros((2, 3, 2, 2), np.uint8)
    sci[0] = 30000
    sci[1] = np.nan
    (flags,) = flag_migrated(sci, groupdq, signal_threshold=25000.0)
    assert (flags[0] == LOST).all()
    assert not flags[1].any()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_strips_give_what_the_whole_gives(seed, height):
    draw = np.random.default_rng(seed)
    sci = draw.uniform(0, 26000, (2, 3, 13, 7)).astype(np.float32)
    groupdq = np.where(draw.random(sci.shape) < 0.1, draw.integers(0, 128, sci.shape), 0)
    groupdq = groupdq.astype(np.uint8)
    (whole,) = flag_migrated(sci, groupdq, signal_threshold=25000.0)
    for start in range(0, 13, height):
        stop = min(start + height, 13)
        first, last = max(start - 1, 0), min(stop + 1, 13)
        strip = np.ascontiguousarray(sci[:, :, first:last])
        dq = np.ascontiguousarray(groupdq[:, :, first:last])
        (part,) = flag_migrated(strip, dq, signal_threshold=25000.0)
        np.testing.assert_array_equal(
            part[:, :, start - first : stop - first], whole[:, :, start:stop]
        )


def fitted(groupdq):
    sci, _ = ramps(10000.0, groups=5)
    gain, noise = np.full((1, 1), 2.0, np.float32), np.full((1, 1), 10.0, np.float32)
    options = {"group_time": 10.0, "frame_time": 10.0, "nframes": 1, "suppress_one_group": True}
    pixeldq = np.zeros((1, 1), np.uint32)
    return fit_ramps(sci, groupdq, pixeldq, None, None, gain, noise, **options)


def test_lost_groups_count_for_the_read_noise():
    """Two of five groups are left: the slope is theirs, but the read variance is that of all five.

    With 10 DN of noise for a pair of frames, 10 / sqrt(2) a frame, and n groups of 10 s it is
    12 (10 / sqrt(2) / 10)^2 / (n^3 - n): 6 / 6 (DN/s)^2 for two groups, 6 / 120 for five.
    """
    sci, groupdq = ramps(10000.0)
    (lost,) = flag_migrated(sci, groupdq, signal_threshold=25000.0)
    np.testing.assert_array_equal(lost[0, :, 0, 0], [0, 0, LOST, LOST, LOST])
    slope, _, _, poisson, read, *ints = fitted(lost)
    assert slope[0, 0] == pytest.approx(1000.0)
    assert read[0, 0] == pytest.approx(6 / 120, rel=1e-6)
    assert ints[4][0, 0, 0] == pytest.approx(6 / 120, rel=1e-6)
    # A rate of 1000 DN/s over one interval of 10 s with 2 electrons per DN.
    assert poisson[0, 0] == pytest.approx(1000 / (10 * 2), rel=1e-6)
    unusable = np.where(lost != 0, Group.DO_NOT_USE, 0).astype(np.uint8)
    assert fitted(unusable)[4][0, 0] == pytest.approx(6 / 6, rel=1e-6)


def test_it_is_left_out_unless_asked_for():
    params = ChargeMigrationParams()
    assert params.skip
    assert params.signal_threshold == 25000.0
    assert "2 groups" in charge_migration.applies(Header({"primary": {"NGROUPS": 2}}), params)
    assert charge_migration.applies(Header({"primary": {"NGROUPS": 3}}), params) == ""
