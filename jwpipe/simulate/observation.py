"""A whole simulated observation: raw files of several detectors and dithers, their references, and the truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from jwpipe.simulate.camera import Camera
from jwpipe.simulate.chance import generator
from jwpipe.simulate.detectors import DETECTORS, Detector, subarray
from jwpipe.simulate.exposure import Dither, Shot, commanded_attitude, write_uncal
from jwpipe.simulate.geometry import Optics, Pointing, attitude, pointing_at
from jwpipe.simulate.instruments import BANDS, INSTRUMENTS, Instrument, patterns, readout
from jwpipe.simulate.pixels import Pixels, pixels
from jwpipe.simulate.readout import Raw, expose
from jwpipe.simulate.references import write_references
from jwpipe.simulate.shared_references import write_shared_references
from jwpipe.simulate.sky import Scene, View, catalogue
from jwpipe.simulate.spectra import spectra
from jwpipe.simulate.truth import Truth, write_catalogue, write_truth

_PATTERN = ((-0.38, -0.5), (0.14, -0.17), (-0.13, 0.19), (0.37, 0.5), (0.45, -0.42), (-0.47, 0.40),
            (0.05, 0.33), (-0.06, -0.31), (0.21, 0.02))  # fmt: skip
_FIELD_MARGIN = 1.0
_GAP = 5.0
_SMALL_STEPS = 1.7
_SCENE = Scene()


@dataclass(frozen=True)
class Observation:
    """The files of a simulated observation.

    ``uncal`` are the raw exposures in order of dither and detector; ``references`` the folder of reference files and
    ``files[detector][type]`` their paths; ``catalog`` the true sources (ECSV) and ``reference_stars`` those bright
    enough for an astrometric catalogue; ``truth[name]`` what is true of the exposure of that name.
    """

    folder: Path
    uncal: tuple[Path, ...]
    references: Path
    files: dict[str, dict[str, Path]]
    catalog: Path
    reference_stars: Path
    truth_files: dict[str, Path] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The exposures' names, in the order of ``uncal``: file names up to the suffix."""
        return [path.name.removesuffix("_uncal.fits") for path in self.uncal]

    def truth(self, name: str) -> Truth:
        """What is true of the exposure ``name`` (a file name up to the suffix)."""
        return Truth.read(self.truth_files[name])

    @cached_property
    def sources(self) -> Any:
        """The true sources, an astropy table."""
        from astropy.table import Table

        return Table.read(self.catalog)


def observation(
    folder: str | Path,
    *,
    detectors: Sequence[str] = ("NRCB1", "NRCB2"),
    dithers: int | Sequence[tuple[float, float]] = 4,
    subarray: str = "SUB320",
    size: int | None = None,
    readpatt: str = "SHALLOW4",
    ngroups: int = 6,
    nints: int = 1,
    filter: str = "F200W",
    scene: Scene = _SCENE,
    instrument: Instrument | None = None,
    full_references: bool = False,
    seed: int = 1,
) -> Observation:
    """Simulate an observation into ``folder``: ``uncal/``, ``refs/`` and ``truth/``.

    Parameters
    ----------
    detectors
        Detectors of one instrument, NIRCam's all of the filter's channel; they see the same scene in each dither.
    dithers
        Number of exposures in a pattern made for the field, or their offsets (arcsec along the detectors' x, y).
    subarray, size
        A subarray by name (``FULL``; NIRCam ``SUB640``, ``SUB320``, ``SUB160``, ``SUB400P``, ``SUB160P``, ``SUB64P``;
        those of the others are in ``detectors.py``), or with ``size`` a square of that many pixels in the same place.
    readpatt, ngroups, nints
        Read pattern, groups in an integration, integrations in an exposure.
    filter
        A filter, or a name of ``BANDS`` that disperses light: then detectors see spectra and not the scene.
    scene, instrument
        What is on the sky, and how the detectors behave: by default the instrument's row of ``INSTRUMENTS``.
    full_references
        Make pixel references of the full frame, to be cut, instead of the subarray's own.
    seed
        Everything follows from it: the same arguments give the same files.

    Raises
    ------
    ValueError
        Unknown detector, filter, subarray or read pattern, or a filter of the other channel.
    """
    mode = _Mode(subarray, size, readpatt, ngroups, nints)
    if len({DETECTORS[name].instrument for name in detectors if name in DETECTORS}) > 1:
        raise ValueError(f"{', '.join(detectors)} are detectors of several instruments; give one's")
    views = [_optics(name, filter) for name in detectors]
    cameras = [mode.camera(optics.detector, instrument) for optics in views]
    if views[0].filter.dispersed:
        scene = replace(
            scene, star_density=0.0, bright_density=0.0, galaxy_density=0.0, spiral_density=0.0
        )
    plan = _Plan(tuple(zip(views, cameras, strict=True)), scene, _offsets(dithers, cameras), seed)
    root = Path(folder)
    sources = plan.sources()
    catalog, stars = write_catalogue(root / "truth", sources)
    shared = write_shared_references(root / "refs", views)
    with ThreadPoolExecutor(max_workers=2) as pool:
        jobs = [
            pool.submit(_simulate, root, plan, sources, optics, camera, full_references)
            for optics, camera in plan.cameras
        ]
        done = [job.result() for job in jobs]
    return Observation(
        folder=root,
        uncal=tuple(
            path
            for together in zip(*(part.uncal for part in done), strict=True)
            for path in together
        ),
        references=root / "refs",
        files={
            part.detector: part.files | common for part, common in zip(done, shared, strict=True)
        },
        catalog=catalog,
        reference_stars=stars,
        truth_files={name: path for part in done for name, path in part.truth.items()},
    )


