"""What a run tells: to those who watch, and at its end."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What became of one exposure or mosaic."""

    name: str
    stage: str
    written: tuple[Path, ...] = ()
    seconds: float = 0.0
    error: str = ""
    unwritten: str = "kept for the mosaic"
    """Why there is nothing written, where nothing failed."""


class Watcher(Protocol):
    """Who is told how the run goes."""

    def start(self, label: str) -> None:
        """A stage begins."""

    def phase(self, name: str) -> None:
        """A part of the stage begins."""

    def advance(self, done: int, total: int) -> None:
        """Tasks are finished."""

    def finish(self, error: str = "") -> None:
        """The stage is over."""

    def note(self, text: str) -> None:
        """Something worth knowing happened."""


class Silent:
    """Tells nobody."""

    def start(self, label: str) -> None:
        """Nothing."""

    def phase(self, name: str) -> None:
        """Nothing."""

    def advance(self, done: int, total: int) -> None:
        """Nothing."""

    def finish(self, error: str = "") -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Log it."""
        logger.warning("%s", text)
