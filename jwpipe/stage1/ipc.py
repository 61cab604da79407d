"""Undo the inter-pixel capacitance, which leaks signal to neighbouring pixels, by a convolution.

The reference holds the kernel that undoes it, one for the detector or one for each pixel. Reference
pixels have no part in it: they stay as they are, and count as zero for their neighbours.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from jwpipe.exposure import ExposureError, Header
from jwpipe.numerics.jit import kernel
from jwpipe.refs import RefArray, References
from jwpipe.step import Params, Step

WIDTH = 4
REACH = 2


class IpcParams(Params):
    """Parameters of the ipc step: none of its own."""


def deconvolve(sci: np.ndarray, weights: np.ndarray, science: np.ndarray) -> tuple[np.ndarray]:
    """Convolve each group: ``out[y, x] = sum k[j, i] * in[y + c - j, x + c - i]``, ``k[c, c]`` the middle.

    Parameters
    ----------
    sci
        Counts (i, g, y, x), DN.
    weights
        Kernel (j, i), or one for each pixel (j, i, y, x); odd sizes.
    science
        Pixels (y, x) that are not reference pixels.
    """
    if weights.ndim == 2:
        row = (*weights.shape, 1, sci.shape[-1])
        weights = np.ascontiguousarray(np.broadcast_to(weights[..., np.newaxis, np.newaxis], row))
    return (_convolve(sci, weights, science),)


@kernel
def _convolve(sci: np.ndarray, weights: np.ndarray, science: np.ndarray) -> np.ndarray:
    """Convolve with ``weights`` (j, i, y, x), whose y axis may have length 1; the middle last."""
    integrations, groups, rows, columns = sci.shape
    high, wide, kernel_rows, _ = weights.shape
    middle_j, middle_i = high // 2, wide // 2
    result = np.empty_like(sci)
    padded = np.zeros((rows + high - 1, columns + wide - 1), np.float32)
    for i in range(integrations):
        for g in range(groups):
            for y in range(rows):
                inner = padded[middle_j + y, middle_i : middle_i + columns]
                for x in range(columns):
                    value = sci[i, g, y, x]
                    inner[x] = value if science[y, x] else np.float32(0)
            for y in range(rows):
                total = np.zeros(columns, np.float32)
                at = min(y, kernel_rows - 1)
                for j in range(high):
                    near = padded[y + high - 1 - j]
                    for k in range(wide):
                        if j != middle_j or k != middle_i:
                            start = wide - 1 - k
                            _add(total, near[start : start + columns], weights[j, k, at])
                near = padded[y + middle_j, middle_i : middle_i + columns]
                _add(total, near, weights[middle_j, middle_i, at])
                for x in range(columns):
                    before, after = sci[i, g, y, x], total[x]
                    result[i, g, y, x] = after if science[y, x] else before
    return result


@kernel
def _add(total: np.ndarray, values: np.ndarray, weights: np.ndarray) -> None:
    for x in range(total.size):
        total[x] += weights[x] * values[x]


@dataclass(frozen=True)
class SciencePixels:
    """Where a frame has science pixels: rows and columns from the first to before the last."""

    rows: tuple[int, int]
    columns: tuple[int, int]

    def read(self, rows: tuple[int, int], columns: tuple[int, int]) -> np.ndarray:
        """Give the region's pixels: true for science."""
        y, x = np.arange(*rows)[:, np.newaxis], np.arange(*columns)
        (low, high), (left, right) = self.rows, self.columns
        return (y >= low) & (y < high) & (x >= left) & (x < right)


def science_pixels(header: Header) -> RefArray:
    """Give the pixels (y, x) of the exposure that are not reference pixels."""
    starts = int(header["SUBSTRT1"]) - 1, int(header["SUBSTRT2"]) - 1
    nx, ny = int(header["SUBSIZE1"]), int(header["SUBSIZE2"])
    miri = header.get("INSTRUME") == "MIRI"
    columns = _span(starts[0], nx, 1032 if miri else 2048)
    rows = (0, ny) if miri else _span(starts[1], ny, 2048)
    return RefArray(SciencePixels(rows, columns), (ny, nx), np.dtype(bool))


def _span(start: int, size: int, detector: int) -> tuple[int, int]:
    """Give the first science pixel of an axis and the one after the last."""
    return max(0, WIDTH - start), size - max(0, start + size - (detector - WIDTH))


def _prepare(references: References, header: Header, params: IpcParams) -> tuple[Any, ...]:
    file = references["ipc"]
    weights = None if file is None else file.array("sci")
    if file is None or weights is None:
        return None, None
    size = weights.shape[:2]
    if weights.ndim not in (2, 4) or any(n % 2 == 0 or n > 2 * REACH + 1 for n in size):
        raise ExposureError(
            f"{header.filename}: ipc: {file.path}: a kernel of odd size up to {2 * REACH + 1}, for all "
            f"pixels or each, expected, found shape {weights.shape}; give a valid ipc reference"
        )
    science = science_pixels(header)
    if weights.ndim == 2:
        return weights.read(), science
    if weights.shape[2:] != science.shape:
        x, y = int(header["SUBSTRT1"]) - 1, int(header["SUBSTRT2"]) - 1
        weights = weights.cut(y, x, *science.shape)
    return weights, science


def _halo(params: IpcParams) -> int:
    return REACH


ipc = Step(
    "ipc",
    deconvolve,
    reads=("sci",),
    writes=("sci",),
    refs=("ipc.sci",),
    params=IpcParams,
    halo=_halo,
    prepare=_prepare,
    apart=True,
)
