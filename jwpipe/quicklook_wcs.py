"""What the WCS says of a picture: the sky's axes over images; outlines and wavelengths over spectra.

Each part of the WCS (an image, slit, slice or order) is evaluated on a coarse grid of its pixels. Lines of equal
coordinates run through that; the outline of a part is the edge of the pixels that have coordinates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from jwpipe.exposure import ExposureError, header
from jwpipe.wcs.cutouts import Cutout, dispersed
from jwpipe.wcs.inspect import Part, parts_of, wcs_of

if TYPE_CHECKING:
    from gwcs import WCS
    from matplotlib.axes import Axes

POINTS = 240
"""Points of the grid along a part's longer side."""
FEWEST = 12
GAP = 0.2
"""Of the range of values: what of it is free of values divides it."""
RIGHT_ASCENSION, DECLINATION, OUTLINE = "#7fd7ff", "#b6f58c", "#ffffff"
COLOURS = ("#7fffd4", "#ffe066", "#8ecbff", "#ffb3e6", "#b6f58c", "#ffffff")
"""Of the parts: where there are many, all have the first."""
LABELLED = 6
"""Up to so many parts have a label on every line of equal wavelength; of more, the lowest and the highest part."""


@dataclass(frozen=True, eq=False)
class Sampled:
    """A part of a WCS on a grid: x (nx,) and y (ny,) pixels, and the coordinates there (ny, nx)."""

    part: Part
    x: np.ndarray
    y: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    wavelength: np.ndarray | None


def overlay(all_axes: Sequence[Axes], exposure: xr.Dataset, spectra: Sequence[Cutout] = ()) -> None:
    """Draw the WCS over pictures of an exposure, whose axes count its pixels from 0.

    Of the light of lamps slits and wavelengths are drawn: it has no place on the sky. Of slitless spectra the traces
    and boxes of the sources in ``spectra``.

    Raises
    ------
    ExposureError
        Where there is no WCS, or only together with sources, as in slitless spectra.
    """
    shape = (exposure.sizes["y"], exposure.sizes["x"])
    spectral = len(wcs_of(exposure, internal=True).output_frame.unit) > 2
    parts = [sampled(part, shape) for part in parts_of(exposure, internal=spectral)]
    if not parts and not spectra:
        raise ExposureError(
            f"{header(exposure).filename}: pixels of slitless spectra have a place only together with a source; "
            "give the sources with --catalogue and --wavelengthrange, or show it without --wcs"
        )
    few = len(parts) <= LABELLED
    for axes in all_axes:
        sides = axes.get_xlim(), axes.get_ylim()
        for n, one in enumerate(parts):
            if one.wavelength is None:
                _sky(axes, one)
            else:
                colour = COLOURS[n % len(COLOURS) if few else 0]
                named = few or n in (0, len(parts) - 1)
                along = (n + 1) / (len(parts) + 1) if few else 0.5
                _spectrum(axes, one, colour, along if named else None)
        for one_spectrum in spectra:
            _trace(axes, wcs_of(exposure, internal=True), one_spectrum)
        axes.set(xlim=sides[0], ylim=sides[1])


def _trace(axes: Axes, wcs: WCS, spectrum: Cutout) -> None:
    """The box of a source's order, and where its light falls, with round wavelengths (micron) along it."""
    from matplotlib.patches import Rectangle

    assert spectrum.source is not None
    assert spectrum.waverange is not None
    rows, columns = spectrum.rows, spectrum.columns
    size = columns.stop - columns.start, rows.stop - rows.start
    corner = (columns.start - 0.5, rows.start - 0.5)
    axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=OUTLINE, linewidth=0.7))
    colour = COLOURS[((spectrum.order or 0) - 1) % len(COLOURS)]
    waves = np.linspace(*spectrum.waverange, POINTS)
    ra, dec = (np.full(POINTS, value) for value in spectrum.source.sky)
    x, y = dispersed(wcs, ra, dec, waves, spectrum.order or 1)
    axes.plot(x, y, color=colour, lw=0.8, path_effects=_shadow())
    for level in _levels(waves):
        place = np.interp(level, waves, x), np.interp(level, waves, y)
        axes.annotate(
            f"{level:.{_digits(waves)}f}", place, (0, 4), textcoords="offset points", color=colour,
            size=5, ha="center", annotation_clip=True, path_effects=_shadow(2),
        )  # fmt: skip
    axes.annotate(
        f"{spectrum.name}, order {spectrum.order}", corner, (2, -7), textcoords="offset points",
        color=OUTLINE, size=6, annotation_clip=True, path_effects=_shadow(2),
    )  # fmt: skip


def sampled(part: Part, shape: tuple[int, int]) -> Sampled:
    """Evaluate a part on a grid over its bounding box, or the frame (ny, nx), edges included."""
    box = part.box or ((-0.5, shape[1] - 0.5), (-0.5, shape[0] - 0.5))
    sides = [
        (max(low, 0.0), min(high, size - 1.0))
        for (low, high), size in zip(box, reversed(shape), strict=True)
    ]
    spacing = max(1.0, max(high - low for low, high in sides) / POINTS)
    x, y = (
        np.linspace(low, high, max(FEWEST, int((high - low) / spacing) + 1)) for low, high in sides
    )
    return Sampled(part, x, y, *part.world(*np.meshgrid(x, y)))


