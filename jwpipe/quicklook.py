"""Quick looks: a picture of an exposure, to see at a glance what it holds and what is wrong with it.

Images get an asinh stretch around the sky level, unusable pixels a colour of their own; ramps are shown as last minus
first group of each integration beside the ramps of a few pixels, cubes as integrations beside their levels. Large
images are averaged down block by block, so that a mosaic of any size needs little memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import dask.array as da
import numpy as np
import xarray as xr
from dask.base import compute as dask_compute

from jwpipe.dq import Pixel
from jwpipe.exposure import header
from jwpipe.io import open as open_exposure
from jwpipe.io.product import remove, temporary_name, unwritable
from jwpipe.quicklook_wcs import overlay
from jwpipe.refs import RefFile
from jwpipe.wcs.catalogue import Catalogue
from jwpipe.wcs.cutouts import Cutout, Ranges, cutouts_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PIXELS = 1600
LONG = 8
PANELS = 4
RAMPS = 6
COLOURS = "magma"
HEAD = 0.72
GREY = "#444444"
UNUSABLE = "#3f8f8c"
COUNTED = (Pixel.DO_NOT_USE, Pixel.SATURATED, Pixel.JUMP_DET, Pixel.OUTLIER)
WCS_TERMS = (
    "CRPIX",
    "CRVAL",
    "CTYPE",
    "CUNIT",
    "CDELT",
    "PC",
    "CD",
    "A_",
    "B_",
    "AP_",
    "BP_",
    "RADESYS",
)
WCS_KEYWORDS = ("CRPIX1", "CRPIX2", "CRVAL1", "CRVAL2", "CTYPE1", "CTYPE2")


def show(
    source: str | Path | xr.Dataset,
    png: str | Path,
    *,
    wcs: bool = False,
    catalogue: str | Path = "",
    wavelengthrange: str | Path = "",
) -> Path:
    """Write a quick look of an exposure, a file or a Dataset, to the picture ``png``; returns its path.

    ``wcs`` draws the sky's axes, or slits, slices and orders with their wavelengths, over it; of slitless spectra the
    traces of the sources of a ``catalogue`` (``_cat.ecsv``), with the ``wavelengthrange`` reference (ASDF).

    Raises
    ------
    ExposureError
        The file cannot be read, or the picture not written; with ``wcs``, where there is none to draw.
    """
    exposure = source if isinstance(source, xr.Dataset) else open_exposure(source)
    if "sci" not in exposure:
        # Of the fits of segments the slopes of the first one.
        exposure = exposure.assign(sci=exposure["slope"].isel(segment=0))
    axes = exposure["sci"].ndim
    figure = {2: _image_figure, 3: _cube_figure, 4: _ramp_figure}[axes](exposure)
    if wcs:
        pictures = [each for each in figure.axes if each.images]
        overlay(pictures, exposure, _spectra(exposure, catalogue, wavelengthrange))
    name = str(exposure.attrs.get("filename") or "exposure in memory")
    figure.text(0.01, _below_top(figure, 0.1), name, va="top", fontsize=12, weight="bold")
    figure.text(0.01, _below_top(figure, 0.36), _facts(exposure), va="top", fontsize=9, color=GREY)
    return _write(figure, Path(png))


def _spectra(
    exposure: xr.Dataset, catalogue: str | Path, wavelengthrange: str | Path
) -> list[Cutout]:
    """The spectra of the sources of a catalogue; none where it is not given."""
    if not (catalogue and wavelengthrange):
        return []
    reference = RefFile(str(wavelengthrange), "wavelengthrange")
    ranges = Ranges.read(reference.tree(), reference.path)
    return cutouts_of(exposure, Catalogue.read(catalogue), ranges)


def _write(figure: Figure, png: Path) -> Path:
    temporary = temporary_name(png)
    try:
        figure.savefig(temporary, format="png", dpi=110)
        temporary.replace(png)
    except OSError as error:
        remove(temporary)
        raise unwritable(png, error) from error
    return png


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _facts(exposure: xr.Dataset) -> str:
    """One line of what was observed and how."""
    keywords = header(exposure)
    optics = [
        str(keywords[k])
        for k in ("FILTER", "PUPIL", "GRATING", "BAND")
        if keywords.get(k) not in (None, "CLEAR", "N/A")
    ]
    parts = [
        exposure.attrs.get("product"),
        keywords.get("TARGPROP"),
        " ".join(str(keywords[k]) for k in ("INSTRUME", "DETECTOR") if keywords.get(k)),
        "+".join(optics),
        keywords.get("EXP_TYPE"),
        keywords.get("SUBARRAY"),
        _sampling(keywords),
        _seconds(keywords),
        " × ".join(str(size) for size in exposure["sci"].shape) + " px",
    ]
    return "  ·  ".join(str(part) for part in parts if part)


def _sampling(keywords: Mapping[str, Any]) -> str:
    if keywords.get("NGROUPS") is None:
        return ""
    return f"{keywords.get('READPATT', '')} {keywords.get('NINTS', 1)} int × {keywords['NGROUPS']} groups".strip()


def _seconds(keywords: Mapping[str, Any]) -> str:
    seconds = keywords.get("XPOSURE") or keywords.get("EFFEXPTM")
    return f"{seconds:.1f} s" if isinstance(seconds, int | float) else ""


def _image_figure(exposure: xr.Dataset) -> Figure:
    step = _step(exposure["sci"].shape)
    image, flags = dask_compute(_reduced(exposure["sci"].data, step), _flag_shares(exposure))
    width, bottom = 9.6, 0.62
    tall = float(np.clip(7.2 * image.shape[0] / image.shape[1], 2.0, 9.5))
    height = bottom + tall + HEAD
    figure = _figure(width, height)
    place = (1.05 / width, bottom / height, 7.2 / width, tall / height)
    axes = figure.add_axes(place, projection=_sky(exposure))
    drawn = _draw(axes, image, _stretch(image), step)
    _label_sky(axes)
    _colour_bar(figure, drawn, (8.45 / width, place[1], 0.17 / width, place[3]), _unit(exposure))
    _say(figure, _flag_lines(flags, float(np.mean(~np.isfinite(image)))))
    return figure


def _cube_figure(exposure: xr.Dataset) -> Figure:
    cube = da.asarray(exposure["sci"].data).astype(np.float32)
    shown = range(min(PANELS, len(cube)))
    step = _step(cube.shape[1:])
    planes, first, flags = dask_compute(
        [_reduced(cube[n], step) for n in shown], cube[0], _flag_shares(exposure)
    )
    titles = [f"integration {n + 1}" for n in shown]
    figure = _panels(planes, titles, _unit(exposure), step)
    bright = first >= np.nanpercentile(first, 99) if np.isfinite(first).any() else first == first
    levels = da.nanmean(da.where(bright, cube, np.nan), axis=(1, 2)).compute()
    axes = _side_axes(figure)
    axes.plot(np.arange(1, len(levels) + 1), levels, ".-", color="#8c2981", lw=0.8)
    axes.set(xlabel="integration", ylabel=f"mean of the brightest 1 % [{_unit(exposure)}]")
    _say(figure, _flag_lines(flags, 0.0))
    return figure


def _ramp_figure(exposure: xr.Dataset) -> Figure:
    ramp = da.asarray(exposure["sci"].data).astype(np.float32)
    shown = range(min(PANELS, len(ramp)))
    step = _step(ramp.shape[2:])
    single = ramp.shape[1] == 1
    what = "its only group" if single else "last − first group"
    planes = [_reduced(ramp[n, -1] - (0 if single else ramp[n, 0]), step) for n in shown]
    planes, sample = dask_compute(planes, _few_pixels(ramp[0]))
    figure = _panels(planes, [f"integration {n + 1}: {what}" for n in shown], "DN", step)
    axes = _side_axes(figure)
    for values in _spread(sample):
        groups = np.arange(1, len(values) + 1)
        axes.plot(groups, values / values[-1], ".-", lw=0.9, ms=4, label=f"{values[-1]:,.0f} DN")
    axes.set(xlabel="group", ylabel="counts over the first group, in parts of the whole")
    axes.set_title("a few pixels of integration 1", fontsize=9)
    if axes.lines:
        axes.legend(fontsize=8, frameon=False)
    return figure


def _panels(planes: Sequence[np.ndarray], titles: Sequence[str], unit: str, step: int) -> Figure:
    """Up to four images on one stretch on the left of a figure, one colour bar between them and the right."""
    columns = 1 if len(planes) == 1 else 2
    rows = -(-len(planes) // columns)
    tall = 6.8 * rows * planes[0].shape[0] / (columns * planes[0].shape[1])
    bottom, wide = 0.62, 13.0
    high = bottom + float(np.clip(tall, 2.5, 7.5)) + HEAD + 0.25
    figure = _figure(wide, high)
    grid = figure.add_gridspec(
        rows, columns, left=0.04, right=0.565, bottom=bottom / high, top=1 - (HEAD + 0.25) / high,
        hspace=0.2, wspace=0.12,
    )  # fmt: skip
    stretch = _stretch(np.concatenate([plane.ravel() for plane in planes]))
    drawn = []
    for n, (plane, title) in enumerate(zip(planes, titles, strict=True)):
        axes = figure.add_subplot(grid[n // columns, n % columns])
        _draw(axes, plane, stretch, step)
        axes.set_title(title, fontsize=9)
        axes.tick_params(labelsize=7)
        drawn.append(axes)
    place = (0.58, bottom / high, 0.012, 1 - (bottom + HEAD + 0.25) / high)
    _colour_bar(figure, drawn[0].images[0], place, unit)
    return figure


def _draw(axes: Axes, image: np.ndarray, stretch: Any, step: int) -> Any:
    """Draw means of ``step`` x ``step`` pixels where those pixels are: axes count the pixels of the file, from 0."""
    height, width = (size * step - 0.5 for size in image.shape)
    # Long subarrays fill the figure: drawn to scale they are too thin to see anything.
    aspect: Literal["auto", "equal"] = (
        "auto" if max(image.shape) >= LONG * min(image.shape) else "equal"
    )
    return axes.imshow(
        image, origin="lower", cmap=_colours(), norm=stretch, interpolation="nearest",
        extent=(-0.5, width, -0.5, height), aspect=aspect,
    )  # fmt: skip


def _side_axes(figure: Figure) -> Axes:
    high = figure.get_figheight()
    axes = figure.add_axes((0.70, 0.62 / high, 0.28, 1 - (0.87 + HEAD) / high))
    axes.grid(color="#dddddd", lw=0.5)
    axes.tick_params(labelsize=8)
    return axes


def _say(figure: Figure, lines: str) -> None:
    figure.text(
        0.99, _below_top(figure, 0.1), lines, ha="right", va="top", fontsize=8, color=UNUSABLE
    )


def _below_top(figure: Figure, inches: float) -> float:
    return 1 - inches / float(figure.get_figheight())


def _colour_bar(
    figure: Figure, drawn: Any, place: tuple[float, float, float, float], unit: str
) -> None:
    bar = figure.colorbar(drawn, cax=figure.add_axes(place))
    ticks = drawn.norm.inverse(np.linspace(0, 1, 7))
    bar.set_ticks(ticks, labels=[f"{tick:.3g}" for tick in ticks])
    bar.ax.tick_params(labelsize=8)
    bar.ax.set_title(unit, fontsize=9)


def _colours() -> Any:
    from matplotlib import colormaps

    return colormaps[COLOURS].with_extremes(bad=UNUSABLE)


def _stretch(values: np.ndarray) -> Any:
    """Asinh from just under the sky to the brightest thousandth, linear within some of the sky's noise."""
    from astropy.visualization import AsinhStretch, ImageNormalize

    good = values[np.isfinite(values)]
    if not good.size:
        return ImageNormalize(vmin=0, vmax=1)
    sky = float(np.median(good))
    noise = 1.4826 * float(np.median(np.abs(good - sky)))
    low, high = sky - 3 * noise, float(np.percentile(good, 99.9))
    if not high > low:
        low, high = float(good.min()), float(good.max())
        return ImageNormalize(vmin=low, vmax=high if high > low else low + 1)
    linear = float(np.clip(6 * noise / (high - low), 0.003, 1))
    return ImageNormalize(vmin=low, vmax=high, stretch=AsinhStretch(linear))


