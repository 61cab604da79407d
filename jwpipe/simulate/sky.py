"""The sky: a scene of stars and galaxies, drawn by chance and known exactly, and how a detector sees it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from jwpipe.numerics.jit import kernel
from jwpipe.simulate.chance import generator
from jwpipe.simulate.detectors import Subarray
from jwpipe.simulate.geometry import Optics, Pointing, aberrated, to_v2v3
from jwpipe.simulate.optics import OVERSAMPLE, Stamp, add_stamp, point_spread, star_stamp

SOURCE = np.dtype(
    [("id", "i4"), ("star", "?"), ("ra", "f8"), ("dec", "f8"), ("abmag", "f8"), ("flux_jy", "f8"),
     ("radius", "f8"), ("sersic", "f8"), ("axis_ratio", "f8"), ("angle", "f8"), ("arms", "f8")]
)  # fmt: skip
"""A source; for galaxies half-light radius (arcsec), Sersic index, axis ratio, position angle (degrees east of
north) and strength of the spiral arms."""

_ZERO_POINT_JY = 3631.0


@dataclass(frozen=True)
class Scene:
    """What is on the sky: where (degrees), how the telescope is rolled, and how much of everything.

    ``background`` is in MJy/sr; densities count sources on a square arcsecond; magnitudes are AB and their number
    grows as 10^(0.15 m) for stars and 10^(0.3 m) for galaxies; stars keep ``separation`` arcsec from all else, which
    is twice what the matching of catalogues allows a star to be off.
    """

    ra: float = 53.162
    dec: float = -27.791
    roll: float = 41.0
    background: float = 0.25
    star_density: float = 0.2
    star_magnitudes: tuple[float, float] = (21.0, 24.8)
    bright_density: float = 0.004
    bright_magnitudes: tuple[float, float] = (18.2, 19.2)
    galaxy_density: float = 0.12
    galaxy_magnitudes: tuple[float, float] = (20.5, 26.5)
    spiral_density: float = 0.003
    separation: float = 1.5


def catalogue(scene: Scene, width: float, height: float, seed: int) -> np.ndarray:
    """The sources (dtype ``SOURCE``) in a box of ``width`` x ``height`` arcsec, its height along V3."""
    rng = generator("scene", seed)
    area = width * height
    spirals, bright = (round(d * area) for d in (scene.spiral_density, scene.bright_density))
    stars, galaxies = (round(d * area) for d in (scene.star_density, scene.galaxy_density))
    box = width, height
    # the first spiral, or else the first bright star, is the picture's middle piece
    middle = rng.uniform(-0.05, 0.05, (1, 2)) * box
    others = max(spirals + bright - 1, 0)
    around = _scattered(rng, others, 0.85 * width, 0.85 * height, 5.0, middle)
    showpieces = np.concatenate([middle, around])[: spirals + bright]
    points = _scattered(rng, stars, *box, scene.separation, showpieces)
    taken = np.concatenate([showpieces, points])
    loose = _scattered(rng, galaxies, *box, 0.5 * scene.separation, taken)
    sources = np.zeros(spirals + bright + stars + galaxies, SOURCE)
    sources["id"] = np.arange(sources.size) + 1
    sources["star"][spirals : spirals + bright + stars] = True
    _place(sources, scene, np.concatenate([taken, loose]))
    sources["abmag"] = np.concatenate(
        [
            rng.uniform(18.8, 19.8, spirals),
            _magnitudes(rng, bright, scene.bright_magnitudes, 0.15),
            _magnitudes(rng, stars, scene.star_magnitudes, 0.15),
            _magnitudes(rng, galaxies, scene.galaxy_magnitudes, 0.3),
        ]
    )
    sources["flux_jy"] = _ZERO_POINT_JY * 10 ** (-0.4 * sources["abmag"])
    _shape_galaxies(rng, sources, spirals)
    return sources


def _scattered(
    rng: np.random.Generator,
    count: int,
    width: float,
    height: float,
    separation: float,
    taken: np.ndarray | None = None,
) -> np.ndarray:
    """Places (count, 2) in the box, ``separation`` from each other and twice that from those ``taken``.

    Where there is no room after a few trials, a place is kept as it comes.
    """
    box = (width, height)
    taken = np.empty((0, 2)) if taken is None else taken
    places = rng.uniform(-0.5, 0.5, (count, 2)) * box
    for index in range(count):
        for _ in range(20):
            near = np.hypot(*(places[:index] - places[index]).T) < separation
            if not near.any() and not (np.hypot(*(taken - places[index]).T) < 2 * separation).any():
                break
            places[index] = rng.uniform(-0.5, 0.5, 2) * box
    return places


def _place(sources: np.ndarray, scene: Scene, places: np.ndarray) -> None:
    """Set RA and Dec of offsets (arcsec across and along V3) from the scene's centre."""
    roll = math.radians(scene.roll)
    east = places[:, 0] * math.cos(roll) + places[:, 1] * math.sin(roll)
    north = places[:, 1] * math.cos(roll) - places[:, 0] * math.sin(roll)
    sources["dec"] = scene.dec + north / 3600.0
    sources["ra"] = scene.ra + east / 3600.0 / math.cos(math.radians(scene.dec))


