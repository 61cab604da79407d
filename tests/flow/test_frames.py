"""Steps that look at whole frames of flags: the engine runs the chain twice and holds flags alone."""

import dask.array as da
import numpy as np
import xarray as xr

from jwpipe.pipeline import Planned, Prepared, run_steps
from jwpipe.refs import References
from jwpipe.step import Params, Step


def flag_bright(sci, groupdq):
    return groupdq | np.where(sci > 10, np.uint8(4), np.uint8(0)), np.zeros(
        sci.shape[2:], np.uint32
    )


def flag_rows_of_bright(groupdq):
    """Whole columns with any flag, however far away, are flagged: no halo would do."""
    columns = (groupdq != 0).any(axis=2, keepdims=True)
    return np.broadcast_to(np.where(columns, np.uint8(4), np.uint8(0)), groupdq.shape).copy()


def keep_unflagged(sci, groupdq):
    return (np.where(groupdq == 0, sci, np.float32(np.nan)),)


def test_flags_of_whole_frames_reach_the_steps_after():
    sci = np.zeros((1, 2, 600, 8), np.uint16)
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
        frames=lambda header, params: flag_rows_of_bright,
    )
    keep = Step("keep", keep_unflagged, ("sci", "groupdq"), ("sci",))
    planned = tuple(Planned(step, Params(), "") for step in (double, bright, keep))
    result = run_steps(Prepared(exposure, planned, References({}, {}))).compute()
    expected = sci.astype(np.float32) * 2
    expected[0, 1, :, 3] = np.nan
    np.testing.assert_array_equal(result["sci"], expected)
    assert (result["groupdq"].values[0, 1, :, 3] == 4).all()
    assert set(result) == {"sci", "groupdq", "pixeldq"}
