"""What the tasks of outlier_detection do with the arrays that they are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from jwpipe.dq import Pixel
from jwpipe.numerics.blot import blot, find_outliers, find_outliers_plain
from jwpipe.numerics.coadd import Coadd, image, pixel_weights
from jwpipe.numerics.jit import kernel
from jwpipe.numerics.stack import clipped_mean, nanmedian
from jwpipe.stage3.placement import Box, Placement
from jwpipe.stage3.tiles import Facts, join_blocks, typed

FLAGS = np.uint32(Pixel.DO_NOT_USE | Pixel.OUTLIER)
UNUSABLE = np.uint32(Pixel.DO_NOT_USE)


@dataclass(frozen=True)
class Limits:
    """Thresholds of both passes, and the level of the exposure above the median image."""

    snr: tuple[float, float]
    scale: tuple[float, float]
    background: float


def flag_rows(
    limits: Limits,
    two_passes: bool,
    above: int,
    model: np.ndarray,
    compared: Sequence[np.ndarray],
    names: Sequence[str],
    carried: Sequence[np.ndarray],
) -> dict[str, np.ndarray]:
    """Flag a block of rows: one task.

    ``model`` and ``compared`` (sci, err) have ``above`` more rows before the block, and some after it,
    than the ``carried`` variables called ``names``.
    """
    sci, err = typed(("sci", "err"), compared).values()
    if two_passes:
        found = find_outliers(
            sci, err, model, snr=limits.snr, scale=limits.scale, background=limits.background
        )
    else:
        found = find_outliers_plain(sci, err, model, snr=limits.snr[0])
    pixels = typed(names, carried)
    own = slice(above, above + pixels["dq"].shape[0])
    pixels |= {"sci": sci[own], "err": err[own]}
    pixels["dq"] = pixels["dq"] | np.where(found[own], FLAGS, np.uint32(0))
    return consistent(pixels)


def consistent(pixels: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The variables of an exposure with DO_NOT_USE wherever any is NaN, and NaN wherever it is set."""
    result = {name: values.copy() for name, values in pixels.items()}
    planes = tuple(values for name, values in result.items() if name != "dq")
    _agree(result["dq"], planes, UNUSABLE)
    return result


@kernel
def _agree(dq: np.ndarray, planes: tuple[np.ndarray, ...], unusable: np.uint32) -> None:
    """Make flags (y, x) and NaN in ``planes`` agree, in place."""
    ny, nx = dq.shape
    invalid = np.empty(nx, np.bool_)
    for j in range(ny):
        for i in range(nx):
            invalid[i] = (dq[j, i] & unusable) != 0
        for plane in planes:
            for i in range(nx):
                invalid[i] |= np.isnan(plane[j, i])
        for i in range(nx):
            dq[j, i] |= unusable if invalid[i] else np.uint32(0)
        for plane in planes:
            for i in range(nx):
                plane[j, i] = np.float32(np.nan) if invalid[i] else plane[j, i]


def group_image(sums: Coadd, fill: float) -> tuple[np.ndarray, np.ndarray]:
    """Image and weight of a tile of a group: one task."""
    return image(sums, fill), sums.weight.astype(np.float32)


def weight_threshold(maskpt: float, images: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """The weight below which pixels of a group are masked: ``maskpt`` times their clipped mean."""
    return maskpt * clipped_mean([weight for _, weight in images]) if images else float("nan")


def median_tile(
    shape: tuple[int, int],
    images: Sequence[tuple[np.ndarray, np.ndarray]],
    thresholds: Sequence[float],
) -> np.ndarray:
    """The median over groups of a tile, pixels of too little weight left out: one task."""
    stack = np.empty((len(images), *shape), np.float32)
    for n, ((sci, weight), threshold) in enumerate(zip(images, thresholds, strict=True)):
        stack[n] = np.where(weight < np.float64(threshold), np.float32(np.nan), sci)
    return nanmedian(stack)


def blot_box(
    placement: Placement,
    box: Box,
    region: Box,
    frame: tuple[int, int],
    tiles: Sequence[np.ndarray],
    corners: Sequence[tuple[int, int]],
) -> np.ndarray:
    """The median image on the pixels of a box of an exposure; ``region`` is what it needs of the mosaic."""
    data = join_blocks(tiles, corners, region)
    return blot(data, placement.map(box), origin=region.corner, frame=frame)


def weigh_box(
    facts: Facts, bad: int, weight_type: Literal["ivm", "exptime"], arrays: Sequence[np.ndarray]
) -> np.ndarray:
    """Weights of a box of an exposure, from its sci, dq, and var_rnoise where it counts."""
    names = ("sci", "dq", "var_rnoise")[: len(arrays)]
    sci, dq, *noise = typed(names, arrays).values()
    rnoise = noise[0] if noise else None
    time = facts.exposure_time
    return pixel_weights(sci, dq, rnoise, bad=bad, weight_type=weight_type, exposure_time=time)


def plain_threshold(maskpt: float, weights: np.ndarray) -> float:
    """The weight below which pixels of an exposure are masked: one task."""
    return maskpt * clipped_mean([weights])


def plain_median(
    images: Sequence[np.ndarray], weights: Sequence[np.ndarray], thresholds: Sequence[float]
) -> np.ndarray:
    """The median over exposures, pixels of too little weight left out: one task."""
    return median_tile(images[0].shape, list(zip(images, weights, strict=True)), thresholds)
