"""Subtract the superbias: the level of each pixel right after a reset."""

import numpy as np

from jwpipe.numerics.jit import kernel
from jwpipe.step import Params, Step, carries_zeroframe


class SuperbiasParams(Params):
    """Parameters of the superbias step: none of its own."""


def subtract_bias(
    sci: np.ndarray,
    pixeldq: np.ndarray,
    zeroframe: np.ndarray | None,
    bias: np.ndarray,
    bias_dq: np.ndarray,
    *,
    rows: slice = slice(None),
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Subtract the bias from every group; a bias of NaN counts as zero.

    Parameters
    ----------
    sci
        Counts (i, g, y, x), DN.
    pixeldq
        Flags (y, x).
    zeroframe
        First frames (i, y, x), DN; pixels of 0 hold no data and stay 0.
    bias, bias_dq
        Superbias (y, x), DN, and its flags.
    rows
        The rows that are wanted.
    """
    first, stop, _ = rows.indices(bias.shape[0])
    if zeroframe is not None:
        corrected = _subtract(zeroframe[:, np.newaxis], bias, first, stop)[:, 0]
        zeroframe = np.where(zeroframe[:, rows] == 0, np.float32(0), corrected)
    return _subtract(sci, bias, first, stop), pixeldq[rows] | bias_dq[rows], zeroframe


@kernel
def _subtract(sci: np.ndarray, bias: np.ndarray, first: int, stop: int) -> np.ndarray:
    integrations, groups, _, columns = sci.shape
    corrected = np.empty((integrations, groups, stop - first, columns), np.float32)
    for i in range(integrations):
        for g in range(groups):
            for y in range(first, stop):
                for x in range(columns):
                    level = bias[y, x]
                    level = level if level == level else np.float32(0)
                    corrected[i, g, y - first, x] = sci[i, g, y, x] - level
    return corrected


superbias = Step(
    "superbias",
    subtract_bias,
    reads=("sci", "pixeldq", "zeroframe?"),
    writes=("sci", "pixeldq", "zeroframe?"),
    refs=("superbias.sci", "superbias.dq"),
    params=SuperbiasParams,
    carries=carries_zeroframe,
    apart=True,
    cuts=True,
)
