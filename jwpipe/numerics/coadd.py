"""Adding drizzled exposures: weights and values that go in, running sums, and what comes out.

With a_i w_i the share and weight of input pixel i (``drizzle.py``), each exposure k gives an output
pixel the errors E_k = sum(a w sqrt(VAR)) / sum(a w) for every kind of variance. The coadded variance is

    VAR = sum_k(E_k^2 v_k^2) / sum_k(v_k)^2

with v_k = 1 / E_k,rnoise^2, or the exposure time. This is the definition of the JWST calibration
pipeline; drizzling errors instead of variances takes the noise of neighbouring output pixels for
fully correlated, so that no flux scale enters it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from jwpipe.numerics.jit import kernel

WeightType = Literal["ivm", "exptime"]
VARIANCES = ("var_rnoise", "var_poisson", "var_flat")
CONTEXT_BITS = 32
_IVM, _FIXED = 0, 1


@kernel
def _weigh(
    image: np.ndarray,
    dq: np.ndarray,
    rnoise: np.ndarray,
    bad: np.uint32,
    mode: int,
    fixed: np.float32,
    weights: np.ndarray,
) -> None:
    """Weights of pixels: 1 / rnoise or ``fixed``, and 0 where flagged ``bad`` or undefined."""
    one = np.float32(1.0)
    for j in range(image.shape[0]):
        for i in range(image.shape[1]):
            weight = fixed
            if mode == _IVM:
                weight = one / rnoise[j, i]
                weight = weight if np.isfinite(weight) else np.float32(0.0)
            weights[j, i] = np.float32(0.0) if dq[j, i] & bad else weight


@kernel
def _fill_values(
    image: np.ndarray,
    level: np.float32,
    rnoise: np.ndarray,
    poisson: np.ndarray,
    flat: np.ndarray,
    weights: np.ndarray,
    values: np.ndarray,
) -> None:
    """Values to drizzle: the image above ``level`` and three errors; a NaN in any drops the pixel."""
    for j in range(image.shape[0]):
        for i in range(image.shape[1]):
            a, b, c, d = image[j, i], rnoise[j, i], poisson[j, i], flat[j, i]
            values[j, i, 0] = a - level
            values[j, i, 1] = np.sqrt(b)
            values[j, i, 2] = np.sqrt(c)
            values[j, i, 3] = np.sqrt(d)
            if np.isnan(a) or np.isnan(b) or np.isnan(c) or np.isnan(d):
                weights[j, i] = np.float32(0.0)


def pixel_weights(
    image: np.ndarray,
    dq: np.ndarray,
    rnoise: np.ndarray | None,
    *,
    bad: int,
    weight_type: WeightType | None,
    exposure_time: float,
) -> np.ndarray:
    """Weights (ny, nx) float32 with which the pixels of an exposure are drizzled.

    ``ivm`` is the inverse of the read-noise variance, or 1 without one; ``exptime`` the exposure
    time; None is 1. Pixels with any bit of ``bad`` in dq, or without a finite weight, get 0.
    """
    weights = np.empty(image.shape, np.float32)
    mode = _IVM if weight_type == "ivm" and rnoise is not None else _FIXED
    fixed = np.float32(exposure_time if weight_type == "exptime" else 1.0)
    noise = image if rnoise is None else rnoise
    _weigh(image, dq, noise, np.uint32(bad), mode, fixed, weights)
    return weights


def values_with_errors(
    image: np.ndarray,
    level: float,
    variances: Mapping[str, np.ndarray],
    weights: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Planes to drizzle (ny, nx, 4): the image above the sky ``level``, and the errors of ``VARIANCES``.

    Returns them with the weights, set to 0 where any of the arrays is NaN. Missing variances are
    drizzled as 0 and must be left out of ``Coadd.add``.
    """
    zeros = np.zeros_like(image)
    values = np.empty((*image.shape, 4), np.float32)
    kept = weights.copy()
    arrays = [variances.get(name, zeros) for name in VARIANCES]
    _fill_values(image, np.float32(level), *arrays, kept, values)
    return values, kept


@kernel
def _add(
    sums: np.ndarray,
    present: np.ndarray,
    noise_weighted: bool,
    fixed: float,
    corner: tuple[int, int],
    weight: np.ndarray,
    total: np.ndarray,
    powers: np.ndarray,
    norms: np.ndarray,
) -> None:
    """Add one exposure's sums (oy, ox, 1 + planes), at ``corner``, to the running sums in place."""
    for j in range(sums.shape[0]):
        for i in range(sums.shape[1]):
            w = np.float64(sums[j, i, 0])
            if w == 0.0:
                continue
            y, x = j + corner[0], i + corner[1]
            weight[y, x] += w
            for p in range(total.shape[0]):
                total[p, y, x] += sums[j, i, p + 1]
            share = fixed
            if noise_weighted:
                error = sums[j, i, 2] / w
                square = error * error
                share = 1.0 / square if square > 0.0 and np.isfinite(square) else 0.0
            for p in range(powers.shape[0]):
                error = sums[j, i, p + 2] / w
                square = error * error
                if present[p] and np.isfinite(square) and share > 0.0:
                    powers[p, y, x] += square * share * share
                    norms[p, y, x] += share


