import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jwpipe.numerics.stripes import (
    SPACE,
    Run,
    Stack,
    StripesError,
    read_times,
    runs,
    stripes_of,
)

DHS = {
    "SUBARRAY": "SUB164STRIPE4_DHS", "FASTAXIS": 1, "SLOWAXIS": 2, "SUBSTRT1": 1, "SUBSTRT2": 1, "SUBSIZE1": 2048,
    "SUBSIZE2": 164, "MSTR_RD1": 1, "MSTR_SK1": 1000, "MSTR_RD2": 40, "MSTR_SK2": 60, "MSTR_RPT": 1, "MSTR_ILV": 1,
    "SSTR_STP": 0, "SSTR_NST": 0,
}  # fmt: skip
SOSS = DHS | {
    "SUBARRAY": "SUB204STRIPE_SOSS", "FASTAXIS": -2, "SLOWAXIS": -1, "SUBSTRT1": 2048, "SUBSTRT2": 1793,
    "SUBSIZE1": 208, "SUBSIZE2": 256, "MSTR_RD1": 4, "MSTR_SK1": 0, "MSTR_RD2": 204, "MSTR_SK2": 0,
    "SSTR_STP": 204, "SSTR_NST": 10,
}  # fmt: skip


def parts(stripes, frame=0):
    return [(p.row, p.detector, p.size, p.reference) for p in stripes.frames[frame]]


def test_an_exposure_without_stripes_has_none():
    assert stripes_of({"SUBARRAY": "FULL", "SLOWAXIS": 2}) is None


def test_interleaved_stripes_each_follow_a_row_of_reference_pixels():
    # Row 0, then 40 rows from 1 + 1000 on; row 0 again, then 40 rows that lie 40 + 60 rows further; and so on.
    stripes = stripes_of(DHS)
    assert stripes.axis == "y"
    assert parts(stripes) == [
        (0, 0, 1, True),
        (1, 1001, 40, False),
        (41, 0, 1, True),
        (42, 1101, 40, False),
        (82, 0, 1, True),
        (83, 1201, 40, False),
        (123, 0, 1, True),
        (124, 1301, 40, False),
    ]
    rows = stripes.rows_of(0)
    assert (rows[0], rows[1], rows[40], rows[41], rows[42]) == (0, 1001, 1040, 0, 1101)


def test_stripes_read_downwards_are_counted_from_the_other_ends():
    stripes = stripes_of(DHS | {"SLOWAXIS": -2})
    assert parts(stripes)[:2] == [(163, 2047, 1, True), (123, 2048 - 1041, 40, False)]


def test_stripes_that_do_not_go_back_follow_each_other():
    stripes = stripes_of(DHS | {"MSTR_RPT": 0, "SUBSIZE2": 81})
    assert parts(stripes) == [(0, 0, 1, True), (1, 1001, 40, False), (41, 1101, 40, False)]


def test_superstripes_lie_one_step_after_another_and_fill_the_detector():
    # Read from column 2047 down: 4 reference columns, then 204 columns, 204 further with each superstripe.
    stripes = stripes_of(SOSS)
    assert stripes.axis == "x"
    assert len(stripes.frames) == 10
    assert parts(stripes, 0) == [(204, 2044, 4, True), (0, 1840, 204, False)]
    assert parts(stripes, 9) == [(204, 2044, 4, True), (0, 4, 204, False)]
    assert stripes.span == (0, 2048)
    sources = Stack(stripes).sources()
    assert sources.shape == (1, 2048)
    assert list(sources[0, :4]) == [-1] * 4
    assert sources[0, 4] == 9 * (208 + SPACE)
    assert sources[0, 1840] == 0


def test_the_field_of_other_superstripes_is_what_they_read():
    field = stripes_of(SOSS | {"SUBARRAY": "FULL_SUPSTP204", "SSTR_NST": 2})
    assert field.span == (1636, 408)


def test_a_stack_has_empty_rows_after_each_frame():
    stack = Stack(stripes_of(SOSS | {"SSTR_NST": 2}))
    rows = stack.detector_rows()
    assert rows.size == stack.rows == 2 * (208 + SPACE)
    assert list(rows[208 : 208 + SPACE]) == [-1] * SPACE
    assert (rows[0], rows[208 + SPACE]) == (1840, 1636)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"SUBSIZE2": 160}, "do not fill"),
        ({"MSTR_RD2": 0}, "MSTR_RD2"),
        ({"MSTR_SK1": 2000}, "detector has 2048"),
        ({"MSTR_RD2": 0, "SSTR_NST": 2}, "stripes of 0 rows"),
    ],
)
def test_stripes_that_cannot_be_are_refused(changes, reason):
    with pytest.raises(StripesError, match=reason):
        stripes_of(DHS | changes)


def test_runs_are_of_consecutive_rows():
    rows = np.array([5, 6, 7, -1, -1, 0, 1, 9])
    assert runs(rows) == (Run(0, 5, 3), Run(5, 0, 2), Run(7, 9, 1))


@given(st.lists(st.integers(-1, 30), min_size=1, max_size=40))
def test_runs_give_the_rows_back(numbers):
    rows = np.array(numbers)
    found = np.full(rows.size, -1)
    for run in runs(rows):
        found[run.here : run.here + run.size] = np.arange(run.size) + run.there
    np.testing.assert_array_equal(found, rows)


def test_turns_are_read_as_long_after_each_other_as_their_rows_take():
    # A row of 64 pixels in one output takes (64 + 12) x 10 us = 760 us. A turn has 2 rows; its reset takes 2 more, a
    # frame of 8 rows 10 x 760 us. Two groups, with one frame dropped between them.
    readout = DHS | {
        "SUBARRAY": "SUB64P_SUPSTP002", "SUBSIZE1": 64, "SUBSIZE2": 8, "MSTR_RD2": 1, "MSTR_ILV": 0,
        "NFRAMES": 1, "GROUPGAP": 1, "NGROUPS": 2, "NOUTPUTS": 1,
    }  # fmt: skip
    row = 760e-6
    first = np.array([4, 6, 8, 10]) * row
    expected = [*first, *(first + 10 * row + 10 * row)]
    times = read_times(readout, stripes_of(readout))
    np.testing.assert_allclose(np.array(times)[:, 0], expected)
