"""What a pipeline recovered of a simulated observation, against the truth.

Every function takes the observation and products as they are read back, whoever made them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from jwpipe.dq import Pixel

if TYPE_CHECKING:
    import xarray as xr

    from jwpipe.simulate.observation import Observation
    from jwpipe.simulate.truth import Truth

_MATCH_ARCSEC = 0.1
_ALONE_ARCSEC = 0.9
_EDGE_PIXELS = 6
_SATURATING_DN = 40000.0
_SURE_HIT = 8.0
_TOUCHED = 2


@dataclass(frozen=True)
class RateRecovery:
    """Count rates and cosmic rays of all exposures.

    ``pull_median`` and ``pull_width`` are of (rate - truth) / error over clean pixels; ``bright_bias`` is that of the
    summed light of pixels brighter than 3 DN/s; ``hits`` pixels were struck hard enough to be sure, ``found`` is the
    share of them that is flagged, ``false`` the share of unstruck pixels that is.
    """

    pixels: int
    pull_median: float
    pull_width: float
    bright_bias: float
    hits: int
    found: float
    false: float


@dataclass(frozen=True, eq=False)
class StarRecovery:
    """The stars of a mosaic and its catalogue.

    For the stars that are matched, unsaturated and alone: ``magnitude``, ``ratio`` of measured to true flux and
    ``error`` of that ratio; ``offset`` (2, n) is their place less the true one, mas east and north. ``expected`` holds
    the magnitudes of all stars the mosaic covers and ``found`` which of them are listed. ``spurious`` counts entries
    at no true source's place.
    """

    magnitude: np.ndarray
    ratio: np.ndarray
    error: np.ndarray
    offset: np.ndarray
    expected: np.ndarray
    found: np.ndarray
    entries: int
    spurious: int

    @property
    def pointing(self) -> np.ndarray:
        """The offset common to all stars, mas: the pointing error of the exposure that the others align to."""
        return np.median(self.offset, axis=1)

    @property
    def scatter_mas(self) -> float:
        """Robust scatter of places along one axis, mas, the common offset apart."""
        return spread(self.offset - self.pointing[:, None])

    @property
    def bias(self) -> float:
        """Median of measured over true flux, less one."""
        return float(np.median(self.ratio)) - 1.0

    def completeness(self, faint: float = np.inf) -> float:
        """Share of the covered stars brighter than ``faint`` that are listed."""
        wanted = self.expected < faint
        return float(self.found[wanted].mean()) if wanted.any() else float("nan")


def spread(values: np.ndarray) -> float:
    """Standard deviation from the median absolute deviation."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def rate_recovery(observation: Observation, rates: Mapping[str, xr.Dataset]) -> RateRecovery:
    """Compare count rates (by exposure name) with the truth."""
    pulls, bright, struck, flagged_clean = [], [], [], []
    for name, product in rates.items():
        truth = observation.truth(name)
        rate, error, dq = (np.asarray(product[key].data) for key in ("sci", "err", "dq"))
        usable = np.isfinite(rate) & (error > 0) & ((dq & _UNFIT) == 0)
        clean = usable & ((dq & _EVENTFUL) == 0)
        pulls.append(((rate - truth.rate) / error)[clean])
        light = clean & (truth.rate > 3.0)
        bright.append((rate[light].sum(dtype=float), truth.rate[light].sum(dtype=float)))
        sure, untouched = _hit_maps(truth, error)
        jump = (dq & np.uint32(Pixel.JUMP_DET)) > 0
        struck.append(jump[sure & usable])
        flagged_clean.append(jump[untouched & usable])
    pull, hits, false = (np.concatenate(parts) for parts in (pulls, struck, flagged_clean))
    measured, true = np.sum(bright, axis=0)
    return RateRecovery(
        pixels=pull.size,
        pull_median=float(np.median(pull)),
        pull_width=spread(pull),
        bright_bias=float(measured / true - 1.0),
        hits=hits.size,
        found=float(hits.mean()) if hits.size else float("nan"),
        false=float(false.mean()),
    )


_UNFIT = np.uint32(
    Pixel.DO_NOT_USE | Pixel.REFERENCE_PIXEL | Pixel.HOT | Pixel.WARM | Pixel.NO_GAIN_VALUE
)
_EVENTFUL = np.uint32(Pixel.JUMP_DET | Pixel.SATURATED)


