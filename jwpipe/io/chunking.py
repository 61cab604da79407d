"""How an opened exposure is cut into dask chunks."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from jwpipe.chunks import row_blocks

Chunks = Mapping[str, int] | int | None


def chunks_of(
    dims: tuple[str, ...], shape: tuple[int, ...], chunks: Chunks = None
) -> tuple[tuple[int, ...], ...]:
    """The chunks of one variable: blocks of whole rows by the project's rule, or as asked for by dimension."""
    planes = prod(shape[:-2])
    asked = chunks if isinstance(chunks, Mapping) else {}
    if isinstance(chunks, int):
        asked = {dims[-2]: chunks, dims[-1]: chunks}
    return tuple(
        _cut(size, asked[dim])
        if dim in asked
        else (row_blocks(size, planes) if axis == len(dims) - 2 else (size,))
        for axis, (dim, size) in enumerate(zip(dims, shape, strict=True))
    )


def _cut(size: int, step: int) -> tuple[int, ...]:
    step = size if step < 1 else min(step, size)
    full, rest = divmod(size, step)
    return (step,) * full + ((rest,) if rest else ())