def _sky(exposure: xr.Dataset) -> Any:
    """The FITS WCS of the pixels, from the keywords; ``None`` where there is none."""
    sci = exposure.attrs.get("sci", {})
    if any(sci.get(name) is None for name in WCS_KEYWORDS) or not sci["CTYPE1"].startswith("RA"):
        return None
    from astropy.io.fits import Header
    from astropy.wcs import WCS

    names = [name for name in sci if name.startswith(WCS_TERMS)]
    cards = Header({name: sci[name] for name in names if sci[name] is not None})
    cards["WCSAXES"] = 2
    return WCS(cards, naxis=2, relax=True)


def _label_sky(axes: Axes) -> None:
    if not hasattr(axes, "coords"):
        axes.set(xlabel="x [px]", ylabel="y [px]")
        return
    axes.coords[0].set_axislabel("right ascension", minpad=0.6)
    axes.coords[1].set_axislabel("declination", minpad=0.4)
    axes.coords.grid(color="white", alpha=0.18, lw=0.6)
    for coordinate in axes.coords:
        coordinate.set_ticklabel(size=8)


def _unit(exposure: xr.Dataset) -> str:
    return str(exposure.attrs.get("sci", {}).get("BUNIT") or exposure["sci"].attrs.get("units", ""))


def _step(shape: Sequence[int]) -> int:
    return max(1, -(-max(shape) // PIXELS))


def _reduced(image: da.Array, step: int) -> da.Array:
    """Means of blocks of ``step`` x ``step`` pixels."""
    image = da.asarray(image)
    return image if step == 1 else da.coarsen(_mean, image, {0: step, 1: step}, trim_excess=True)


def _mean(values: np.ndarray, axis: Any = None) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        good = np.isfinite(values)
        return np.where(good, values, 0).sum(axis) / good.sum(axis)


def _few_pixels(ramp: da.Array) -> da.Array:
    """Every so manieth pixel of an integration, (group, pixel)."""
    rows, columns = (max(1, size // 96) for size in ramp.shape[1:])
    return ramp[:, ::rows, ::columns].reshape(len(ramp), -1)


def _spread(sample: np.ndarray) -> np.ndarray:
    """The ramps of pixels from faint to bright over their first group, (pixel, group)."""
    signal = sample[-1] - sample[0]
    order = np.argsort(signal)
    low, high = np.percentile(signal, [50, 99.97])
    wanted = np.geomspace(max(low, 10.0), max(high, 20.0), RAMPS)
    places = np.clip(np.searchsorted(signal[order], wanted), 0, order.size - 1)
    chosen = order[np.unique(places)]
    chosen = chosen[signal[chosen] > 0]
    return (sample[:, chosen] - sample[0, chosen]).T


def _flag_shares(exposure: xr.Dataset) -> da.Array:
    """The share of pixels with each of `COUNTED`."""
    if "dq" not in exposure:
        return da.zeros(0)
    flags = da.asarray(exposure["dq"].data)
    return da.stack([((flags & flag.value) != 0).mean() for flag in COUNTED])


def _flag_lines(shares: np.ndarray, blank: float) -> str:
    lines = [
        f"{flag.name} {share:.2%}" for flag, share in zip(COUNTED, shares, strict=False) if share
    ]
    return "\n".join([*lines, f"no value {blank:.2%}"] if blank else lines)
