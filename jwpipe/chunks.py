"""The chunk rule.

An exposure is cut into blocks of whole rows: all integrations and all groups of a pixel belong together (the jump
median and the ramp fit need them), and whole rows keep the inner loops long. Inside a task the chain of steps runs
strip by strip (``chain.py``), so that scratch memory is the strip's, not the block's.
"""

from itertools import pairwise

ROWS = 256
# From this many planes up blocks get shorter, so that a task's memory does not grow with the exposure's length.
MANY_PLANES = 100
SHORTEST_BLOCK = 8
# Shorter remainders join the block before them: a block must be taller than the halo of any chain.
MIN_ROWS = 16
# Where groups are many a strip must still be tall beside its halo, though it leaves the cache then.
STRIP_BYTES = 16 << 20
MIN_STRIP_ROWS = 8
MAX_STRIP_ROWS = 64


def rows_per_block(planes: int) -> int:
    """Rows of one block of an exposure with ``planes`` = integrations x groups."""
    if planes < MANY_PLANES:
        return ROWS
    rows = max(SHORTEST_BLOCK, ROWS * MANY_PLANES // (2 * planes))
    return 1 << (rows.bit_length() - 1)


def row_blocks(ny: int, planes: int) -> tuple[int, ...]:
    """The heights of the blocks that cover ``ny`` rows of an exposure."""
    rows = rows_per_block(planes)
    full, rest = divmod(ny, rows)
    heights = [rows] * full + [rest] * (rest > 0)
    if full and 0 < rest < MIN_ROWS:
        heights[-2:] = [rows + rest]
    return tuple(heights)


def strip_rows(planes: int, nx: int) -> int:
    """Rows of a strip whose samples fill about ``STRIP_BYTES``."""
    rows = STRIP_BYTES // (4 * planes * nx)
    return max(MIN_STRIP_ROWS, min(MAX_STRIP_ROWS, rows))


def strips(rows: slice, height: int) -> list[slice]:
    """``rows`` in strips of nearly equal height, about ``height``."""
    size = rows.stop - rows.start
    count = max(1, round(size / height))
    edges = [rows.start + size * k // count for k in range(count + 1)]
    return [slice(*pair) for pair in pairwise(edges)]
