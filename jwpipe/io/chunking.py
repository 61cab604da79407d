"""How an opened exposure is cut into dask chunks."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from jwpipe.chunks import crowded, row_blocks

Chunks = Mapping[str, int] | int | None
LARGEST = 16 << 20
"""Samples of a chunk from which long series are cut along their first axis as well."""


def chunks_of(
    dims: tuple[str, ...], shape: tuple[int, ...], chunks: Chunks = None
) -> tuple[tuple[int, ...], ...]:
    """The chunks of one variable: blocks of whole rows by the project's rule, or as asked for by dimension."""
    planes = prod(shape[:-2])
    rows = row_blocks(shape[-2], crowded(planes, shape[-1])) if len(shape) > 1 else ()
    most = max(1, LARGEST // max(1, prod(shape[1:-2]) * max(rows, default=1) * shape[-1]))
    asked = chunks if isinstance(chunks, Mapping) else {}
    if isinstance(chunks, int):
        asked = {dims[-2]: chunks, dims[-1]: chunks}
    return tuple(
        _cut(size, asked[dim])
        if dim in asked
        else (rows if axis == len(dims) - 2 else _cut(size, most if axis == 0 else size))
        for axis, (dim, size) in enumerate(zip(dims, shape, strict=True))
    )


def _cut(size: int, step: int) -> tuple[int, ...]:
    if size == 0:
        return (0,)
    step = size if step < 1 else min(step, size)
    full, rest = divmod(size, step)
    return (step,) * full + ((rest,) if rest else ())
