"""What border steps make of the frame's edges: levels by integration, kept small.

The levels of a frame's columns (reference pixels) are few numbers, each the same for many columns: the numbers are
kept, and which column has which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

WORTH_PACKING = 1 << 20
"""Bytes from which levels are looked through for columns that are alike."""


@dataclass(frozen=True)
class Repeated:
    """An array (..., n) of which many columns are alike: ``values[..., place]``."""

    values: np.ndarray
    place: np.ndarray


@dataclass(frozen=True)
class Levels:
    """What a border step made of the integrations from ``start`` to ``stop``; an array for each of its ``dims``."""

    start: int
    stop: int
    arrays: tuple[np.ndarray | Repeated, ...]


def packed(array: np.ndarray) -> np.ndarray | Repeated:
    """``array`` itself, or its distinct columns where it is large and has few of them."""
    size = array.shape[-1]
    if array.nbytes < WORTH_PACKING:
        return array
    columns = np.ascontiguousarray(array.reshape(-1, size).T)
    keys = columns.view(np.dtype((np.void, columns.shape[1] * columns.itemsize)))[:, 0]
    _, first, place = np.unique(keys, return_index=True, return_inverse=True)
    if 2 * first.size > size:
        return array
    return Repeated(np.ascontiguousarray(array[..., first]), place)


def levels_on(
    pieces: Sequence[Levels],
    dims: Sequence[tuple[str, ...]],
    integrations: slice,
    region: tuple[slice, slice],
) -> list[np.ndarray]:
    """The arrays of all pieces, cut to integrations, rows and columns."""
    wanted = [p for p in pieces if p.stop > integrations.start and p.start < integrations.stop]
    cuts = {"y": region[0], "x": region[1]}
    return [_joined(wanted, k, each, integrations, cuts) for k, each in enumerate(dims)]


def _joined(
    pieces: Sequence[Levels],
    k: int,
    dims: tuple[str, ...],
    integrations: slice,
    cuts: dict[str, slice],
) -> np.ndarray:
    parts = []
    for piece in pieces:
        first = max(integrations.start, piece.start) - piece.start
        stop = min(integrations.stop, piece.stop) - piece.start
        parts.append(_part(piece.arrays[k], dims, {**cuts, "integration": slice(first, stop)}))
    if len(parts) == 1 or dims[0] != "integration":
        return parts[0]
    return np.concatenate(parts)


def _part(array: np.ndarray | Repeated, dims: tuple[str, ...], cuts: dict[str, Any]) -> np.ndarray:
    index = tuple(cuts.get(dim, slice(None)) for dim in dims)
    if isinstance(array, Repeated):
        return np.ascontiguousarray(array.values[(*index[:-1], array.place[index[-1]])])
    return np.ascontiguousarray(array[index])
