"""What a run tells: to those who watch, and at its end."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from jwpipe.exposure import ExposureError
from jwpipe.params import ParameterError

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


def message_of(failure: Exception, name: str, stage: str) -> str:
    """What to tell the user: known errors speak for themselves, but may not know what they befell."""
    if isinstance(failure, ExposureError | ParameterError):
        return str(failure) if name in str(failure) else f"{name}: {stage}: {failure}"
    if type(failure).__name__ == "KilledWorker":
        return (
            f"{name}: {stage}: several workers died computing it, most likely for want of memory; "
            f"give workers more memory or fewer threads ({failure})"
        )
    return f"{name}: {stage}: {type(failure).__name__}: {failure}"