@dataclass(frozen=True)
class _Mode:
    """How detectors are read."""

    subarray: str
    size: int | None
    readpatt: str
    ngroups: int
    nints: int

    def camera(self, detector: Detector, instrument: Instrument | None) -> Camera:
        """A detector as it is read out; a ValueError names the read patterns that it has."""
        known = patterns(detector.instrument)
        if self.readpatt not in known:
            raise ValueError(
                f"unknown read pattern {self.readpatt!r}; known ones: {', '.join(known)}"
            )
        region = subarray(detector, self.subarray, self.size)
        frame_time = detector.frame_time(region, self.readpatt)
        timing = readout(self.readpatt, self.ngroups, self.nints, frame_time)
        return Camera(detector, region, timing, instrument or INSTRUMENTS[detector.instrument])


@dataclass(frozen=True)
class _Plan:
    """What is looked at, with what, and from where."""

    cameras: tuple[tuple[Optics, Camera], ...]
    scene: Scene
    dithers: tuple[Dither, ...]
    seed: int

    @property
    def place(self) -> tuple[float, float]:
        """V2 and V3 (arcsec) of the middle of all subarrays, where the scene's centre falls."""
        points = np.array([o.reference_point(c.region) for o, c in self.cameras])
        return float(points[:, 0].mean()), float(points[:, 1].mean())

    @property
    def target(self) -> tuple[float, float]:
        """RA and Dec of the scene's centre."""
        return self.scene.ra, self.scene.dec

    def sources(self) -> np.ndarray:
        """Sources over all that any exposure sees."""
        middle = self.place
        half = [0.0, 0.0]
        for optics, camera in self.cameras:
            region = camera.region
            x = region.x0 + np.array([0, region.nx, 0, region.nx])
            y = region.y0 + np.array([0, 0, region.ny, region.ny])
            for axis, values in enumerate(optics.to_v2v3(x, y)):
                half[axis] = max(half[axis], float(np.abs(values - middle[axis]).max()))
        width = 2 * (half[0] + max(abs(d.x) for d in self.dithers) + _FIELD_MARGIN)
        height = 2 * (half[1] + max(abs(d.y) for d in self.dithers) + _FIELD_MARGIN)
        return catalogue(self.scene, width, height, self.seed)

    def attitudes(self, dither: Dither, instrument: Instrument) -> tuple[np.ndarray, np.ndarray]:
        """The attitude that the header tells of, and the true one, which errs a little."""
        told = commanded_attitude(self.target, self.scene.roll, self.place, dither)
        rng = generator(self.seed, "pointing", dither.number)
        point = pointing_at(told, *self.place)
        error = rng.normal(0.0, instrument.pointing_error_mas / 3.6e6, 2)
        roll = rng.normal(0.0, instrument.roll_error_arcsec / 3600.0)
        ra = point.ra + error[0] / math.cos(math.radians(point.dec))
        erring = Pointing(ra, point.dec + error[1], point.roll + roll, point.v2, point.v3)
        return told, attitude(erring)


def _offsets(
    dithers: int | Sequence[tuple[float, float]], cameras: Sequence[Camera]
) -> tuple[Dither, ...]:
    """The dither pattern: as given, or wide enough to close the gap between detectors where there are several."""
    if not isinstance(dithers, int):
        pattern = [(float(x), float(y)) for x, y in dithers]
    elif 1 <= dithers <= len(_PATTERN):
        wide, high = (_spread(axis, cameras) for axis in (0, 1))
        pattern = [(x * wide, y * high) for x, y in _PATTERN[:dithers]]
    else:
        raise ValueError(f"{dithers} dithers asked for; give 1 to {len(_PATTERN)}, or the offsets")
    return tuple(Dither(k + 1, len(pattern), x, y) for k, (x, y) in enumerate(pattern))