def _magnitudes(
    rng: np.random.Generator, count: int, limits: tuple[float, float], slope: float
) -> np.ndarray:
    """Magnitudes in a power law, one in each of ``count`` equal shares so that bright ones are never missing."""
    share = rng.permutation((np.arange(count) + rng.uniform(size=count)) / max(count, 1))
    low, high = (10 ** (slope * limit) for limit in limits)
    return np.log10(low + share * (high - low)) / slope


def _shape_galaxies(rng: np.random.Generator, sources: np.ndarray, spirals: int) -> None:
    count = sources.size
    typical = 0.3 * 10 ** (-0.12 * (sources["abmag"] - 23.5))
    sources["radius"] = np.clip(typical * rng.lognormal(0.0, 0.3, count), 0.06, 0.9)
    sources["sersic"] = rng.choice([1.0, 1.0, 1.0, 2.0, 3.0], count)
    sources["axis_ratio"] = rng.uniform(0.25, 1.0, count)
    sources["angle"] = rng.uniform(0.0, 180.0, count)
    sources["radius"][:spirals] = rng.uniform(0.55, 0.95, spirals)
    sources["sersic"][:spirals] = 1.0
    sources["axis_ratio"][:spirals] = rng.uniform(0.55, 0.9, spirals)
    sources["arms"][:spirals] = 1.0
    for name in ("radius", "sersic", "axis_ratio", "angle"):
        sources[name][sources["star"]] = 0.0


@kernel
def _draw_galaxy(half, step, radius, index, axis_ratio, angle, arms):  # type: ignore[no-untyped-def]
    """Brightness (2 half, 2 half) of a galaxy on a grid ``step`` pixels apart; lengths in pixels.

    A Sersic (1968) profile with the coefficient of Ciotti & Bertin (1999, A&A 352, 447), fading out at the edge;
    with ``arms`` a disc wound into a two-armed logarithmic spiral with knots, around a bulge.
    """
    image = np.empty((2 * half, 2 * half), np.float32)
    b = 2.0 * index - 1.0 / 3.0 + 4.0 / (405.0 * index)
    cosine, sine = math.cos(angle), math.sin(angle)
    for j in range(2 * half):
        y = (j - half) * step
        for i in range(2 * half):
            x = (i - half) * step
            along, across = x * cosine + y * sine, (y * cosine - x * sine) / axis_ratio
            distance = max(math.sqrt(along * along + across * across) / radius, 0.02)
            bent = distance if index == 1.0 else distance ** (1.0 / index)
            light = math.exp(-b * (bent - 1.0))
            if arms > 0.0:
                winding = math.atan2(across, along) - 3.6 * math.log(distance)
                grown = min(max((distance - 0.15) / 0.4, 0.0), 1.0)
                ridge = math.exp(2.5 * arms * (math.cos(2.0 * winding) - 1.0))
                spur = math.exp(3.0 * (math.cos(2.0 * winding + 1.9) - 1.0))
                knots = 1.0 + 0.35 * math.cos(9.0 * winding) * math.cos(17.0 * distance + winding)
                light *= 0.45 + (1.9 * ridge + 0.8 * spur) * knots * grown
                light += 25.0 * math.exp(-b * 2.2 * math.sqrt(distance / 0.25))
            fade = (half * step - math.sqrt(x * x + y * y)) / (0.3 * half * step)
            image[j, i] = light * min(max(fade, 0.0), 1.0)
    return image


