"""The chunk rule.

An exposure is cut into blocks of whole rows: all integrations and all groups of a pixel belong together (the jump
median and the ramp fit need them), and whole rows keep the inner loops long. Inside a task the chain of steps runs
strip by strip (``engine/chain.py``), so that scratch memory is the strip's, not the block's.

Of long series a strip of whole rows is too large as well. Blocks are then cut along the columns too, and the steps
that treat each integration by itself run on so many integrations at a time as ``integrations_at_once`` gives.
"""

from itertools import pairwise
from math import ceil

Region = tuple[slice, slice]
"""Rows and columns."""

ROWS = 256
COLUMNS = 2048
# From this many planes up blocks get shorter, so that a task's memory does not grow with the exposure's length.
MANY_PLANES = 100
SHORTEST_BLOCK = 8
# Shorter remainders join the block before them: a block must be taller than the halo of any chain.
MIN_ROWS = 16
# Planes times rows from which an exposure is cut for the sake of several workers.
WORTH_SHARING = 4096
SHARES = 4
# Lower strips stay in the cache, but more of them is halo.
STRIP_BYTES = 4 << 20
MIN_STRIP_ROWS = 8
MAX_STRIP_ROWS = 32
# Up to twice so many bytes of a strip's ramps all integrations are worked on together.
TOGETHER_BYTES = 8 << 20

TASK_BYTES = 112 << 20
"""Bytes of ramps and results that a task holds at most."""
SAMPLE_BYTES = 8
"""Of a sample that waits for its fit: counts, flags, and the flags that the jump step makes of them."""
SCRATCH_BYTES = 24
"""Of a sample in a strip: what kernels take and give."""
INTEGRATION_BYTES = 40
"""Of a pixel's integration: its products, while gain_scale makes new ones of them."""
MIN_COLUMNS = 16
MARGIN = 3


def crowded(planes: int, nx: int) -> int:
    """Planes of full width with as many samples in a row as ``planes`` of ``nx`` columns."""
    return max(1, planes * nx // COLUMNS)


def rows_per_block(planes: int) -> int:
    """Rows of one block of an exposure with ``planes`` = integrations x groups of full width."""
    if planes < MANY_PLANES:
        return ROWS
    rows = max(SHORTEST_BLOCK, ROWS * MANY_PLANES // (2 * planes))
    return 1 << (rows.bit_length() - 1)


def row_blocks(ny: int, planes: int) -> tuple[int, ...]:
    """The heights of the blocks that cover ``ny`` rows of an exposure."""
    rows = rows_per_block(planes)
    if planes * ny > WORTH_SHARING:
        rows = min(rows, max(SHORTEST_BLOCK, ny // SHARES))
    full, rest = divmod(ny, rows)
    heights = [rows] * full + [rest] * (rest > 0)
    if full and 0 < rest < MIN_ROWS:
        heights[-2:] = [rows + rest]
    return tuple(heights)


def column_blocks(nx: int, height: int, integrations: int, groups: int) -> tuple[int, ...]:
    """The widths of the blocks that cover ``nx`` columns: one, but in series too long for whole rows.

    ``height`` are the rows of a block.
    """
    rows = min(height, strip_rows(integrations * groups, nx))
    pixel = integrations * (groups * SAMPLE_BYTES + INTEGRATION_BYTES)
    widest = min(
        TASK_BYTES // (pixel * (rows + 2)),
        TASK_BYTES // (groups * SCRATCH_BYTES * (rows + 2 * MARGIN)),
    )
    count = ceil(nx / max(MIN_COLUMNS, widest))
    edges = [nx * k // count for k in range(count + 1)]
    return tuple(stop - start for start, stop in pairwise(edges))


def integrations_at_once(integrations: int, groups: int, pixels: int) -> int:
    """Integrations of ``pixels`` pixels that steps work on at a time: all, unless they are far more than a strip's."""
    fitting = TOGETHER_BYTES // (4 * groups * pixels)
    return integrations if integrations <= 2 * fitting + 1 else max(1, fitting)


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


def widened(region: slice, halo: int, size: int) -> slice:
    """``region`` with ``halo`` more on each side, as far as the frame goes."""
    return slice(max(0, region.start - halo), min(size, region.stop + halo))


def within(inner: slice, outer: slice) -> slice:
    """``inner`` counted from the start of ``outer``."""
    return slice(inner.start - outer.start, inner.stop - outer.start)


def both_within(inner: Region, outer: Region) -> Region:
    """``inner`` counted from the corner of ``outer``."""
    return within(inner[0], outer[0]), within(inner[1], outer[1])


def pixels_of(region: Region) -> int:
    """Number of pixels of a region."""
    rows, columns = region
    return int((rows.stop - rows.start) * (columns.stop - columns.start))
