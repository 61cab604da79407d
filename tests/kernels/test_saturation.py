import numpy as np
import pytest

from jwpipe.dq import Group, Pixel
from jwpipe.exposure import Header
from jwpipe.stage1.saturation import SaturationParams, flag_saturated, saturation

SAT, DNU, FLOOR = int(Group.SATURATED), int(Group.DO_NOT_USE), int(Group.AD_FLOOR)


def ramp(*values):
    return np.array(values, np.float32).reshape(1, -1, 1, 1)


def run(
    sci,
    limit,
    *,
    bias=None,
    dq=None,
    zeroframe=None,
    grow=0,
    nframes=None,
    groupdq=None,
    interleaved=False,
):
    """Flag ``sci``; the tests with the read pattern are on where ``nframes`` is given."""
    shape = sci.shape[-2:]
    limit = np.broadcast_to(np.asarray(limit, np.float32), shape).copy()
    groupdq = np.zeros(sci.shape, np.uint8) if groupdq is None else groupdq
    zeros = np.zeros(shape, np.uint32)
    return flag_saturated(
        sci,
        groupdq,
        zeros,
        zeroframe,
        limit,
        zeros if dq is None else dq,
        bias,
        n_pix_grow_sat=grow,
        use_readpatt=nframes is not None,
        nframes=nframes or 1,
        interleaved=interleaved,
    )


def flags_of(values, limit, **options):
    return run(ramp(*values), limit, **options)[0].ravel().tolist()


def test_saturated_from_the_limit_to_the_end_of_the_integration():
    assert flags_of([59, 60, 10, 20], 60) == [0, SAT, SAT, SAT]
    sci = np.concatenate([ramp(70, 70), ramp(5, 6)])
    np.testing.assert_array_equal(run(sci, 60)[0].reshape(2, 2), [[SAT, SAT], [0, 0]])


def test_floor_of_the_converter_is_of_its_group_alone():
    assert flags_of([5, 0, -3, 5], 60) == [0, FLOOR | DNU, FLOOR | DNU, 0]


def test_nan_is_neither():
    assert flags_of([5, np.nan, 70], 60) == [0, 0, SAT]


def test_growth_takes_the_square_around_and_ends_at_the_edge():
    sci = np.ones((1, 1, 5, 6), np.float32)
    sci[0, 0, 0, 0] = sci[0, 0, 3, 4] = 100
    flags, _, _ = run(sci, 60, grow=1)
    expected = np.zeros((5, 6))
    expected[:2, :2] = expected[2:5, 3:6] = SAT
    np.testing.assert_array_equal(flags[0, 0], expected)
    two, _, _ = run(sci, 60, grow=2)
    assert (two[0, 0, 1:, 2:] == SAT).all()


def test_growth_does_not_carry_on_in_time_by_itself():
    sci = np.ones((1, 3, 1, 5), np.float32)
    sci[0, 1:, 0, 2] = 100
    flags, _, _ = run(sci, 60, grow=1)
    np.testing.assert_array_equal(
        flags[0, :, 0], [[0] * 5, [0, SAT, SAT, SAT, 0], [0, SAT, SAT, SAT, 0]]
    )


def test_flags_that_were_there_stay_and_saturated_ones_grow():
    given = np.zeros((1, 1, 1, 4), np.uint8)
    given[0, 0, 0] = [SAT, 0, 0, 4]
    flags, _, _ = run(np.ones((1, 1, 1, 4), np.float32), 60, grow=1, groupdq=given)
    np.testing.assert_array_equal(flags.ravel(), [SAT, SAT, 0, 4])
    np.testing.assert_array_equal(given.ravel(), [SAT, 0, 0, 4])


def test_pixels_without_a_limit_are_never_saturated():
    dq = np.array([[0, Pixel.NO_SAT_CHECK, Pixel.HOT]], np.uint32)
    sci = np.full((1, 2, 1, 3), 65535, np.float32)
    flags, pixeldq, _ = run(sci, [[np.nan, 60, 60]], dq=dq)
    np.testing.assert_array_equal(flags[0, 0], [[0, 0, SAT]])
    unchecked = Pixel.NO_SAT_CHECK
    np.testing.assert_array_equal(pixeldq, [[unchecked, unchecked, Pixel.HOT]])


def test_diluted_group_before_a_saturated_one():
    # Four frames a group: frames 1 to 4 average 2.5, so that 2.5 / 4 of the limit, 625 of 1000,
    # may hide a saturated last frame.
    assert flags_of([625, 1000], 1000, nframes=4) == [DNU, SAT]
    assert flags_of([624, 1000], 1000, nframes=4) == [0, SAT]
    # The second group: (5 + 6 + 7 + 8) / 4 / 8 = 0.8125.
    assert flags_of([100, 812.5, 1000], 1000, nframes=4)[1] == DNU
    # Nothing is diluted in groups of one frame, nor where the next group is clean.
    assert flags_of([999, 1000], 1000, nframes=1) == [0, SAT]
    assert flags_of([999, 999], 1000, nframes=4) == [0, 0]


def test_diluted_pixels_grow_as_do_not_use():
    sci = np.ones((1, 2, 3, 5), np.float32)
    sci[0, :, 1, 2] = 700, 1000
    flags, _, _ = run(sci, 1000, nframes=4, grow=1)
    expected = np.zeros((3, 5))
    expected[:, 1:4] = DNU
    np.testing.assert_array_equal(flags[0, 0], expected)
    # In the second group the same pixels are saturated.
    np.testing.assert_array_equal(flags[0, 1], expected * 2)


