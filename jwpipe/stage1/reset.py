"""Subtract what the reset leaves in the first groups of MIRI integrations.

The transient is not the same in all integrations of an exposure: the reference holds the first few, the last of
which stands for all that follow.
"""

from typing import Any

import numpy as np

from jwpipe.exposure import ExposureError, Header
from jwpipe.numerics.jit import kernel
from jwpipe.numerics.views import read_only
from jwpipe.refs import References
from jwpipe.step import Params, Step


class ResetParams(Params):
    """Parameters of the reset step: none of its own."""


def subtract_reset(
    sci: np.ndarray,
    pixeldq: np.ndarray,
    transient: np.ndarray,
    transient_dq: np.ndarray | None,
    known: tuple[int, int],
    *,
    first: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Subtract the transient of each integration from its first groups.

    Parameters
    ----------
    sci
        Counts (i, g, y, x), DN.
    pixeldq
        Flags (y, x).
    transient, transient_dq
        Transient (integration, group, y, x), DN, where NaN counts as zero, and flags (y, x).
    known
        Integrations and groups of ``transient`` that are valid.
    first
        Place of the first integration at hand in the exposure, counted from 0.
    """
    flags = pixeldq if transient_dq is None else pixeldq | transient_dq
    return _subtract(*read_only(sci, transient), known[0], known[1], first), flags


@kernel
def _subtract(
    sci: np.ndarray, transient: np.ndarray, integrations: int, groups: int, first: int
) -> np.ndarray:
    corrected = np.empty_like(sci)
    for i in range(sci.shape[0]):
        level = transient[min(first + i, integrations - 1)]
        for g in range(sci.shape[1]):
            for y in range(sci.shape[2]):
                given, result = sci[i, g, y], corrected[i, g, y]
                if g >= groups:
                    result[:] = given
                    continue
                row = level[g, y]
                for x in range(given.size):
                    value = row[x]
                    result[x] = given[x] - (value if value == value else np.float32(0))
    return corrected


def _prepare(references: References, header: Header, params: ResetParams) -> tuple[Any, ...]:
    file = references["reset"]
    assert file is not None, "the step runs with a reset reference only"
    transient = file.array("sci")
    if transient is None or transient.ndim != 4:
        found = "none" if transient is None else f"shape {transient.shape}"
        raise ExposureError(
            f"{header.filename}: reset: {file.path}: SCI (integration, group, y, x) expected, found {found}; "
            "give a valid reset reference"
        )
    integrations = int(file.header.get("NINTS", transient.shape[0]))
    groups = int(file.header.get("NGROUPS", transient.shape[1]))
    known = min(integrations, transient.shape[0]), min(groups, transient.shape[1])
    return transient, file.array("dq"), known


def _keywords(header: Header, params: ResetParams) -> dict[str, Any]:
    return {"first": int(header.get("INTSTART") or 1) - 1}


def _applies(header: Header, params: ResetParams) -> str:
    return "" if header["INSTRUME"] == "MIRI" else "only MIRI has this transient"


reset = Step(
    "reset",
    subtract_reset,
    reads=("sci", "pixeldq"),
    writes=("sci", "pixeldq"),
    refs=("reset.sci", "reset.dq?"),
    params=ResetParams,
    keywords=_keywords,
    applies=_applies,
    prepare=_prepare,
    apart=True,
    numbered=True,
)