def galaxy_image(source: np.void, pixel_scale: float, angle: float) -> np.ndarray:
    """A galaxy on the fine grid, sum 1, its major axis ``angle`` radians from x towards y."""
    radius = float(source["radius"]) / pixel_scale
    half = OVERSAMPLE * math.ceil(min(4.5 * radius + 4.0, 150.0))
    shape = (float(source[name]) for name in ("sersic", "axis_ratio"))
    image = _draw_galaxy(half, 1.0 / OVERSAMPLE, radius, *shape, angle, float(source["arms"]))
    return np.asarray(image / image.sum(dtype=np.float64), np.float32)


def _galaxy_stamp(optics: Optics, source: np.void, angle: float) -> Stamp:
    """The galaxy convolved with the point spread function and a pixel."""
    scale = optics.detector.pixel_scale
    band = optics.filter
    psf = point_spread(band.wavelength, band.bandwidth, scale)
    return Stamp.of_extended(galaxy_image(source, scale, angle), psf, reach=16)


@dataclass(frozen=True, eq=False)
class View:
    """A scene as one detector sees it: the stamps of its sources, made once and used at every dither."""

    optics: Optics
    region: Subarray
    sources: np.ndarray
    stamps: dict[int, Stamp]

    def star(self) -> Stamp:
        """The stamp of a star."""
        band = self.optics.filter
        return star_stamp(band.wavelength, band.bandwidth, self.optics.detector.pixel_scale)

    def positions(self, matrix: np.ndarray, scale: float, pointing: Pointing) -> np.ndarray:
        """Pixels (2, n) in the subarray (x, y; 0-based) of the sources, for an attitude and aberration scale."""
        v2, v3 = to_v2v3(matrix, self.sources["ra"], self.sources["dec"])
        x, y = self.optics.to_pixel(*aberrated(1.0 / scale, pointing, v2, v3))
        return np.stack([x - self.region.x0, y - self.region.y0])

    def _axis_on_pixels(self, matrix: np.ndarray, source: np.void) -> float:
        """Direction of the major axis on the detector, radians from x towards y."""
        angle, step = math.radians(float(source["angle"])), 1e-6
        ra = source["ra"] + np.array([0.0, step]) * math.sin(angle) / math.cos(
            math.radians(float(source["dec"]))
        )
        dec = source["dec"] + np.array([0.0, step]) * math.cos(angle)
        x, y = self.optics.to_pixel(*to_v2v3(matrix, ra, dec))
        return math.atan2(float(np.diff(y)[0]), float(np.diff(x)[0]))

    def _stamp(self, matrix: np.ndarray, source: np.void) -> Stamp:
        if source["star"]:
            return self.star()
        name = int(source["id"])
        if name not in self.stamps:
            angle = self._axis_on_pixels(matrix, source)
            self.stamps[name] = _galaxy_stamp(self.optics, source, angle)
        return self.stamps[name]

    def light(self, matrix: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Light of the sources at ``places`` (2, n) in Jy per pixel, shape (ny, nx) float32."""
        image = np.zeros((self.region.ny, self.region.nx), np.float32)
        for source, (x, y) in zip(self.sources, places.T, strict=True):
            margin = 130.0 if source["star"] else 7.0 * source["radius"] / 0.03 + 25.0
            near = -margin < x < image.shape[1] + margin and -margin < y < image.shape[0] + margin
            if near:
                stamp = self._stamp(matrix, source)
                add_stamp(image, stamp.samples, x, y, float(source["flux_jy"]))
        return image
