"""Where the pixels of a region lie one after the other in a file."""

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from operator import mul


def runs(
    shape: Sequence[int], starts: Sequence[int], sizes: Sequence[int]
) -> Iterator[tuple[tuple[int, ...], int]]:
    """The contiguous runs of a box in an image of ``shape``.

    Yields the index of the box's leading axes whose remaining pixels form the run, and the run's first pixel counted
    through the flattened image.
    """
    axis = len(sizes) - 1
    while axis > 0 and sizes[axis] == shape[axis]:
        axis -= 1
    strides = [prod(shape[k + 1 :]) for k in range(len(shape))]
    first = sum(start * stride for start, stride in zip(starts, strides, strict=True))
    for index in product(*map(range, sizes[:axis])):
        yield index, first + _sumprod(index, strides)


def _sumprod(index: Sequence[int], strides: Sequence[int]) -> int:
    """The pixel at ``index``, counted through the flattened image."""
    return sum(map(mul, index, strides))