@dataclass(frozen=True)
class Contents:
    """What is added besides the image: errors or variances, context planes (their number), flags."""

    errors: bool = False
    variances: bool = False
    context: int = 0
    flags: bool = False


@dataclass(frozen=True, eq=False)
class Coadd:
    """Running sums of a rectangle of the mosaic; adding gives a new one.

    ``weight`` (y, x) is the sum of a w, ``total`` (k, y, x) that of a w v for the image, and for ERR
    if it is drizzled too; ``powers`` and ``norms`` (3 or 0, y, x) are those of E^2 v^2 and v;
    ``context`` (plane, y, x) has the bit of each exposure that contributed; ``flags`` (y, x) are their
    DQ bits combined, (0, 0) if not wanted.
    """

    weight: np.ndarray
    total: np.ndarray
    powers: np.ndarray
    norms: np.ndarray
    context: np.ndarray
    flags: np.ndarray

    @classmethod
    def empty(cls, shape: tuple[int, int], contents: Contents) -> Coadd:
        """No exposure yet."""
        kinds = len(VARIANCES) if contents.variances else 0
        return cls(
            np.zeros(shape),
            np.zeros((2 if contents.errors else 1, *shape)),
            np.zeros((kinds, *shape)),
            np.zeros((kinds, *shape)),
            np.zeros((contents.context, *shape), np.int32),
            np.zeros(shape if contents.flags else (0, 0), np.uint32),
        )

    def copy(self) -> Coadd:
        """The same sums in arrays of their own."""
        return replace(self, **{name: getattr(self, name).copy() for name in self.__annotations__})


@dataclass(frozen=True, eq=False)
class Drizzled:
    """One exposure drizzled onto part of a rectangle: what ``spread`` gives, and how it adds up.

    ``corner`` is where the part begins in the rectangle; ``number`` the exposure's place in the
    association; ``variance_weight`` the fixed v_k, or None for the inverse read-noise variance;
    ``present`` says which of ``VARIANCES`` the exposure has.
    """

    sums: np.ndarray
    touched: np.ndarray
    flags: np.ndarray
    corner: tuple[int, int]
    number: int
    variance_weight: float | None
    present: tuple[bool, ...]


def coadd(start: Coadd, exposures: Sequence[Drizzled]) -> Coadd:
    """Add exposures to ``start``, in order; the result has arrays of its own."""
    result = start.copy()
    _accumulate(result, exposures)
    return result


def coadd_first(shape: tuple[int, int], contents: Contents, exposures: Sequence[Drizzled]) -> Coadd:
    """Add exposures, in order, to nothing."""
    result = Coadd.empty(shape, contents)
    _accumulate(result, exposures)
    return result


def _accumulate(result: Coadd, exposures: Sequence[Drizzled]) -> None:
    """Add exposures to ``result`` in place."""
    for part in exposures:
        fixed = part.variance_weight
        _add(
            part.sums,
            np.array(part.present),
            fixed is None,
            1.0 if fixed is None else fixed,
            part.corner,
            result.weight,
            result.total,
            result.powers,
            result.norms,
        )
        window = tuple(
            slice(begin, begin + size)
            for begin, size in zip(part.corner, part.touched.shape, strict=True)
        )
        if result.context.size:
            plane, bit = divmod(part.number, CONTEXT_BITS)
            value = np.array(1 << bit, np.uint32).astype(np.int32)
            result.context[plane][window] |= np.where(part.touched, value, np.int32(0))
        if result.flags.size:
            result.flags[window] |= part.flags


def image(sums: Coadd, fill: float = np.nan, plane: int = 0) -> np.ndarray:
    """The weighted mean (y, x) float32 of the image (or of ERR, plane 1); ``fill`` without any weight."""
    mean = np.full(sums.weight.shape, fill, np.float32)
    covered = sums.weight != 0.0
    np.divide(sums.total[plane], sums.weight, out=mean, where=covered, casting="unsafe")
    return mean


def variances(sums: Coadd, scale: float) -> dict[str, np.ndarray]:
    """The coadded variances times ``scale``, by name, float32; NaN where there are none."""
    with np.errstate(invalid="ignore", divide="ignore"):
        values = sums.powers * scale / sums.norms / sums.norms
    return {name: values[p].astype(np.float32) for p, name in enumerate(VARIANCES)}


def total_error(parts: Mapping[str, np.ndarray]) -> np.ndarray:
    """The square root of the sum of variances, NaN left out; NaN where all are."""
    stack = np.stack(list(parts.values()))
    error: np.ndarray = np.sqrt(np.nansum(stack, axis=0))
    error[np.isnan(stack).all(axis=0)] = np.nan
    return error
