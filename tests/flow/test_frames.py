"""Steps that look at whole frames of flags: the engine runs the chain twice and holds flags alone."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from jwpipe.engine.pipeline import run_steps
from jwpipe.engine.preparing import Planned, Prepared
from jwpipe.refs import References
from jwpipe.step import Look, Params, Step


def flag_bright(sci, groupdq):
    return groupdq | np.where(sci > 10, np.uint8(4), np.uint8(0)), np.zeros(
        sci.shape[2:], np.uint32
    )


def flag_rows_of_bright(groupdq):
    """Whole columns with any flag, however far away, are flagged: no halo would do."""
    columns = (groupdq != 0).any(axis=1, keepdims=True)
    flags = np.broadcast_to(np.where(columns, np.uint8(4), np.uint8(0)), groupdq.shape).copy()
    return flags, flags[1]


def flag_first_group(groupdq, left):
    groupdq[0] |= left


def keep_unflagged(sci, groupdq):
    return (np.where(groupdq == 0, sci, np.float32(np.nan)),)


@pytest.mark.parametrize("batch", [1, 1 << 20])
def test_flags_of_whole_frames_reach_the_steps_after(monkeypatch, batch):
    monkeypatch.setattr("jwpipe.engine.frames.BATCH_BYTES", batch)
    sci = np.ones((3, 2, 600, 8), np.uint16)
    sci[0, 1, 590, 3] = 100
    exposure = xr.Dataset(
        {"sci": (("integration", "group", "y", "x"), da.from_array(sci, chunks=(1, 2, 256, 8)))},
        attrs={"primary": {}, "sci": {}},
    )
    double = Step("double", lambda sci: (sci * np.float32(2),), ("sci",), ("sci",))
    bright = Step(
        "bright",
        flag_bright,
        ("sci", "groupdq"),
        ("groupdq", "pixeldq"),
        frames=lambda header, params: Look(flag_rows_of_bright, flag_first_group),
    )
    keep = Step("keep", keep_unflagged, ("sci", "groupdq"), ("sci",))
    planned = tuple(Planned(step, Params(), "") for step in (double, bright, keep))
    result = run_steps(Prepared(exposure, planned, References({}, {}))).compute()
    flags = np.zeros(sci.shape, np.uint8)
    flags[0, 1, :, 3] = 4
    # What the first integration leaves goes into the first group of the next.
    flags[1, 0, :, 3] = 4
    np.testing.assert_array_equal(result["groupdq"], flags)
    np.testing.assert_array_equal(
        result["sci"], np.where(flags == 0, sci.astype(np.float32) * 2, np.nan)
    )
    assert set(result) == {"sci", "groupdq", "pixeldq"}
