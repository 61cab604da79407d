"""Where the orders of a NIRISS SOSS star fall, by the angle of the pupil wheel (reference ``pastasoss``).

Baines et al. 2023, JWST-STScI-008571: traces at the commanded angle turn about a pivot with the wheel, and the
wavelengths along them are polynomials of the position and the angle.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import cos, radians, sin, sqrt
from typing import Any

import numpy as np

from jwpipe.exposure import ExposureError, Header
from jwpipe.refs import References
from jwpipe.wcs.soss import number
from jwpipe.wcs.spectra import reference

LAST_ROW = 255.0
STRIP96_OFFSET = 10
SUBARRAYS = frozenset(
    {"SUBSTRIP256", "SUBSTRIP96", "FULL"} | {f"SUB{size}STRIPE_SOSS" for size in (17, 60, 204, 680)}
)


def traces(header: Header, references: References) -> dict[int, np.ndarray]:
    """The trace of each order on a grid of wavelengths: (3, n) of x, y (pixels of the subarray) and micron.

    Raises
    ------
    ExposureError
        For an angle of the wheel beyond what the reference is made for.
    """
    file = reference(references, "pastasoss", header)
    tree = file.tree()
    meta = tree["meta"]
    angle = number(header, "PWCPOS")
    low, high = meta["pwcpos_bounds"]
    if not low <= angle <= high:
        raise ExposureError(
            f"{header.filename}: PWCPOS is {angle}, but {file.path} is made for {low} to {high}; correct the keyword"
        )
    turn = angle - float(meta["pwcpos_cmd"])
    grid = np.linspace(meta["wavemap_wlmin"], meta["wavemap_wlmax"], int(meta["wavemap_nwl"]))
    found = {}
    for trace, model in zip(tree["traces"], tree["wavecal_models"], strict=True):
        x, y = np.array(trace["trace"], float).T
        if header.get("SUBARRAY") == "SUBSTRIP96":
            y = y - STRIP96_OFFSET
        x, y = _turned(x, y, turn, (trace["pivot_x"], trace["pivot_y"]))
        waves = _wavelengths(model, x, turn)
        axes = (_extended(grid, waves, x), _extended(grid, waves, y))
        found[int(trace["spectral_order"])] = np.stack([*axes, grid])
    return found


def _turned(
    x: np.ndarray, y: np.ndarray, angle: float, pivot: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Turn a trace by an angle (deg), seen at the same x; what leaves the detector at the top is left out."""
    dx, dy, turn = x - pivot[0], y - pivot[1], radians(angle)
    across = cos(turn) * dx - sin(turn) * dy + pivot[0]
    up = sin(turn) * dx + cos(turn) * dy + pivot[1]
    order = np.argsort(across)
    height = _lines(x, across[order], up[order])
    return x[height <= LAST_ROW], height[height <= LAST_ROW]


def _lines(at: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Interpolate linearly, beyond both ends along the last two points."""
    left = y[0] + (at - x[0]) * (y[1] - y[0]) / (x[1] - x[0])
    right = y[-1] + (at - x[-1]) * (y[-1] - y[-2]) / (x[-1] - x[-2])
    return np.where(at < x[0], left, np.where(at > x[-1], right, np.interp(at, x, y)))


def _wavelengths(model: Mapping[str, Any], x: np.ndarray, turn: float) -> np.ndarray:
    """Wavelengths along a trace: c0 + c1 x + c2 t + c3 x^2 + c4 x t + c5 t^2 ..., x and t scaled to 0 to 1."""
    (x_low, t_low), (x_high, t_high) = model["scale_extents"]
    scaled, t = (x - x_low) / (x_high - x_low), (turn - t_low) / (t_high - t_low)
    coefficients = list(model["coefficients"])
    degree = int(sqrt(2 * len(coefficients))) - 1
    powers = [(n - k, k) for n in range(degree + 1) for k in range(n + 1)]
    terms = zip(coefficients, powers, strict=False)
    result: np.ndarray = sum(c * scaled**i * t**j for c, (i, j) in terms)
    return result


def _extended(grid: np.ndarray, waves: np.ndarray, values: np.ndarray) -> np.ndarray:
    order = np.argsort(waves)
    return _lines(grid, waves[order], values[order])


def near_traces(
    found: Mapping[int, np.ndarray], shape: tuple[int, int], half_width: int = 16
) -> np.ndarray:
    """Pixels (y, x) of a subarray that are within ``half_width`` of a trace along y."""
    ny, nx = shape
    rows = np.arange(ny)[:, None]
    near = np.zeros(shape, bool)
    for x, y, _ in found.values():
        order = np.argsort(x)
        middle = np.interp(np.arange(nx), x[order], y[order])
        near |= (rows >= np.floor(middle - half_width)) & (rows <= np.ceil(middle + half_width))
    return near
