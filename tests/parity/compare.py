"""How far apart two products are.

Tolerances have two parts: how far a pixel may be off, and which share of the pixels may be further off than that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

VARIANCES = ("VAR_POISSON", "VAR_RNOISE", "VAR_FLAT")


def planes(path: Path) -> dict[str, np.ndarray]:
    """The images and cubes of a FITS product by extension, in native byte order."""
    with fits.open(path) as hdus:
        return {
            hdu.name: np.asarray(hdu.data).astype(hdu.data.dtype.newbyteorder("="))
            for hdu in hdus
            if hdu.is_image and hdu.data is not None
        }


def keywords(path: Path) -> dict[str, Any]:
    """The keywords of the SCI and primary headers, SCI first."""
    with fits.open(path) as hdus:
        return {**hdus[0].header, **hdus["SCI"].header}


def share(where: np.ndarray) -> float:
    """The fraction of elements that are true."""
    return float(np.mean(where)) if where.size else 0.0


def unequal(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The share of elements that differ at all."""
    assert ours.shape == theirs.shape
    return share(ours != theirs)


def beyond(ours: np.ndarray, theirs: np.ndarray, allowed: np.ndarray | float) -> float:
    """The share of elements that differ by more than ``allowed``; NaN differs from nothing."""
    assert ours.shape == theirs.shape
    with np.errstate(invalid="ignore"):
        return share(np.abs(ours.astype(np.float64) - theirs) > allowed)


def same_holes(ours: np.ndarray, theirs: np.ndarray) -> bool:
    """Whether both are NaN in the same places."""
    return np.array_equal(np.isnan(ours), np.isnan(theirs))


@dataclass(frozen=True)
class Tolerance:
    """What an image may be off.

    ``sci`` in units of ERR, in all but the share ``few`` of the pixels; ``noise`` the relative difference of ERR
    and variances, in all but ``few_noise``; flags may differ in the share ``flags``.
    """

    sci: float
    few: float
    noise: float
    few_noise: float
    flags: float = 0.0


# Both compute in single precision and in different order: rounding is far below noise. A jump or an outlier may
# fall on the other side of its threshold in one pixel of ten thousand.
RATE = Tolerance(sci=1e-4, few=1e-4, noise=1e-4, few_noise=1e-3, flags=1e-4)
# Images differ from rates by factors alone.
IMAGE = RATE
# Positions are interpolated with an error below 1e-4 pixel, which moves as much of a pixel's light.
DRIZZLED = Tolerance(sci=1e-3, few=1e-3, noise=1e-3, few_noise=1e-3)


def assert_same_image(ours: Path, theirs: Path, tolerance: Tolerance) -> None:
    """All planes of two products agree within ``tolerance``, and NaN stands in the same places."""
    assert_same_planes(planes(ours), planes(theirs), tolerance)


def assert_same_mosaic(
    ours: Path, theirs: Path, *, contexts: float = 0.0, least_weight: float = 0.0
) -> None:
    """Two mosaics agree in all planes, in the flux and in the WCS.

    Contexts may differ in the share ``contexts`` of the pixels; those of less than ``least_weight`` count as empty.
    """
    a, b = (_weighed(planes(path), least_weight) for path in (ours, theirs))
    assert_same_planes(a, b, DRIZZLED)
    if "CON" in b:
        assert unequal(a["CON"], b["CON"]) <= contexts
    total, expected = (np.nansum(mosaic["SCI"], dtype=float) for mosaic in (a, b))
    assert total == pytest.approx(expected, rel=1e-5)
    assert_same_wcs(ours, theirs)


def _weighed(mosaic: dict[str, np.ndarray], least_weight: float) -> dict[str, np.ndarray]:
    """The planes with pixels of too little weight empty."""
    empty = np.abs(mosaic["WHT"]) < least_weight
    blank = {name: np.nan if values.dtype.kind == "f" else 0 for name, values in mosaic.items()}
    blank["WHT"] = 0.0
    return {
        name: np.where(empty, values.dtype.type(blank[name]), values)
        for name, values in mosaic.items()
    }


def assert_same_planes(
    a: Mapping[str, np.ndarray], b: Mapping[str, np.ndarray], tolerance: Tolerance
) -> None:
    """All planes agree within ``tolerance``, and NaN stands in the same places."""
    assert list(a) == list(b), "the products have different extensions"
    for name in b:
        assert a[name].shape == b[name].shape, name
        assert a[name].dtype == b[name].dtype, name
        if b[name].dtype.kind == "f":
            assert same_holes(a[name], b[name]), f"{name}: NaN in different places"
    error = b.get("ERR", np.abs(b["SCI"]))
    assert beyond(a["SCI"], b["SCI"], tolerance.sci * error) <= tolerance.few
    for name in ("ERR", "WHT", *VARIANCES):
        if name in b:
            assert (
                beyond(a[name], b[name], tolerance.noise * np.abs(b[name])) <= tolerance.few_noise
            ), name
    if "DQ" in b:
        assert unequal(a["DQ"], b["DQ"]) <= tolerance.flags


MILLIARCSECOND = 1.0 / 3.6e6


def assert_same_wcs(ours: Path, theirs: Path, limit: float = 0.1) -> None:
    """The sky positions of pixels agree within ``limit`` milliarcseconds over the frame, and back."""
    (first, shape), (second, _) = wcs_of(ours), wcs_of(theirs)
    y, x = np.mgrid[0 : shape[0] - 1 : 9j, 0 : shape[1] - 1 : 9j]
    (ra, dec), (ra2, dec2) = first(x, y), second(x, y)
    apart = np.hypot((ra - ra2) * np.cos(np.radians(dec2)), dec - dec2)
    assert np.nanmax(apart) < limit * MILLIARCSECOND
    back, back2 = (
        np.array(wcs.invert(ra2, dec2, with_bounding_box=False)) for wcs in (first, second)
    )
    scale = np.hypot(
        np.diff(ra2, axis=1) * np.cos(np.radians(dec2[:, 1:])), np.diff(dec2, axis=1)
    ) / np.diff(x, axis=1)
    assert np.nanmax(np.hypot(*(back - back2))) * scale.mean() < limit * MILLIARCSECOND


def wcs_of(path: Path) -> tuple[Any, tuple[int, int]]:
    """The gwcs of a product as the data models give it, and the shape of its image."""
    from stdatamodels.jwst import datamodels

    with datamodels.open(path) as model:
        return model.meta.wcs, model.data.shape[-2:]
