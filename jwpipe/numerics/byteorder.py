"""Pixels as FITS stores them, big-endian and unsigned integers with an offset, into native arrays."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from jwpipe.numerics.jit import kernel

Decode = Callable[[np.ndarray, np.ndarray], None]
"""Turns stored bytes (1-D uint8) into pixels (1-D, its second argument)."""


def decoder(stored: np.dtype[Any], native: np.dtype[Any], wanted: np.dtype[Any]) -> Decode:
    """How pixels ``stored`` so in the file, which stand for ``native`` ones, become ``wanted`` ones.

    ``stored`` signed integers that stand for unsigned ones carry the offset of half their range (BZERO).
    """
    offset = native.kind == "u" and stored.kind == "i"
    flip = 1 << (8 * stored.itemsize - 1) if offset else 0
    if sys.byteorder == "little" and wanted == native and stored.itemsize == 2:
        return partial(_swapped, _swap_halves, np.uint16(flip))
    if sys.byteorder == "little" and wanted == native and stored.itemsize == 4:
        return partial(_swapped, _swap_words, np.uint32(flip))
    if sys.byteorder == "little" and wanted == np.float32 and native == np.uint16:
        return partial(_floats, np.uint16(flip))
    return partial(_converted, stored, native, flip)


def _swapped(swap: Callable[..., None], flip: Any, raw: np.ndarray, pixels: np.ndarray) -> None:
    kind = f"u{flip.itemsize}"
    swap(raw.view(kind), flip, pixels.view(kind))


def _floats(flip: np.uint16, raw: np.ndarray, pixels: np.ndarray) -> None:
    _swap_halves_to_floats(raw.view(np.uint16), flip, pixels)


def _converted(
    stored: np.dtype[Any], native: np.dtype[Any], flip: int, raw: np.ndarray, pixels: np.ndarray
) -> None:
    values = raw.view(stored).astype(stored.newbyteorder("="))
    if flip:
        values = values.view(native) ^ native.type(flip)
    pixels[:] = values


@kernel
def _swap_halves(raw: np.ndarray, flip: np.uint16, pixels: np.ndarray) -> None:
    for k in range(raw.size):
        word = raw[k]
        pixels[k] = np.uint16((word >> 8) | (word << 8)) ^ flip


@kernel
def _swap_halves_to_floats(raw: np.ndarray, flip: np.uint16, pixels: np.ndarray) -> None:
    for k in range(raw.size):
        word = raw[k]
        pixels[k] = np.float32(np.uint16((word >> 8) | (word << 8)) ^ flip)


@kernel
def _swap_words(raw: np.ndarray, flip: np.uint32, pixels: np.ndarray) -> None:
    for k in range(raw.size):
        word = raw[k]
        inner = ((word >> 8) & np.uint32(0xFF00)) | ((word & np.uint32(0xFF00)) << 8)
        pixels[k] = np.uint32((word >> 24) | inner | (word << 24)) ^ flip