@pytest.mark.parametrize(("second", "flag"), [(333, DNU), (332, 0)])
def test_second_group_hit_in_its_last_frame(second, flag):
    # Bias 100: the first group's 10 DN in 2.5 frames give 10 / 2.5 * 12 + 100 = 148 in the third,
    # far from 1000. One frame of four at the limit adds (1000 - 110) / 4 = 222.5 to 110.
    bias = np.full((1, 1), 100, np.float32)
    assert flags_of([110, second, 1000], 1000, nframes=4, bias=bias) == [0, flag, SAT]


def test_second_group_of_a_star_that_saturates_by_itself():
    # 110 DN without bias in 2.5 frames are 528 in the third group; 300 would be 1440.
    assert flags_of([110, 400, 1000], 1000, nframes=4) == [0, DNU, SAT]
    assert flags_of([300, 600, 1000], 1000, nframes=4) == [0, 0, SAT]


def test_a_bias_of_nan_finds_nothing():
    bias = np.full((1, 1), np.nan, np.float32)
    assert flags_of([110, 400, 1000], 1000, nframes=4, bias=bias) == [0, 0, SAT]


def test_zero_frame_loses_what_cannot_be_used():
    frame = np.array([[[5, 5, 5, 5, 100, 5, -1, np.nan]]], np.float32)
    sci = np.ones((1, 1, 1, 8), np.float32)
    given = frame.copy()
    _, _, zeroframe = run(sci, 60, zeroframe=frame, grow=1)
    np.testing.assert_array_equal(zeroframe[0, 0], [5, 5, 5, 0, 0, 0, 0, np.nan])
    assert zeroframe.dtype == np.float32
    np.testing.assert_array_equal(frame, given)


def stress(rng, ngroups):
    sci = rng.normal(10000, 300, (1, 1, 40, 30)) + rng.exponential(8000, (2, 1, 40, 30)) * (
        np.arange(1, ngroups + 1).reshape(1, -1, 1, 1)
    )
    sci[rng.random(sci.shape) < 0.01] = 0
    return np.minimum(np.rint(sci), 65535).astype(np.float32)


@pytest.mark.parametrize("grow", [0, 1, 2])
@pytest.mark.parametrize("nframes", [None, 1, 4])
def test_strips_with_halo_equal_the_whole(grow, nframes):
    rng = np.random.default_rng(7)
    sci = stress(rng, 5)
    limit = rng.normal(50000, 5000, (40, 30)).astype(np.float32)
    bias = np.full((40, 30), 10000, np.float32)
    halo = saturation.halo(SaturationParams(n_pix_grow_sat=grow, use_readpatt=nframes is not None))
    options = {"grow": grow, "nframes": nframes}
    whole, _, _ = run(sci, limit, bias=bias, **options)
    assert (whole & SAT).any()
    for start in range(0, 40, 7):
        top, end = max(0, start - halo), min(40, start + 7 + halo)
        part, _, _ = run(
            np.ascontiguousarray(sci[:, :, top:end]), limit[top:end], bias=bias[top:end], **options
        )
        inner = slice(start - top, min(start + 7, 40) - top)
        np.testing.assert_array_equal(part[:, :, inner], whole[:, :, start : start + 7])


def test_saturation_never_ends_within_an_integration():
    flags, _, _ = run(stress(np.random.default_rng(8), 8), 40000, grow=1, nframes=4)
    saturated = (flags & SAT) != 0
    assert (saturated[:, 1:] >= saturated[:, :-1]).all()


def test_frames_of_a_group_come_from_the_header():
    header = Header({"primary": {"NFRAMES": 8}})
    assert saturation.keywords(header, SaturationParams())["nframes"] == 8
    assert "nframes" in saturation.keywords(Header({}), SaturationParams(use_readpatt=False))


def test_second_group_of_interleaved_frames_is_saturated_and_grows():
    # Four frames a group, limit 1000. The first group's 50 are 50 / 2.5 * 12 = 240 by the end of the third: no reason
    # to saturate. The second rose by 300, more than one frame at the limit adds: (1000 - 50) / 4 = 237.5.
    sci = np.full((1, 3, 1, 4), 50, np.float32)
    sci[0, 1:, 0, 0] = 350, 1000
    options = {"nframes": 4, "grow": 1, "interleaved": True}
    flags, _, _ = run(sci, 1000, **options)
    np.testing.assert_array_equal(flags[0, :, 0], [[0] * 4, [SAT, SAT, 0, 0], [SAT, SAT, 0, 0]])
    # No group is looked at for dilution, and a small rise is no hit.
    sci[0, 1, 0, 0] = 287
    flags, _, _ = run(sci, 1000, **options)
    np.testing.assert_array_equal(flags[0, 1, 0], 0)
    sci[0, 1, 0, 0] = 999
    assert run(sci, 1000, nframes=4, grow=1)[0][0, 1, 0, 0] == DNU
    assert run(sci, 1000, **options)[0][0, 1, 0, 0] == SAT
    header = Header({"primary": {"INSTRUME": "NIRSPEC", "READPATT": "NRSIRS2", "NFRAMES": 5}})
    assert saturation.keywords(header, SaturationParams())["interleaved"]
