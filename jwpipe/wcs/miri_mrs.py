"""The WCS of MIRI's medium-resolution spectrometer: detector -> alpha_beta -> v2v3 -> v2v3vacorr -> world.

=========== ======================== ======================================================================
frame       axes                     how the light gets there
=========== ======================== ======================================================================
detector    x, y                     pixels, counted from 0; a map tells which slice of which channel each is in
alpha_beta  alpha, beta, wavelength  arcsec along the slice and across the slices of its channel, micron
v2v3        v2, v3, wavelength       arcsec; the two channels of a detector see the sky in different places
v2v3vacorr  v2, v3, wavelength       the same, free from velocity aberration
world       RA, Dec, wavelength      degrees, micron
=========== ======================== ======================================================================

Backwards the wavelength tells the channel, and beta the slice. Pixels between the slices have no coordinates. All bands
are alike, those with the two channels in different ones (SHORT-MEDIUM and so on) too: the references are of the band.
"""

from __future__ import annotations

from collections.abc import Mapping as MappingType
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from astropy.modeling import Model
from astropy.modeling.models import Const1D, Identity, Mapping
from gwcs import WCS
from gwcs.selector import LabelMapper, LabelMapperArray, LabelMapperRange, RegionsSelector
from stdatamodels.jwst.transforms.models import MIRI_AB2Slice

from jwpipe.exposure import ExposureError, Header, header
from jwpipe.refs import References
from jwpipe.wcs.fitswcs import polygon
from jwpipe.wcs.modes import Solution
from jwpipe.wcs.spectra import (
    KEYWORDS,
    from_telescope,
    pixels,
    slit,
    to_barycentre,
    tree_of,
    wavelength,
)

THROUGHPUT_PLANE = 7
"""The plane of the ``regions`` reference that holds the slices' pixels with more than 80 % of the light."""

DISTORTION = [
    "alpha_model",
    "beta_model",
    "x_model",
    "y_model",
    "abv2v3_model",
    "bzero",
    "bdel",
    "slices",
]
COORDINATES = ("alpha", "beta", "lam")


@dataclass(frozen=True, eq=False)
class Channel:
    """One of the two channels of a detector, in the band of the exposure.

    ``range`` (first, last) are its wavelengths in micron, ``first`` and ``step`` the beta of its first slice and from
    one slice to the next (arcsec), ``to_telescope`` goes from alpha, beta to V2, V3 (arcsec).
    """

    number: int
    range: tuple[float, float]
    first: float
    step: float
    to_telescope: Model


@dataclass(frozen=True, eq=False)
class Slices:
    """The slices on a detector: their channels, their transforms by label, and the label of each pixel.

    Labels are 100 times the channel and the number of the slice, from 1; ``regions`` (ny, nx) is 0 between slices.
    """

    channels: list[Channel]
    transforms: dict[int, Model]
    regions: np.ndarray


def build(exposure: xr.Dataset, references: References, params: object) -> Solution:
    """The WCS of an exposure with the spectrometer, and its S_REGION.

    Raises
    ------
    ExposureError
        For pointing keywords that are missing or not finite, channels and bands that there are not, and references
        that are missing, of another mode, band or shape.
    """
    keywords = header(exposure)
    shape = (exposure.sizes["y"], exposure.sizes["x"])
    slices = read_slices(keywords, references, shape)
    wcs = mrs_wcs(keywords, slices)
    region = footprint(wcs, slices.regions)
    return Solution(wcs, sci=KEYWORDS | ({} if region is None else {"S_REGION": region}))


def mrs_wcs(header: Header, slices: Slices) -> WCS:
    """The WCS over all slices of an exposure."""
    spectral = wavelength("spectral")
    wcs = WCS(
        [
            (pixels(), _to_slices(slices)),
            (slit(), _to_telescope(slices.channels)),
            *from_telescope(header, spectral),
        ]
    )
    ny, nx = slices.regions.shape
    wcs.bounding_box = (-0.5, nx - 0.5), (-0.5, ny - 0.5)
    return wcs


def read_slices(header: Header, references: References, shape: tuple[int, int]) -> Slices:
    """Read the slices that fall on the detector of an exposure of ``shape`` (ny, nx)."""
    distortion = tree_of(references, "distortion", header, DISTORTION)
    waves = tree_of(references, "specwcs", header, ["model"])["model"]
    ranges = tree_of(
        references, "wavelengthrange", header, ["waverange_selector", "wavelengthrange"]
    )
    limits = dict(zip(ranges["waverange_selector"], ranges["wavelengthrange"], strict=True))
    channels = [_channel(name, distortion, limits, header) for name in channel_bands(header)]
    regions = tree_of(references, "regions", header, ["regions"])["regions"]
    labels = distortion["slices"]
    if len(waves) != len(labels):
        raise ExposureError(
            f"{header.filename}: assign_wcs: the specwcs reference has {len(waves)} slices, the distortion reference "
            f"{len(labels)}; give references of the same detector"
        )
    return Slices(
        channels,
        dict(zip(labels, _slice_transforms(distortion, waves, header), strict=True)),
        _labels(regions, shape, header),
    )


def channel_bands(header: Header) -> list[str]:
    """The names of the detector's channels in the references: ``1SHORT``, ``2SHORT-MEDIUM`` and so on.

    Raises
    ------
    ExposureError
        Where CHANNEL is not one or two of 1 to 4.
    """
    channels, band = str(header["CHANNEL"]).strip(), str(header["BAND"]).strip()
    if channels not in ("1", "2", "3", "4", "12", "34"):
        raise ExposureError(
            f"{header.filename}: assign_wcs: CHANNEL is {channels!r}, expected 12 (MIRIFUSHORT) or 34 (MIRIFULONG); "
            "correct the keyword"
        )
    return [channel + band for channel in channels]


