"""What is true of a simulated observation, in files that tests and the demo read back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_REFERENCE_STARS_MAG = 23.0


@dataclass(frozen=True, eq=False)
class Truth:
    """What is true of one exposure.

    ``rate`` (ny, nx) is the light's count rate in DN/s, what ``rate`` products should hold; ``hits`` and
    ``snowballs`` and ``showers`` what struck the detector (``events.HIT`` ...); ``x`` and ``y`` the 0-based pixels
    of the catalogue's sources; ``commanded`` and ``true`` the attitude matrices (V2V3 to sky) of the header and of
    the sky as it was; ``nframes`` and ``stride`` turn frames into groups; ``seconds`` pass from reset to last read.
    """

    rate: np.ndarray
    hits: np.ndarray
    snowballs: np.ndarray
    showers: np.ndarray
    x: np.ndarray
    y: np.ndarray
    commanded: np.ndarray
    true: np.ndarray
    nframes: int
    stride: int
    seconds: float

    def hit_groups(self) -> np.ndarray:
        """The group in which each of ``hits`` shows first: the next one for a hit between groups."""
        frame = self.hits["frame"]
        group = frame // self.stride
        return np.where(frame % self.stride >= self.nframes, group + 1, group)

    @classmethod
    def read(cls, path: Path) -> Truth:
        """Read what ``write_truth`` wrote."""
        with np.load(path) as stored:
            values: dict[str, Any] = {name: stored[name] for name in stored.files}
        values |= {name: values[name].item() for name in ("nframes", "stride", "seconds")}
        return cls(**values)


def write_truth(folder: Path, name: str, truth: Truth) -> Path:
    """Write the truth of the exposure ``name`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}_truth.npz"
    values: dict[str, Any] = {key: np.asarray(value) for key, value in vars(truth).items()}
    np.savez(path, **values)
    return path


def write_catalogue(folder: Path, sources: np.ndarray) -> tuple[Path, Path]:
    """Write the true sources, and the brighter stars as an astrometric reference catalogue (RA, DEC); two paths."""
    from astropy.table import Table

    folder.mkdir(parents=True, exist_ok=True)
    everything, stars = folder / "catalog.ecsv", folder / "reference_stars.ecsv"
    Table(sources).write(everything, format="ascii.ecsv", overwrite=True)
    bright = sources[sources["star"] & (sources["abmag"] < _REFERENCE_STARS_MAG)]
    columns = {"id": bright["id"], "RA": bright["ra"], "DEC": bright["dec"], "mag": bright["abmag"]}
    Table(columns).write(stars, format="ascii.ecsv", overwrite=True)
    return everything, stars