def _hit_maps(truth: Truth, error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels struck by far more than their noise while being watched, and pixels with no hit near."""
    from scipy.ndimage import binary_dilation

    shape = truth.rate.shape
    charge = np.zeros(shape)
    # a hit before the first group has ended leaves no step to see
    late = truth.hit_groups() > 0
    np.add.at(charge, (truth.hits["y"][late], truth.hits["x"][late]), truth.hits["electrons"][late])
    noise = error * truth.seconds
    anywhere = np.zeros(shape, bool)
    anywhere[truth.hits["y"], truth.hits["x"]] = True
    for ball in truth.snowballs:
        y, x = np.ogrid[: shape[0], : shape[1]]
        anywhere |= np.hypot(y - ball["y"], x - ball["x"]) < 2 * ball["halo"]
    return charge > _SURE_HIT * 2 * noise, ~binary_dilation(anywhere, iterations=_TOUCHED)


def star_recovery(observation: Observation, mosaic: xr.Dataset, catalog: Any) -> StarRecovery:
    """Compare a catalogue (a table with ``sky_centroid`` and ``aper_total_flux``) and its mosaic with the truth."""
    sources = observation.sources
    true = _plane(np.asarray(sources["ra"]), np.asarray(sources["dec"]), sources)
    sky = catalog["sky_centroid"]
    listed = _plane(np.asarray(sky.ra.deg), np.asarray(sky.dec.deg), sources)
    nearest, distance = _nearest(true, listed)
    star = np.asarray(sources["star"], bool)
    covered = star & _covered(mosaic, sources)
    match = distance < _MATCH_ARCSEC
    flux, error = (np.asarray(catalog[name], float) for name in _FLUX)
    alone = _nearest(true, true, second=True)[1] > _ALONE_ARCSEC
    chosen = covered & match & alone & ~_saturating(observation) & np.isfinite(flux[nearest])
    expected_flux = np.asarray(sources["flux_jy"])[chosen]
    back = _nearest(listed, true)[1] < 3 * _MATCH_ARCSEC
    return StarRecovery(
        magnitude=np.asarray(sources["abmag"])[chosen],
        ratio=flux[nearest[chosen]] / expected_flux,
        error=error[nearest[chosen]] / expected_flux,
        offset=(listed[nearest[chosen]] - true[chosen]).T * 1e3,
        expected=np.asarray(sources["abmag"])[covered],
        found=match[covered],
        entries=len(catalog),
        spurious=int(np.sum(~back)),
    )


_FLUX = ("aper_total_flux", "aper_total_flux_err")


def _plane(ra: np.ndarray, dec: np.ndarray, sources: Any) -> np.ndarray:
    """Offsets (n, 2) east and north of the middle of the true sources, arcsec."""
    ra0, dec0 = float(np.mean(sources["ra"])), float(np.mean(sources["dec"]))
    east = (ra - ra0) * np.cos(np.radians(dec0))
    return np.stack([east, dec - dec0], axis=1) * 3600.0


def _nearest(
    places: np.ndarray, among: np.ndarray, *, second: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Index and distance of the nearest of ``among``, or the nearest but itself."""
    from scipy.spatial import cKDTree

    distance, index = cKDTree(among).query(places, k=2 if second else 1)
    return (index[:, 1], distance[:, 1]) if second else (index, distance)


def _covered(mosaic: xr.Dataset, sources: Any) -> np.ndarray:
    """Sources with data all around them on the mosaic."""
    from scipy.ndimage import binary_erosion

    good = binary_erosion(np.isfinite(np.asarray(mosaic["sci"].data)), iterations=_EDGE_PIXELS)
    x, y = mosaic_pixels(mosaic, sources["ra"], sources["dec"])
    inside = (x >= 0) & (y >= 0) & (x < good.shape[1]) & (y < good.shape[0])
    covered = np.zeros(len(x), bool)
    covered[inside] = good[y[inside].astype(int), x[inside].astype(int)]
    return covered


def mosaic_pixels(mosaic: xr.Dataset, ra: Any, dec: Any) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (x, y; rounded) of places on a mosaic, by its WCS."""
    x, y = mosaic.attrs["wcs"].invert(np.asarray(ra), np.asarray(dec), with_bounding_box=False)
    return np.rint(np.nan_to_num(x, nan=-1.0)), np.rint(np.nan_to_num(y, nan=-1.0))


def _saturating(observation: Observation) -> np.ndarray:
    """Sources that fill a pixel in some exposure."""
    saturating = np.zeros(len(observation.sources), bool)
    for name in observation.truth_files:
        truth = observation.truth(name)
        counts = truth.rate * truth.seconds
        x, y = np.rint(truth.x).astype(int), np.rint(truth.y).astype(int)
        inside = (x >= 1) & (y >= 1) & (x < counts.shape[1] - 1) & (y < counts.shape[0] - 1)
        for index in np.flatnonzero(inside):
            near = counts[y[index] - 1 : y[index] + 2, x[index] - 1 : x[index] + 2]
            saturating[index] |= near.max() > _SATURATING_DN
    return saturating


def alignment(observation: Observation, exposures: Mapping[str, xr.Dataset]) -> np.ndarray:
    """Offsets (n, 2) of the exposures' WCS from the true sky at their middle, mas east and north.

    ``exposures`` are aligned ones, by name; what all offsets have in common is the pointing error left over.
    """
    offsets = []
    for name, exposure in exposures.items():
        truth = observation.truth(name)
        ny, nx = truth.rate.shape
        near = np.argsort(np.hypot(truth.x - nx / 2, truth.y - ny / 2))[:5]
        ra, dec = exposure.attrs["wcs"](truth.x[near], truth.y[near], with_bounding_box=False)
        sources = observation.sources[near]
        east = (ra - sources["ra"]) * np.cos(np.radians(np.asarray(sources["dec"])))
        offsets.append([np.mean(east) * 3.6e6, np.mean(dec - sources["dec"]) * 3.6e6])
    return np.asarray(offsets)
