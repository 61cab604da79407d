"""The demo's picture: the mosaic, how a patch of it came about, and how well fluxes were recovered."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jwpipe.simulate.recovery import StarRecovery, mosaic_pixels

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from jwpipe.simulate.observation import Observation

NIGHT, INK, FAINT, WARM, COOL = "#07080f", "#e9e6df", "#8d90a3", "#ffb866", "#78d6e6"
_DUSK = ("#07080f", "#171536", "#43246b", "#8c3075", "#d0504f", "#f69a4c", "#fdd98a", "#fffbec")
_PATCH = 250
_TALLEST = 1600


@dataclass(frozen=True)
class _Page:
    """The layout, in inches: title, a mosaic ``high``, and below it a row of square panels."""

    high: float
    width: float = 13.0
    panel: float = 2.95

    @property
    def height(self) -> float:
        """Height of the figure, inches."""
        return self.high + self.panel + 1.95

    def axes(self, figure: Figure, left: float, bottom: float, width: float, high: float) -> Axes:
        """Axes at a place given in inches."""
        w, h = self.width, self.height
        return figure.add_axes((left / w, bottom / h, width / w, high / h))


@dataclass(frozen=True, eq=False)
class Panels:
    """The images of the picture, all turned the same way: the mosaic, and one patch of sky at three stages.

    ``raw`` is the last less the first group of one exposure (DN), ``rate`` its count rate (DN/s), ``patch`` the same
    sky on the mosaic; ``corner`` is the first pixel (x, y) of ``patch`` on the unturned mosaic.
    """

    mosaic: np.ndarray
    raw: np.ndarray
    rate: np.ndarray
    patch: np.ndarray
    corner: tuple[int, int]
    turned: bool


def draw(
    path: Path,
    observation: Observation,
    mosaic: xr.Dataset,
    catalog: Any,
    stars: StarRecovery,
    raw: xr.Dataset,
    rate: xr.Dataset,
    name: str,
) -> Path:
    """Write the picture; ``raw`` and ``rate`` are those of the exposure ``name`` (a file name up to the suffix)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = _panels(observation, mosaic, raw, rate, name)
    height, width = panels.mosaic.shape
    page = _Page(high=12.6 * height / width)
    figure = Figure(figsize=(page.width, page.height), facecolor=NIGHT)
    FigureCanvasAgg(figure)
    main = page.axes(figure, 0.2, page.panel + 1.2, 12.6, page.high)
    _show(main, panels.mosaic)
    _scale_bar(main, panels.mosaic.shape, math.sqrt(mosaic.attrs["sci"]["PIXAR_A2"]))
    _compass(main, mosaic, panels)
    _outline(main, panels, mosaic)
    _stages(figure, page, panels, catalog)
    _fluxes(page.axes(figure, 10.2, 0.8, 2.2, page.panel - 0.3), stars)
    _title(figure, observation, mosaic, catalog)
    figure.savefig(path, dpi=120, facecolor=NIGHT)
    return path


def _panels(
    observation: Observation, mosaic: xr.Dataset, raw: xr.Dataset, rate: xr.Dataset, name: str
) -> Panels:
    image = np.asarray(mosaic["sci"].data)
    turned = image.shape[0] > image.shape[1]
    truth = observation.truth(name)
    x, y = truth.x[0], truth.y[0]
    side = min(_PATCH, *truth.rate.shape)
    detector_corner = _fitting((x, y), truth.rate.shape, side)
    # the same sky on the mosaic, by the source in the middle of the patch
    there = mosaic_pixels(mosaic, *(observation.sources[key][:1] for key in ("ra", "dec")))
    corner = tuple(
        int(place[0] - (now - start))
        for place, now, start in zip(there, (x, y), detector_corner, strict=True)
    )
    ramp = np.asarray(raw["sci"][0].data).astype(np.float32)
    images = [
        _cut(ramp[-1] - ramp[0], detector_corner, side),
        _cut(np.asarray(rate["sci"].data), detector_corner, side),
        _cut(image, corner, side),
    ]
    first, second, third = (_turn(part, turned) for part in images)
    whole = _turn(_coarse(image), turned)
    return Panels(whole, first, second, third, (corner[0], corner[1]), turned)


def _fitting(place: tuple[float, float], shape: tuple[int, ...], side: int) -> tuple[int, int]:
    """First pixel (x, y) of a square of ``side`` about ``place`` that stays inside an image."""
    limits = shape[1] - side, shape[0] - side
    x, y = (
        int(np.clip(value - side / 2, 0, limit)) for value, limit in zip(place, limits, strict=True)
    )
    return x, y