def _channel(
    name: str, distortion: MappingType[str, Any], limits: MappingType[str, Any], header: Header
) -> Channel:
    """Find a channel in the references by its name."""
    tables = {key: distortion[key] for key in ("abv2v3_model", "bzero", "bdel")}
    columns = {"abv2v3_model": "model", "bzero": "beta_zero", "bdel": "delta_beta"}
    found = {
        key: dict(zip(table["channel_band"], table[columns[key]], strict=True))
        for key, table in tables.items()
    }
    known = set(limits).intersection(*found.values())
    if name not in known:
        raise ExposureError(
            f"{header.filename}: assign_wcs: no channel and band {name} (CHANNEL, BAND) in the distortion and "
            f"wavelengthrange references, which have {', '.join(sorted(known)) or 'none in common'}; "
            "correct the keywords, or give the references of this band"
        )
    first, last = limits[name]
    return Channel(
        int(name[0]),
        (first, last),
        found["bzero"][name],
        found["bdel"][name],
        found["abv2v3_model"][name],
    )


def _slice_transforms(
    distortion: MappingType[str, Any], waves: list[Model], header: Header
) -> list[Model]:
    """(x, y) -> (alpha, beta, wavelength) of each slice, and back. The polynomials want the row first.

    As in jwst 3.0.0 the way back does not undo the correction for the radial velocity: rows are off by the wavelength's
    Doppler shift, 0.25 pixels for 12 km/s.
    """
    velocity = to_barycentre(header)
    names = ("alpha_model", "beta_model", "x_model", "y_model")
    transforms = []
    for alpha, beta, x, y, wave in zip(*(distortion[name] for name in names), waves, strict=True):
        lam = wave if velocity is None else wave | velocity
        model = Mapping((1, 0, 0, 1, 0)) | alpha & beta & lam
        model.inverse = Mapping((2, 0, 2, 0)) | x & y
        transforms.append(model)
    return transforms


def _labels(regions: np.ndarray, shape: tuple[int, int], header: Header) -> np.ndarray:
    """The slice of each pixel. Older references hold that map alone, newer ones one for each throughput."""
    plane = regions[THROUGHPUT_PLANE] if regions.ndim == 3 else regions
    if plane.shape != shape:
        raise ExposureError(
            f"{header.filename}: assign_wcs: the regions reference has {plane.shape[0]} x {plane.shape[1]} pixels, the "
            f"exposure {shape[0]} x {shape[1]}; the spectrometer is read in full: give exposure and reference so"
        )
    return np.ascontiguousarray(plane, dtype=np.int16)


def _to_slices(slices: Slices) -> RegionsSelector:
    """(x, y) -> (alpha, beta, wavelength), by the slice; and back, by the channel's slice that beta is in."""
    labels = LabelMapperArray(slices.regions)
    labels.inverse = LabelMapperRange(
        COORDINATES,
        {channel.range: _slice_of(channel) for channel in slices.channels},
        Mapping((2,)),
    )
    return RegionsSelector(
        ("x", "y"),
        COORDINATES,
        label_mapper=labels,
        selector=slices.transforms,
        name="detector_to_abl",
    )


def _slice_of(channel: Channel) -> LabelMapper:
    return LabelMapper(
        inputs=COORDINATES,
        mapper=MIRI_AB2Slice(channel.first, channel.step, channel.number),
        inputs_mapping=Mapping((1,), n_inputs=3),
    )


def _to_telescope(channels: list[Channel]) -> RegionsSelector:
    """(alpha, beta, wavelength) -> (v2, v3, wavelength), by the channel that the wavelength is in; and back."""
    numbers = {
        channel.range: Mapping((2,), name="mapping_lam") | Const1D(channel.number, name="channel #")
        for channel in channels
    }
    by_wavelength = LabelMapperRange(COORDINATES, numbers, inputs_mapping=Mapping((2,)))
    by_wavelength.inverse = by_wavelength.copy()
    return RegionsSelector(
        COORDINATES,
        ("v2", "v3", "lam"),
        label_mapper=by_wavelength,
        selector={channel.number: channel.to_telescope & Identity(1) for channel in channels},
        name="abl_to_v2v3l",
    )


def footprint(wcs: WCS, regions: np.ndarray) -> str | None:
    """S_REGION: the limits in right ascension and declination of all slices.

    In a slice the sky runs one way along a row, so the ends of the rows hold the limits. ``None`` where no pixel is in
    a slice, or the transform fails.
    """
    edge = np.diff(regions, axis=1, prepend=0, append=0) != 0
    ends = (edge[:, :-1] | edge[:, 1:]) & (regions != 0)
    rows, columns = np.nonzero(ends)
    ra, dec, _ = wcs(columns.astype(float), rows.astype(float))
    ra, dec = ra[np.isfinite(ra)], dec[np.isfinite(dec)]
    if not ra.size:
        return None
    # All are brought to the same side of 0 h.
    ra = ra - 360 * np.round((ra - ra[0]) / 360)
    west, east, south, north = ra.min(), ra.max(), dec.min(), dec.max()
    return polygon(np.array([[west, south], [east, south], [east, north], [west, north]]))
