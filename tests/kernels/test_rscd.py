import numpy as np
import pytest
from astropy.io import fits

from jwpipe.dq import Group, Pixel
from jwpipe.exposure import Header
from jwpipe.refs import References
from jwpipe.stage1.rscd import RscdParams, flag_decaying_groups, groups_to_skip, rscd

SATURATED = int(Group.SATURATED)


def one_pixel(groups, saturated_from, skip):
    """Groups of one pixel that are flagged DO_NOT_USE, and whether its flux counts as estimated."""
    groupdq = np.zeros((1, groups, 1, 1), np.uint8)
    groupdq[0, saturated_from:] = SATURATED
    pixeldq = np.zeros((1, 1), np.uint32)
    before = groupdq.copy()
    flags, estimated = flag_decaying_groups(groupdq, pixeldq, (skip, 0), first=0)
    np.testing.assert_array_equal(groupdq, before)
    assert not pixeldq.any()
    np.testing.assert_array_equal(flags & SATURATED, groupdq)
    dropped = np.flatnonzero(flags[0, :, 0, 0] & Group.DO_NOT_USE).tolist()
    return dropped, bool(estimated[0, 0] & Pixel.FLUX_ESTIMATED)


@pytest.mark.parametrize(
    ("saturated_from", "dropped", "estimated"),
    [
        (10, [0, 1, 2], False),
        # Three groups to leave out and two to fit are five: saturation from the sixth on is no harm.
        (5, [0, 1, 2], False),
        # From the fifth on one group is given back, from the fourth on two, from the third on all three.
        (4, [0, 1], True),
        (3, [0], True),
        (2, [], True),
        # From the second on there is one good group left, from the first on none.
        (1, [], True),
        (0, [0, 1, 2], False),
    ],
)
def test_early_saturation_gives_groups_back(saturated_from, dropped, estimated):
    assert one_pixel(10, saturated_from, 3) == (dropped, estimated)


def test_nothing_to_give_back_where_nothing_is_left_out():
    assert one_pixel(5, 1, 0) == ([], False)


def test_the_first_integration_of_the_exposure_has_a_number_of_its_own():
    groupdq, pixeldq = np.zeros((3, 6, 2, 4), np.uint8), np.zeros((2, 4), np.uint32)
    flags, _ = flag_decaying_groups(groupdq, pixeldq, (1, 3), first=0)
    np.testing.assert_array_equal(
        flags.sum(axis=1), np.broadcast_to([[[1]], [[3]], [[3]]], (3, 2, 4))
    )
    flags, _ = flag_decaying_groups(groupdq, pixeldq, (1, 3), first=4)
    assert (flags.sum(axis=1) == 3).all()


def test_strips_give_what_the_whole_gives():
    draw = np.random.default_rng(5)
    start = draw.integers(0, 12, (2, 1, 20, 30))
    groupdq = np.where(np.arange(10)[:, None, None] >= start, SATURATED, 0).astype(np.uint8)
    pixeldq = draw.integers(0, 9, (20, 30)).astype(np.uint32)
    flags, estimated = flag_decaying_groups(groupdq, pixeldq, (2, 4), first=0)
    for rows in (slice(0, 7), slice(7, 20)):
        strip = np.ascontiguousarray(groupdq[:, :, rows])
        part, part_dq = flag_decaying_groups(strip, pixeldq[rows], (2, 4), first=0)
        np.testing.assert_array_equal(part, flags[:, :, rows])
        np.testing.assert_array_equal(part_dq, estimated[rows])


def header(groups, **keywords):
    given = {"INSTRUME": "MIRI", "SUBARRAY": "FULL", "READPATT": "FASTR1", "NINTS": 2}
    return Header({"primary": given | {"NGROUPS": groups} | keywords})


@pytest.fixture
def references(tmp_path):
    rows = [("FULL", "FASTR1", 4, 8), ("SLITLESSPRISM", "FASTR1", -1, 6)]
    names = ("subarray", "readpatt", "group_skip1", "group_skip")
    table = np.array(rows, list(zip(names, ("S17", "S12", "i4", "i4"), strict=True)))
    hdus = [fits.PrimaryHDU(), fits.BinTableHDU(table, name="RSCD_GROUP_SKIP")]
    fits.HDUList(hdus).writeto(tmp_path / "rscd.fits")
    return References.from_files({"rscd": tmp_path / "rscd.fits"})


@pytest.mark.parametrize(
    ("groups", "skip"), [(40, (4, 8)), (9, (4, 6)), (6, (3, 3)), (5, (1, 1)), (3, (0, 0))]
)
def test_three_groups_remain_and_short_ramps_lose_one(references, groups, skip):
    assert groups_to_skip(references, header(groups)) == skip


def test_old_names_and_old_references(references):
    assert groups_to_skip(references, header(40, SUBARRAY="SUBPRISM")) == (1, 6)


def test_unknown_readouts_are_left_out(references):
    slow = header(40, READPATT="SLOWR1")
    assert groups_to_skip(references, slow) is None
    assert "SLOWR1" in rscd.unsuitable(references, slow, RscdParams())
    assert rscd.unsuitable(references, header(40), RscdParams()) == ""
    assert "2 groups" in rscd.applies(header(2), RscdParams())
    assert "MIRI" in rscd.applies(header(9, INSTRUME="NIRISS"), RscdParams())


def test_the_numbers_stay_in_the_header(references):
    params = RscdParams()
    assert rscd.marks(references, header(40), params) == {"INT1SKIP": 4, "INT2SKIP": 8}
    assert rscd.marks(references, header(40, NINTS=1), params) == {"INT1SKIP": 4}
    assert rscd.marks(references, header(40, INTSTART=5), params) == {"INT2SKIP": 8}