def _cut(image: np.ndarray, corner: tuple[int, ...], side: int) -> np.ndarray:
    """The square at ``corner`` (x, y), NaN where it leaves the image."""
    part = np.full((side, side), np.nan, np.float32)
    x0, y0 = max(corner[0], 0), max(corner[1], 0)
    x1, y1 = min(corner[0] + side, image.shape[1]), min(corner[1] + side, image.shape[0])
    part[y0 - corner[1] : y1 - corner[1], x0 - corner[0] : x1 - corner[0]] = image[y0:y1, x0:x1]
    return part


def _turn(image: np.ndarray, turned: bool) -> np.ndarray:
    """Pictures lie: an image higher than wide is turned by a quarter to the right."""
    return np.rot90(image, -1) if turned else image


def _coarse(image: np.ndarray) -> np.ndarray:
    """Means of blocks, so that a large mosaic makes a picture of bearable size."""
    step = max(1, max(image.shape) // _TALLEST)
    if step == 1:
        return image
    ny, nx = image.shape[0] // step, image.shape[1] // step
    blocks = image[: ny * step, : nx * step].reshape(ny, step, nx, step)
    return np.asarray(blocks.mean(axis=(1, 3)))


def _colours() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("dusk", list(_DUSK)).with_extremes(bad=NIGHT)


def _stretched(image: np.ndarray) -> np.ndarray:
    """Asinh of the image over its noise, 0 at the sky."""
    known = image[np.isfinite(image)]
    sky = np.median(known)
    noise = 1.4826 * np.median(np.abs(known - sky))
    return np.asarray(np.arcsinh((image - sky) / (1.5 * noise)))


def _show(axes: Axes, image: np.ndarray, top: float | None = None) -> None:
    shown = _stretched(image)
    high = np.nanpercentile(shown, 99.7) if top is None else top
    axes.imshow(
        np.ma.masked_invalid(shown), origin="lower", cmap=_colours(), vmin=-0.6, vmax=high,
        interpolation="antialiased",
    )  # fmt: skip
    axes.set_axis_off()


def _scale_bar(axes: Axes, shape: tuple[int, ...], pixel: float) -> None:
    """A bar of a round number of arcsec, lower left."""
    step = max(1, max(shape) // _TALLEST)
    seconds = 5.0 if shape[1] * pixel * step < 80 else 20.0
    length = seconds / (pixel * step)
    x, y = 0.022 * shape[1], 0.06 * shape[0]
    axes.plot([x, x + length], [y, y], color=INK, lw=2.2, solid_capstyle="butt")
    axes.text(
        x + length / 2,
        y + 0.018 * shape[0],
        f"{seconds:.0f}″",
        color=INK,
        ha="center",
        va="bottom",
        fontsize=10,
    )


def _compass(axes: Axes, mosaic: xr.Dataset, panels: Panels) -> None:
    """Arrows to north and east, lower right."""
    height, width = panels.mosaic.shape
    wcs = mosaic.attrs["wcs"]
    ny, nx = mosaic["sci"].shape
    ra, dec = wcs(nx / 2, ny / 2, with_bounding_box=False)
    size, start = 0.075 * height, (0.955 * width, 0.075 * height)
    for label, step in (("N", (0.0, 1e-4)), ("E", (1e-4 / math.cos(math.radians(dec)), 0.0))):
        x, y = wcs.invert(ra + step[0], dec + step[1], with_bounding_box=False)
        along = np.array([x - nx / 2, y - ny / 2])
        if panels.turned:
            along = np.array([-along[1], along[0]])
        along = along / np.hypot(*along) * size
        axes.annotate(
            "", xytext=start, xy=(start[0] + along[0], start[1] + along[1]),
            arrowprops={"arrowstyle": "-|>", "color": INK, "lw": 1.2, "shrinkA": 0, "shrinkB": 0},
        )  # fmt: skip
        tip = start[0] + 1.32 * along[0], start[1] + 1.32 * along[1]
        axes.text(*tip, label, color=INK, fontsize=9, ha="center", va="center")


def _turned_place(
    x: np.ndarray, y: np.ndarray, shape: tuple[int, ...], turned: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Where pixels of an image of ``shape`` go when it is turned."""
    return (shape[0] - 1 - y, x) if turned else (x, y)


def _outline(axes: Axes, panels: Panels, mosaic: xr.Dataset) -> None:
    """The patch below, framed on the mosaic."""
    side = panels.patch.shape[0]
    step = max(1, max(mosaic["sci"].shape) // _TALLEST)
    x = (panels.corner[0] + np.array([0, side, side, 0, 0])) / step
    y = (panels.corner[1] + np.array([0, 0, side, side, 0])) / step
    shape = tuple(size // step for size in mosaic["sci"].shape)
    axes.plot(*_turned_place(x, y, shape, panels.turned), color=INK, lw=0.8, alpha=0.7)


_STAGES = (
    ("raw counts", "last − first group"),
    ("count rate", "without bias, jumps"),
    ("mosaic", "and its catalogue"),
)


def _stages(figure: Figure, page: _Page, panels: Panels, catalog: Any) -> None:
    """The patch of sky from raw counts to the mosaic."""
    images = (panels.raw, panels.rate, panels.patch)
    for column, (image, (title, note)) in enumerate(zip(images, _STAGES, strict=True)):
        axes = page.axes(figure, 0.2 + column * (page.panel + 0.15), 0.5, page.panel, page.panel)
        _show(axes, image)
        axes.set_title(title, color=INK, fontsize=11, loc="left", pad=5)
        axes.set_title(note, color=FAINT, fontsize=8.5, loc="right", pad=5)
    _marks(axes, panels, catalog)


def _marks(axes: Axes, panels: Panels, catalog: Any) -> None:
    """Catalogue entries: circles for points, squares for extended ones."""
    side = panels.patch.shape[0]
    x = np.asarray(catalog["xcentroid"], float) - panels.corner[0]
    y = np.asarray(catalog["ycentroid"], float) - panels.corner[1]
    inside = (x > 2) & (x < side - 3) & (y > 2) & (y < side - 3)
    extended = np.asarray(catalog["is_extended"], bool)
    for chosen, colour, marker in ((~extended, COOL, "o"), (extended, WARM, "s")):
        places = _turned_place(x[inside & chosen], y[inside & chosen], (side, side), panels.turned)
        axes.scatter(*places, s=95, marker=marker, facecolors="none", edgecolors=colour, lw=0.9)


def _fluxes(axes: Axes, stars: StarRecovery) -> None:
    """Measured over true flux against magnitude, and the histogram of it."""
    percent = 100 * (stars.ratio - 1)
    limit = max(4.0, 1.2 * float(np.percentile(np.abs(percent), 97)))
    axes.set_facecolor("none")
    crowded = stars.ratio.size > 400
    axes.errorbar(
        stars.magnitude, percent, yerr=None if crowded else 100 * stars.error, fmt="o", color=COOL,
        ms=2.0 if crowded else 3.2, alpha=0.4 if crowded else 0.75, elinewidth=0.6, mew=0,
    )  # fmt: skip
    axes.axhline(0, color=FAINT, lw=0.7)
    axes.axhline(100 * stars.bias, color=WARM, lw=1.2)
    axes.set_ylim(-limit, limit)
    side = axes.inset_axes((1.0, 0.0, 0.17, 1.0), sharey=axes)
    side.hist(
        percent,
        bins=np.linspace(-limit, limit, 33).tolist(),
        orientation="horizontal",
        color=COOL,
        alpha=0.55,
    )
    side.set_axis_off()
    axes.set_xlabel("AB magnitude", color=FAINT, fontsize=9)
    axes.set_ylabel("measured − true flux, %", color=FAINT, fontsize=9)
    axes.set_title("stars", color=INK, fontsize=11, loc="left", pad=5)
    label = f"median {100 * stars.bias:+.2f} %, places ± {stars.scatter_mas:.1f} mas"
    axes.text(1.17, 1.025, label, color=WARM, fontsize=8.5, ha="right", transform=axes.transAxes)
    axes.tick_params(colors=FAINT, labelsize=8, length=3)
    for edge, spine in axes.spines.items():
        spine.set_visible(edge in ("left", "bottom"))
        spine.set_color(FAINT)


def _title(figure: Figure, observation: Observation, mosaic: xr.Dataset, catalog: Any) -> None:
    primary = mosaic.attrs["primary"]
    detectors = len(observation.files) or 1
    height = figure.get_figheight()
    about = f"{detectors} detectors × {len(observation.uncal) // detectors} dithers   ·   {len(catalog)} sources"
    figure.text(
        0.016, 1 - 0.36 / height, "jwpipe", color=WARM, fontsize=19, weight="bold", va="center"
    )
    words = f"from raw ramps to a mosaic   ·   simulated NIRCam {primary.get('FILTER', '')}"
    figure.text(0.112, 1 - 0.365 / height, words, color=INK, fontsize=12, va="center")
    figure.text(
        0.984, 1 - 0.365 / height, about, color=FAINT, fontsize=10.5, ha="right", va="center"
    )