def _sky(axes: Axes, one: Sampled) -> None:
    """Lines of equal right ascension and declination, and which way is north and east."""
    x, y = one.x, one.y
    middle = one.ra[len(y) // 2, len(x) // 2]
    ra = middle + (one.ra - middle + 180) % 360 - 180
    for values, colour, name in ((ra, RIGHT_ASCENSION, "RA"), (one.dec, DECLINATION, "Dec")):
        drawn = _lines(axes, (x, y, values), colour)
        for text in axes.clabel(drawn, fmt=f"{name} {{:.{_digits(values)}f}}°".format, fontsize=8):
            text.set_path_effects(_shadow(2))
    _compass(axes, ra, one.dec, x, y)


def _compass(axes: Axes, ra: np.ndarray, dec: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
    """Arrows to north and east, an eighth of the picture long, at its middle."""
    j, i = len(y) // 2, len(x) // 2
    across, along = x[i + 1] - x[i], y[j + 1] - y[j]
    east = np.cos(np.radians(dec[j, i]))
    slopes = np.array(
        [
            [(ra[j, i + 1] - ra[j, i]) * east / across, (ra[j + 1, i] - ra[j, i]) * east / along],
            [(dec[j, i + 1] - dec[j, i]) / across, (dec[j + 1, i] - dec[j, i]) / along],
        ]
    )
    way = np.linalg.inv(slopes)
    start, length = (float(x[i]), float(y[j])), min(np.ptp(x), np.ptp(y)) / 8
    for name, column, colour in (("E", 0, RIGHT_ASCENSION), ("N", 1, DECLINATION)):
        arrow = way[:, column] / np.linalg.norm(way[:, column]) * length
        style = {"arrowstyle": "<-", "color": colour, "lw": 1.6, "path_effects": _shadow(3)}
        head = (start[0] + arrow[0], start[1] + arrow[1])
        axes.annotate(
            name, start, head, color=colour, ha="center", va="center", arrowprops=style,
            path_effects=_shadow(2),
        )  # fmt: skip


def _spectrum(axes: Axes, one: Sampled, colour: str, along: float | None) -> None:
    """The outline of a part and lines of equal wavelength across it; labels, the part's name ``along`` its length."""
    assert one.wavelength is not None
    x, y = one.x, one.y
    seen = np.isfinite(one.wavelength)
    if not seen.any():
        return
    # A frame of pixels without coordinates closes outlines at the edge of the part.
    wide = [np.concatenate([[v[0] - 0.5], v, [v[-1] + 0.5]]) for v in (x, y)]
    axes.contour(*wide, np.pad(seen, 1).astype(float), [0.5], colors=OUTLINE, linewidths=0.7)
    _lines(axes, (x, y, np.ma.masked_invalid(one.wavelength)), colour)
    if along is not None:
        _wavelengths(axes, one.wavelength, x, y, colour)
    if one.part.label and along is not None:
        rows, columns = np.nonzero(seen)
        left, right = axes.images[0].get_extent()[:2]
        margin = 0.05 * (right - left)
        across = float(np.clip(np.quantile(x[columns], along), left + margin, right - margin))
        place = (across, float(np.max(y[rows])))
        axes.annotate(
            one.part.label, place, (0, 3), textcoords="offset points", color=colour,
            size=7, ha="center", annotation_clip=True, path_effects=_shadow(2),
        )  # fmt: skip


def _wavelengths(axes: Axes, waves: np.ndarray, x: np.ndarray, y: np.ndarray, colour: str) -> None:
    """Write the wavelength (micron) beside each line, at the middle of those pixels that have it."""
    levels = _levels(waves)
    for level in levels:
        off = np.abs(waves - level)
        near = 0.04 * np.ptp(levels) / len(levels)
        if np.nanmin(off) > near:
            continue
        rows, columns = np.nonzero(off <= near)
        middle = len(rows) // 2
        text = f"{level:.{_digits(waves)}f}"
        axes.text(
            x[columns[middle]], y[rows[middle]], text, color=colour, size=6, ha="left",
            va="center", clip_on=True, path_effects=_shadow(2),
        )  # fmt: skip


def _lines(axes: Axes, grid: tuple[np.ndarray, np.ndarray, Any], colour: str) -> Any:
    """Lines of equal values at round numbers."""
    drawn = axes.contour(*grid, _levels(grid[2]), colors=colour, linewidths=0.7, linestyles="solid")
    drawn.set(path_effects=_shadow())
    return drawn


def _shadow(width: float = 1.2) -> list[Any]:
    """A dark edge, by which lines and letters stand out from any picture."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=width, foreground="black")]


def _levels(values: Any) -> np.ndarray:
    """Round numbers within the range of values, some six of them; within each range, where there are several."""
    from matplotlib.ticker import MaxNLocator

    locator = MaxNLocator(7, steps=[1, 2, 5, 10])
    found = []
    for low, high in _ranges(np.asarray(values)):
        ticks = np.asarray(locator.tick_values(low, high))
        found.append(ticks[(ticks > low) & (ticks < high)])
    return np.concatenate(found)


def _ranges(values: np.ndarray) -> list[tuple[float, float]]:
    """From where to where values go: twice where there is a wide gap, as between the channels of MIRI MRS."""
    known = np.unique(values[np.isfinite(values)])
    gaps = np.flatnonzero(np.diff(known) > GAP * np.ptp(known)) + 1
    ranges = np.split(known, gaps)
    if min(len(each) for each in ranges) < FEWEST:
        ranges = [known]
    return [(float(each[0]), float(each[-1])) for each in ranges]


def _digits(values: Any) -> int:
    """Decimals that tell the levels apart."""
    levels = _levels(values)
    if len(levels) < 2:
        return 3
    return max(0, int(np.ceil(-np.log10(np.diff(levels).min()) - 1e-9)))
