"""Groups that no pixel can use are told once an exposure: neither jumps nor fits depend on how the frame is cut."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from jwpipe.dq import Group
from jwpipe.engine.pipeline import run_steps
from jwpipe.engine.preparing import Planned, Prepared
from jwpipe.exposure import Header
from jwpipe.refs import RefArray, References
from jwpipe.stage1.jump import JumpParams, jump
from jwpipe.stage1.ramp_fit import RampFitParams, ramp_fit
from jwpipe.stage1.void_groups import void_groups

ROWS, COLUMNS, GROUPS = 64, 40, 12
MIRI = {
    "INSTRUME": "MIRI",
    "NFRAMES": 1,
    "NGROUPS": GROUPS,
    "NINTS": 1,
    "TGROUP": 3.0,
    "TFRAME": 3.0,
}


class Reference:
    """A reference file of one value."""

    path = "reference.fits"

    def __init__(self, value):
        self._array = np.full((ROWS, COLUMNS), value, np.float32)

    def array(self, name):
        """The pixels, whatever the name."""
        return RefArray.from_numpy(self._array)


@pytest.fixture
def flags():
    """First and last group left out, but for two pixels that saturate in their second and third group."""
    groupdq = np.zeros((1, GROUPS, ROWS, COLUMNS), np.uint8)
    groupdq[:, [0, -1]] = Group.DO_NOT_USE
    for row, good in ((50, 1), (5, 2)):
        groupdq[0, 0, row, 7] = 0
        groupdq[0, good:, row, 7] |= np.uint8(Group.SATURATED)
    return groupdq


def found(survey, groupdq):
    (only,) = survey.rounds
    parts = [only.part((), part) for part in np.array_split(groupdq, 3, axis=2)]
    merged = only.merge(only.merge(parts[0], parts[1]), parts[2])
    return only.finish((), merged)


def test_a_group_is_void_if_all_pixels_are_flagged(flags):
    plain, without_lone = found(void_groups(Header({"primary": MIRI})), flags)
    last = [False] * (GROUPS - 1) + [True]
    assert plain[0].tolist() == without_lone[0].tolist() == last
    # Without the pixel of two good groups no first group is used, if ramps of one are left out.
    flags[0, 0, 5, 7] = Group.DO_NOT_USE
    plain, without_lone = found(void_groups(Header({"primary": MIRI})), flags)
    assert plain[0].tolist() == last
    assert without_lone[0].tolist() == [True, *last[1:]]


def test_groups_that_are_not_asked_for_are_void(flags):
    plain, _ = found(void_groups(Header({"primary": MIRI}), (2, 5)), flags)
    assert np.flatnonzero(~plain[0]).tolist() == [2, 3, 4, 5]


def test_other_detectors_need_no_survey():
    assert void_groups(Header({"primary": MIRI | {"INSTRUME": "NIRCAM"}})) is None


@pytest.mark.parametrize("suppress", [True, False])
def test_blocks_do_not_matter(flags, monkeypatch, suppress):
    draw = np.random.default_rng(3)
    steps = draw.poisson(40, flags.shape) / 4 + draw.normal(0, 3, flags.shape)
    steps[draw.random(flags.shape) < 0.02] += 200
    ramp, image = ("integration", "group", "y", "x"), ("y", "x")
    variables = {
        "sci": (ramp, da.from_array(np.cumsum(steps, axis=1).astype(np.float32))),
        "groupdq": (ramp, da.from_array(flags)),
        "pixeldq": (image, da.from_array(np.zeros((ROWS, COLUMNS), np.uint32))),
    }
    exposure = xr.Dataset(variables, attrs={"primary": MIRI, "sci": {}})
    files = {"gain": Reference(4.0), "readnoise": Reference(3.0)}
    # Ten usable groups have nine differences, eleven ten: the test that finds jumps hangs on it.
    planned = (
        Planned(jump, JumpParams(), ""),
        Planned(ramp_fit, RampFitParams(suppress_one_group=suppress), ""),
    )
    monkeypatch.setattr("jwpipe.engine.pipeline._recorded", lambda exposure, *_: exposure)

    def rates(*heights):
        monkeypatch.setattr("jwpipe.engine.graph.row_blocks", lambda ny, planes: heights)
        monkeypatch.setattr("jwpipe.engine.chain.strip_rows", lambda planes, nx: heights[0])
        references = References(files, dict.fromkeys(files, "given"))
        return run_steps(Prepared(exposure, planned, references)).compute(scheduler="sync")

    whole, blocks = rates(64), rates(16, 16, 16, 16)
    for name in whole:
        np.testing.assert_array_equal(blocks[name], whole[name])
    assert np.isnan(whole["rate.sci"].values[50, 7]) == suppress
