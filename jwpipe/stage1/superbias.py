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
    """
    if zeroframe is not None:
        corrected = _subtract(zeroframe[:, np.newaxis], bias)[:, 0]
        zeroframe = np.where(zeroframe == 0, zeroframe, corrected)
    return _subtract(sci, bias), pixeldq | bias_dq, zeroframe


@kernel
def _subtract(sci: np.ndarray, bias: np.ndarray) -> np.ndarray:
    integrations, groups, rows, columns = sci.shape
    corrected = np.empty_like(sci)
    for i in range(integrations):
        for g in range(groups):
            for y in range(rows):
                for x in range(columns):
                    level = bias[y, x]
                    level = level if level == level else np.float32(0)
                    corrected[i, g, y, x] = sci[i, g, y, x] - level
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
)
