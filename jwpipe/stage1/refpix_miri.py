"""Remove the drifts of MIRI's readout electronics with the reference pixels at both ends of each row.

MIRI's four outputs take turns along a row: output ``k`` reads columns ``k, k + 4, k + 8 ...``, the first and the last
of which are light-blind. In every group but the first, less the first group of its integration, the level of an output
is the average of the clipped means of its left and its right reference column, odd and even rows apart. Subarrays
stay as they are.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jwpipe.dq import Pixel
from jwpipe.exposure import Header
from jwpipe.numerics.jit import kernel
from jwpipe.numerics.levels import clipped_means
from jwpipe.numerics.views import read_only
from jwpipe.stage1.refpix import RefpixParams, Sides
from jwpipe.step import Border, Step

OUTPUTS = 4
ROWS, COLUMNS = 1024, 1032
ENDS = ("left", "right")
UNUSABLE = np.uint32(Pixel.DO_NOT_USE)


def subtract_outputs(
    sci: np.ndarray,
    pixeldq: np.ndarray,
    levels: np.ndarray,
    parity: np.ndarray,
    output: np.ndarray,
    *,
    odd_even_rows: bool,
    siglimit: float,
) -> tuple[np.ndarray]:
    """Subtract the level of each output.

    Parameters
    ----------
    sci
        Counts (i, g, y, x), DN.
    pixeldq
        Flags (y, x); they are for ``output_levels``, and so are the keyword arguments.
    levels
        Levels (i, g, parity, output) of ``output_levels``, DN.
    parity, output
        Parity of each row (y) and output of each column (x).
    """
    return (_subtract(*read_only(sci, levels, parity, output)),)


@kernel
def _subtract(
    sci: np.ndarray, levels: np.ndarray, parity: np.ndarray, output: np.ndarray
) -> np.ndarray:
    integrations, groups, rows, columns = sci.shape
    corrected = np.empty_like(sci)
    level = np.empty((2, columns))
    for i in range(integrations):
        for g in range(groups):
            for odd in range(2):
                for x in range(columns):
                    level[odd, x] = levels[i, g, odd, output[x]]
            for y in range(rows):
                given, result, row = sci[i, g, y], corrected[i, g, y], level[parity[y]]
                for x in range(columns):
                    result[x] = given[x] - row[x]
    return corrected


def output_levels(sides: Sides, *, odd_even_rows: bool, siglimit: float) -> tuple[np.ndarray, ...]:
    """Reduce the reference columns to the levels that ``subtract_outputs`` takes off.

    Parameters
    ----------
    sides
        ``sci`` (i, g, y, x) and ``pixeldq`` (y, x) of the edges ``left`` and ``right``, four pixels wide. Pixels with
        DO_NOT_USE do not count. Where an output has no other pixel at one end, nothing is corrected.

    Returns
    -------
    levels, parity, output
        Levels (i, g, parity, output) in DN, float64; parity (y) of each row and output (x) of each column.
    """
    rows = sides["left"]["sci"].shape[-2]
    parity = np.arange(rows) % 2 if odd_even_rows else np.zeros(rows, np.int64)
    means = np.stack([_means(sides[end], parity, siglimit) for end in ENDS])
    # The first group is the origin, and without a reference for all outputs there is none.
    levels = means.mean(axis=0)
    levels[:, 0] = 0.0
    if np.isnan(levels).any():
        levels[:] = 0.0
    return levels, parity, np.arange(COLUMNS) % OUTPUTS


def _means(side: Mapping[str, np.ndarray], parity: np.ndarray, siglimit: float) -> np.ndarray:
    """Clipped means (i, g, parity, output) of one end; NaN where no pixel is usable."""
    values = side["sci"] - side["sci"][:, :1]
    usable = (side.get("pixeldq", np.zeros(values.shape[-2:], np.uint32)) & UNUSABLE) == 0
    means = np.empty((*values.shape[:2], 2, OUTPUTS))
    for odd in (0, 1):
        for k in range(OUTPUTS):
            rows = (parity == min(odd, parity.max())) & usable[:, k]
            means[..., odd, k] = clipped_means(np.ascontiguousarray(values[..., rows, k]), siglimit)
    return means


def _keywords(header: Header, params: RefpixParams) -> dict[str, Any]:
    return {"odd_even_rows": params.odd_even_rows, "siglimit": params.siglimit}


def _applies(header: Header, params: RefpixParams) -> str:
    if (int(header["SUBSIZE1"]), int(header["SUBSIZE2"])) != (COLUMNS, ROWS):
        return "subarrays of MIRI are not corrected"
    return ""


refpix_miri = Step(
    "refpix",
    subtract_outputs,
    reads=("sci", "pixeldq"),
    writes=("sci",),
    params=RefpixParams,
    keywords=_keywords,
    applies=_applies,
    border=Border(
        OUTPUTS,
        output_levels,
        (("integration", "group", "parity", "output"), ("y",), ("x",)),
        sides=ENDS,
    ),
    apart=True,
)