def _spread(axis: int, cameras: Sequence[Camera]) -> float:
    """How far apart (arcsec) dithers go along an axis: over the gap if detectors lie on both sides of it."""
    side = cameras[0].region.nx * cameras[0].detector.pixel_scale
    places = [camera.detector.centre[axis] for camera in cameras]
    gap = _GAP if max(places) - min(places) > side / 2 else _SMALL_STEPS
    return min(gap, 0.4 * side)


@dataclass(frozen=True)
class _Part:
    """The files of one detector."""

    detector: str
    files: dict[str, Path]
    uncal: list[Path]
    truth: dict[str, Path]


def _simulate(
    root: Path, plan: _Plan, sources: np.ndarray, optics: Optics, camera: Camera, full: bool
) -> _Part:
    """Write references, raw files and truth of one detector."""
    true = pixels(optics, camera.region, camera.instrument)
    files = write_references(root / "refs", optics, camera, true, full=full)
    part = _Part(camera.detector.name, files, [], {})
    view = View(optics, camera.region, sources, {})
    for dither in plan.dithers:
        told, actual = plan.attitudes(dither, camera.instrument)
        shot = Shot(camera, optics, dither, told, plan.target)
        places = view.positions(actual, camera.instrument.velocity_aberration, shot.pointing)
        rate = _rate(view, true, plan, actual, places)
        raw = expose(rate, true, camera, plan.seed, shot.name)
        part.uncal.append(write_uncal(root / "uncal", shot, raw))
        known = _truth(camera, raw, rate, places, told, actual)
        part.truth[shot.name] = write_truth(root / "truth", shot.name, known)
    return part


def _truth(
    camera: Camera,
    raw: Raw,
    rate: np.ndarray,
    places: np.ndarray,
    told: np.ndarray,
    actual: np.ndarray,
) -> Truth:
    timing = camera.timing
    return Truth(
        rate=rate,
        hits=raw.hits,
        snowballs=raw.snowballs,
        showers=raw.showers,
        x=places[0],
        y=places[1],
        commanded=told,
        true=actual,
        nframes=timing.nframes,
        stride=timing.stride,
        seconds=timing.frames * timing.frame_time,
    )


def _rate(
    view: View, true: Pixels, plan: _Plan, actual: np.ndarray, places: np.ndarray
) -> np.ndarray:
    """Count rate (ny, nx) of the light, DN/s.

    ``response`` is to uniform light and so holds the pixels' area; a source's light does not spread with the area.
    """
    optics = view.optics
    if optics.filter.dispersed:
        light = spectra(optics.detector, view.region, plan.seed)
        return np.asarray(true.response * light, np.float32)
    per_jansky = 1e-6 / (optics.filter.photmjsr * optics.detector.pixel_area_sr)
    stars = view.light(actual, places) * (per_jansky / true.area)
    sky = plan.scene.background / optics.filter.photmjsr
    return (true.response * (sky + stars)).astype(np.float32)


def references(
    folder: str | Path,
    *,
    detector: str,
    subarray: str,
    readpatt: str,
    ngroups: int,
    nints: int = 1,
    size: int | None = None,
    filter: str,
    instrument: Instrument | None = None,
    bias: np.ndarray | None = None,
) -> dict[str, Path]:
    """Write the reference files of a detector into ``folder``, without any exposure; paths by type.

    They are those of an exposure with these arguments, by ``observation``, and fit any of the same shape. ``bias``
    (ny, nx; DN) takes the place of the simulated one, where another's exposure has its own.
    """
    optics = _optics(detector, filter)
    mode = _Mode(subarray, size, readpatt, ngroups, nints)
    camera = mode.camera(optics.detector, instrument)
    true = pixels(optics, camera.region, camera.instrument)
    if bias is not None:
        true = replace(true, bias=np.asarray(bias, np.float32))
    return write_references(Path(folder), optics, camera, true, full=False)


def _optics(name: str, band: str) -> Optics:
    if name not in DETECTORS:
        raise ValueError(f"unknown detector {name!r}; known ones: {', '.join(DETECTORS)}")
    detector = DETECTORS[name]
    bands = BANDS[detector.instrument]
    if band not in bands:
        raise ValueError(f"unknown filter {band!r}; known ones: {', '.join(bands)}")
    chosen = bands[band]
    if detector.channel != chosen.channel:
        fitting = [f.name for f in bands.values() if f.channel == detector.channel]
        raise ValueError(
            f"{name} does not see through {band}; its filters are {', '.join(fitting)}"
        )
    return Optics(detector, chosen)
