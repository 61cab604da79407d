"""The catalogue of the sources in a direct image, of which slitless spectra are extracted."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jwpipe.exposure import ExposureError

CORNERS = ("sky_bbox_ll", "sky_bbox_lr", "sky_bbox_ul", "sky_bbox_ur")
COLUMNS = ("label", "sky_centroid", "isophotal_abmag", "is_extended", *CORNERS)


@dataclass(frozen=True)
class Source:
    """A source: its number, its place (ra, dec) and the corners of its box on the sky (deg), AB magnitude, extent."""

    label: int
    sky: tuple[float, float]
    corners: tuple[tuple[float, ...], tuple[float, ...]]
    abmag: float
    extended: bool


@dataclass(frozen=True)
class Catalogue:
    """The sources of a catalogue, in its order."""

    sources: tuple[Source, ...]
    path: str = ""

    @classmethod
    def read(cls, path: str | Path) -> Catalogue:
        """Read a catalogue that ``source_catalog`` made (``_cat.ecsv``).

        Raises
        ------
        ExposureError
            Where there is no such file, or it lacks a column.
        """
        from astropy.table import QTable

        try:
            table = QTable.read(path, format="ascii.ecsv")
        except FileNotFoundError:
            raise ExposureError(
                f"{path}: no such catalogue; run image3 on the direct images, or name its _cat.ecsv"
            ) from None
        except Exception as error:
            raise ExposureError(
                f"{path}: no catalogue in ECSV ({error}); expected the _cat.ecsv of image3"
            ) from error
        return cls.from_table(table, str(path))

    @classmethod
    def from_table(cls, table: Any, path: str = "catalogue in memory") -> Catalogue:
        """Take the sources out of a table.

        Raises
        ------
        ExposureError
            Where it lacks a column.
        """
        if missing := [name for name in COLUMNS if name not in table.colnames]:
            raise ExposureError(
                f"{path}: no column {', '.join(missing)}; expected the catalogue of the direct image, the _cat.ecsv of "
                "image3"
            )
        sky = table["sky_centroid"].icrs
        corners = [table[name] for name in CORNERS]
        columns = zip(
            np.asarray(table["label"]).tolist(),
            zip(sky.ra.deg.tolist(), sky.dec.deg.tolist(), strict=True),
            zip(
                np.transpose([each.ra.deg for each in corners]).tolist(),
                np.transpose([each.dec.deg for each in corners]).tolist(),
                strict=True,
            ),
            _magnitudes(table["isophotal_abmag"]),
            np.asarray(table["is_extended"]).tolist(),
            strict=True,
        )
        return cls(
            tuple(
                Source(label, place, (tuple(ra), tuple(dec)), mag, bool(extended))
                for label, place, (ra, dec), mag, extended in columns
            ),
            path,
        )

    def chosen(self, ids: Sequence[int] | None, faintest: float | None) -> list[Source]:
        """The sources of these numbers and brighter than a magnitude; sources without one count as bright."""
        return [
            each
            for each in self.sources
            if (ids is None or each.label in ids)
            and not each.abmag >= (NO_LIMIT if faintest is None else faintest)
        ]

    def nearest(self, ra: Sequence[float], dec: Sequence[float], *, within: float) -> list[int]:
        """The numbers of the sources nearest to places (deg), if nearer than ``within`` (arcsec).

        Raises
        ------
        ExposureError
            Where places are not given in pairs, or no source is near any of them; a warning tells of single ones.
        """
        from astropy.coordinates import SkyCoord

        if len(ra) != len(dec):
            raise ExposureError(
                f"{len(ra)} right ascensions and {len(dec)} declinations were given; expected pairs"
            )
        sky = SkyCoord([each.sky for each in self.sources], unit="deg")
        index, distance, _ = SkyCoord(ra, dec, unit="deg").match_to_catalog_sky(sky)
        found = []
        for n, apart, *place in zip(index, distance.arcsec, ra, dec, strict=True):
            if apart <= within:
                found.append(self.sources[n].label)
            else:
                warnings.warn(
                    f"{self.path}: no source within {within:g} arcsec of {place[0]:g}, {place[1]:g}", stacklevel=2
                )  # fmt: skip
        if not found:
            raise ExposureError(
                f"{self.path}: no source within {within:g} arcsec of the places that were asked for; "
                "correct source_ra and source_dec, or allow a larger source_max_sep"
            )
        return sorted(set(found))


NO_LIMIT = 999.0
"""Fainter sources are none."""


def _magnitudes(column: Any) -> list[float]:
    """Magnitudes as numbers; masked ones are NaN."""
    values: np.ndarray = np.ma.filled(
        np.ma.asarray(getattr(column, "value", column), float), np.nan
    )
    return [float(value) for value in values]
