"""When MIRI reads each pixel: what the phases of interference depend on."""

from dataclasses import dataclass

import numpy as np

from jwpipe.numerics.emi_waves import OUTPUTS, period_clocks
from jwpipe.refs import RefArray

FULL_ROWS = 1024
# Clocks that each row outside of a subarray takes.
SKIPPED_ROW = 7.0


@dataclass(frozen=True)
class Readout:
    """The readout of an exposure, in clocks of 10 microseconds.

    ``samples`` clocks are spent on a pixel, ``row`` from a row to the next; a frame that only resets takes ``reset``
    and comes between integrations if ``resets``. ``delay`` falls on the last four columns.
    """

    integrations: int
    groups: int
    rows: int
    columns: int
    samples: int
    row: int
    reset: int
    resets: bool
    delay: int

    @property
    def frame(self) -> float:
        """Clocks from a frame to the next."""
        return self.rows * self.row + (FULL_ROWS - self.rows) * SKIPPED_ROW

    @property
    def integration(self) -> float:
        """Clocks from an integration to the next."""
        return self.groups * self.frame + (self.reset if self.resets else 0)

    def step(self, frequency: float) -> float:
        """Phase from a group to the next."""
        return (self.frame / period_clocks(frequency)) % 1

    def lag(self, frequency: float) -> float:
        """Phase from an integration to the next."""
        reset = self.reset if self.resets else 0
        return self.step(frequency) * self.groups + reset / period_clocks(frequency)

    def clocks(self, *, delayed: bool = False) -> RefArray:
        """The time of each pixel (y, x) since its frame began; with ``delay`` if ``delayed``."""
        delay = self.delay if delayed else 0
        source = Clocks(self.samples, self.row, self.columns - OUTPUTS, delay)
        return RefArray(source, (self.rows, self.columns), np.dtype(np.int64))


@dataclass(frozen=True)
class Clocks:
    """Times of pixels within a frame: ``delay`` more from column ``late`` on."""

    samples: int
    row: int
    late: int
    delay: int

    def read(self, rows: tuple[int, int], columns: tuple[int, int]) -> np.ndarray:
        """Give the region's times."""
        y, x = np.arange(*rows, dtype=np.int64)[:, np.newaxis], np.arange(*columns, dtype=np.int64)
        return y * self.row + x // OUTPUTS * self.samples + np.where(x >= self.late, self.delay, 0)
