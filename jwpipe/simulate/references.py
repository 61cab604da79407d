"""Reference files that match the simulated detectors, in the formats of the calibration reference data system.

They hold the truth, except that a few pixels of each are marked as not known, as in real files. Pixel references
are cut to the subarray, or cover the full frame; the dark is always of the subarray and the area never.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jwpipe.dq import Pixel
from jwpipe.simulate import fitsfile
from jwpipe.simulate.geometry import Optics, distortion_model
from jwpipe.simulate.instruments import FILTERS, Instrument, Readout, Subarray, subarray
from jwpipe.simulate.optics import mosaic_apertures
from jwpipe.simulate.pixels import Pixels, fields, pixels
from jwpipe.simulate.readout import reset_settling

USEAFTER = "2022-01-01T00:00:00"
_SPARE_DARK_FRAMES = 4
_THRESHOLD = 0.97


@dataclass(frozen=True)
class _Kit:
    """What the reference files of one detector are made from; ``full`` asks for full-frame ones."""

    folder: Path
    optics: Optics
    instrument: Instrument
    region: Subarray
    timing: Readout
    full: bool

    @property
    def covered(self) -> Subarray:
        """The part of the detector that pixel references cover."""
        return subarray(self.optics.detector, "FULL") if self.full else self.region

    def path(self, kind: str, suffix: str = "fits") -> Path:
        """The name of the file of type ``kind``."""
        return self.folder / f"jwst_nircam_{kind}_{self.optics.detector.name.lower()}.{suffix}"

    def odd(self, kind: str) -> np.ndarray:
        """The few pixels that the file of type ``kind`` does not know, boolean (ny, nx)."""
        lot = fields(self.optics.detector.name, self.covered).uniform(f"odd {kind}")
        return lot < self.instrument.odd_reference_fraction

    def keywords(self, kind: str, model: str, *groups: dict[str, Any]) -> dict[str, Any]:
        """The primary header of the file of type ``kind``."""
        detector = self.optics.detector
        words = {
            "DATE": fitsfile.now(),
            "FILENAME": self.path(kind).name,
            "DATAMODL": model,
            "TELESCOP": "JWST",
            "REFTYPE": kind.upper(),
            "PEDIGREE": "SIMULATION",
            "DESCRIP": f"{kind} of the simulated {detector.name}",
            "AUTHOR": "jwpipe",
            "USEAFTER": USEAFTER,
            "INSTRUME": "NIRCAM",
            "DETECTOR": detector.name,
            "MODULE": detector.module,
            "CHANNEL": detector.channel,
        }
        for group in groups:
            words |= group
        return words

    def place(self, region: Subarray | None = None) -> dict[str, Any]:
        """Keywords that say which pixels a file covers; a full-frame one serves any subarray."""
        region = region or self.covered
        detector = self.optics.detector
        return {
            "SUBARRAY": region.name if region.name != "FULL" else "GENERIC",
            "SUBSTRT1": region.x0 + 1,
            "SUBSTRT2": region.y0 + 1,
            "SUBSIZE1": region.nx,
            "SUBSIZE2": region.ny,
            "FASTAXIS": detector.fast_axis,
            "SLOWAXIS": detector.slow_axis,
        }

    def meta(self, kind: str, model: str, **more: Any) -> dict[str, Any]:
        """The ``meta`` tree of an ASDF reference."""
        detector = self.optics.detector
        return {
            "author": "jwpipe",
            "date": fitsfile.now(),
            "description": f"{kind} of the simulated {detector.name}",
            "exposure": {"type": "NRC_IMAGE", "p_exptype": "NRC_IMAGE|"},
            "filename": self.path(kind, "asdf").name,
            "instrument": {
                "name": "NIRCAM",
                "detector": detector.name,
                "channel": detector.channel,
                "module": detector.module,
            },
            "model_type": model,
            "pedigree": "SIMULATION",
            "reftype": kind,
            "telescope": "JWST",
            "useafter": USEAFTER,
            **more,
        }


def write_references(
    folder: Path,
    optics: Optics,
    instrument: Instrument,
    region: Subarray,
    timing: Readout,
    *,
    full: bool,
) -> dict[str, Path]:
    """Write the reference files of one detector into ``folder``; gives the path of each reference type.

    With ``full`` the pixel references cover the full frame, except the dark, which is never cut.
    """
    kit = _Kit(folder, optics, instrument, region, timing, full)
    true = pixels(optics, kit.covered, instrument)
    of_pixels: dict[str, Callable[[_Kit, Pixels], Path]] = {
        "mask": _mask, "saturation": _saturation, "superbias": _superbias, "linearity": _linearity,
        "gain": _gain, "readnoise": _readnoise, "flat": _flat,
    }  # fmt: skip
    of_optics: dict[str, Callable[[_Kit], Path]] = {
        "photom": _photom, "area": _area, "distortion": _distortion, "filteroffset": _filteroffset,
        "apcorr": _apcorr, "abvegaoffset": _abvegaoffset,
    }  # fmt: skip
    if instrument.ipc > 0:
        of_optics["ipc"] = _ipc
    paths = {kind: make(kit, true) for kind, make in of_pixels.items()}
    paths |= {kind: make(kit) for kind, make in of_optics.items()}
    read = true if not full else pixels(optics, region, instrument)
    return paths | {"dark": _dark(kit, read)}


def _mask(kit: _Kit, true: Pixels) -> Path:
    head = fitsfile.primary(kit.keywords("mask", "MaskModel", kit.place()))
    names = ("DO_NOT_USE", "DEAD", "HOT", "WARM", "REFERENCE_PIXEL")
    return fitsfile.write(kit.path("mask"), [head, *fitsfile.flags(true.dq, names)])


def _unknown(kit: _Kit, kind: str, true: Pixels, flag: Pixel) -> tuple[np.ndarray, np.ndarray]:
    """The pixels that the file does not know, and their flags."""
    odd = kit.odd(kind) & true.sensitive
    return odd, np.where(odd, np.uint32(flag), np.uint32(0))


def _saturation(kit: _Kit, true: Pixels) -> Path:
    odd, dq = _unknown(kit, "saturation", true, Pixel.NO_SAT_CHECK)
    threshold = np.where(odd, np.nan, true.bias + _THRESHOLD * true.well).astype(np.float32)
    head = fitsfile.primary(kit.keywords("saturation", "SaturationModel", kit.place()))
    marks = fitsfile.flags(dq, ("DO_NOT_USE", "NO_SAT_CHECK"))
    return fitsfile.write(kit.path("saturation"), [head, fitsfile.image("SCI", threshold), *marks])


def _superbias(kit: _Kit, true: Pixels) -> Path:
    odd, dq = _unknown(kit, "superbias", true, Pixel.UNRELIABLE_BIAS)
    bias = np.where(odd, np.nan, true.bias).astype(np.float32)
    words = kit.keywords("superbias", "SuperBiasModel", kit.place(), {"READPATT": "ANY"})
    error = np.full(bias.shape, 0.5, np.float32)
    marks, meaning = fitsfile.flags(dq, ("DO_NOT_USE", "UNRELIABLE_BIAS"))
    parts = [fitsfile.image("SCI", bias), marks, fitsfile.image("ERR", error), meaning]
    return fitsfile.write(kit.path("superbias"), [fitsfile.primary(words), *parts])


def _linearity(kit: _Kit, true: Pixels) -> Path:
    odd, dq = _unknown(kit, "linearity", true, Pixel.NO_LIN_CORR)
    coefficients = true.coefficients()
    coefficients[:, odd] = np.nan
    head = fitsfile.primary(kit.keywords("linearity", "LinearityModel", kit.place()))
    marks = fitsfile.flags(dq, ("DO_NOT_USE", "NO_LIN_CORR"))
    parts = [fitsfile.image("COEFFS", coefficients.astype(np.float32)), *marks]
    return fitsfile.write(kit.path("linearity"), [head, *parts])


def _gain(kit: _Kit, true: Pixels) -> Path:
    gain = np.where(kit.odd("gain") & true.sensitive, np.nan, true.gain).astype(np.float32)
    head = fitsfile.primary(kit.keywords("gain", "GainModel", kit.place()))
    return fitsfile.write(kit.path("gain"), [head, fitsfile.image("SCI", gain)])


def _readnoise(kit: _Kit, true: Pixels) -> Path:
    """Noise of the difference of two frames, the 1/f noise included, as it comes out of dark exposures."""
    single = np.hypot(true.read_noise, kit.instrument.one_over_f)
    noise = (2.0**0.5 * single).astype(np.float32)
    words = kit.keywords("readnoise", "ReadnoiseModel", kit.place(), {"READPATT": "ANY"})
    return fitsfile.write(
        kit.path("readnoise"), [fitsfile.primary(words), fitsfile.image("SCI", noise)]
    )


def _flat(kit: _Kit, true: Pixels) -> Path:
    _, dq = _unknown(kit, "flat", true, Pixel.UNRELIABLE_FLAT)
    blind = ~true.sensitive | (true.response <= 0)
    dq[blind] |= np.uint32(Pixel.NO_FLAT_FIELD | Pixel.DO_NOT_USE)
    flat = np.where(blind, np.nan, true.response).astype(np.float32)
    where = {"FILTER": kit.optics.filter.name, "PUPIL": "CLEAR"}
    words = kit.keywords("flat", "FlatModel", where, kit.place())
    error = np.full(flat.shape, 5e-4, np.float32)
    marks, meaning = fitsfile.flags(dq, ("DO_NOT_USE", "NO_FLAT_FIELD", "UNRELIABLE_FLAT"))
    parts = [fitsfile.image("SCI", flat), marks, fitsfile.image("ERR", error), meaning]
    return fitsfile.write(kit.path("flat"), [fitsfile.primary(words), *parts])


def _dark(kit: _Kit, read: Pixels) -> Path:
    timing = kit.timing
    frames = timing.stride * timing.ngroups + _SPARE_DARK_FRAMES
    step = timing.frame_time
    average = float((read.dark * read.gain)[read.sensitive].mean())
    pattern = {"READPATT": "ANY", "NOUTPUTS": kit.region.outputs, "EXP_TYPE": "NRC_DARK"}
    pattern |= {"P_EXP_TY": "NRC_IMAGE|NRC_DARK|", "NFRAMES": 1, "NGROUPS": frames, "GROUPGAP": 0}
    pattern |= {"TFRAME": step, "TGROUP": step, "AVDRKCUR": average}
    place = kit.place(kit.region) | {"SUBARRAY": kit.region.name}
    head = fitsfile.primary(kit.keywords("dark", "DarkModel", pattern, place))
    hot = np.uint32(Pixel.HOT | Pixel.WARM)
    marks = fitsfile.flags(read.dq & hot, ("DO_NOT_USE", "HOT", "WARM"))
    shape = (frames, kit.region.ny, kit.region.nx)
    planes = _dark_frames(read, frames, step)
    return fitsfile.write_cube(kit.path("dark"), head, "SCI", planes, shape, marks)


def _dark_frames(read: Pixels, frames: int, step: float) -> Iterator[np.ndarray]:
    for frame in range(frames):
        seconds = (frame + 1) * step
        yield read.dark * np.float32(seconds) + read.anomaly * np.float32(reset_settling(seconds))


def _photom(kit: _Kit) -> Path:
    detector = kit.optics.detector
    columns = [("filter", "S12"), ("pupil", "S12"), ("photmjsr", "f4"), ("uncertainty", "f4")]
    rows = [
        (band.name, "CLEAR", band.photmjsr, 0.01 * band.photmjsr)
        for band in FILTERS.values()
        if band.channel == detector.channel
    ]
    words = kit.keywords("photom", "NrcImgPhotomModel", {"EXP_TYPE": "NRC_IMAGE"}, _pixel_area(kit))
    table = fitsfile.table("PHOTOM", np.array(rows, columns))
    return fitsfile.write(kit.path("photom"), [fitsfile.primary(words), table])


def _pixel_area(kit: _Kit) -> dict[str, Any]:
    detector = kit.optics.detector
    return {"PIXAR_SR": detector.pixel_area_sr, "PIXAR_A2": detector.pixel_scale**2}


def _area(kit: _Kit) -> Path:
    frame = subarray(kit.optics.detector, "FULL")
    where = {"EXP_TYPE": "NRC_IMAGE", "FILTER": kit.optics.filter.name, "PUPIL": "CLEAR"}
    words = kit.keywords("area", "PixelAreaModel", where, kit.place(frame), _pixel_area(kit))
    area = fitsfile.image("SCI", kit.optics.relative_area(frame))
    return fitsfile.write(kit.path("area"), [fitsfile.primary(words), area])


def _apcorr(kit: _Kit) -> Path:
    band, scale = kit.optics.filter, kit.optics.detector.pixel_scale
    apertures = mosaic_apertures(band.wavelength, band.bandwidth, scale)
    columns = [("filter", "S12"), ("pupil", "S15")]
    columns += [(name, "f4") for name in ("eefraction", "radius", "apcorr", "skyin", "skyout")]
    sky = apertures.sky_inner, apertures.sky_outer
    found = zip(apertures.fractions, apertures.radii, apertures.corrections, strict=True)
    rows = [(band.name, "CLEAR", *row, *sky) for row in found]
    words = kit.keywords("apcorr", "NrcImgApcorrModel", {"EXP_TYPE": "NRC_IMAGE"})
    table = fitsfile.table("APCORR", np.array(rows, columns))
    return fitsfile.write(kit.path("apcorr"), [fitsfile.primary(words), table])


def _distortion(kit: _Kit) -> Path:
    meta = kit.meta("distortion", "DistortionModel", input_units="pixel", output_units="arcsec")
    meta["instrument"]["p_pupil"] = "CLEAR|"
    tree = {"meta": meta, "model": distortion_model(kit.optics.detector)}
    return fitsfile.write_asdf(kit.path("distortion", "asdf"), tree)


def _filteroffset(kit: _Kit) -> Path:
    filters = [
        {
            "filter": b.name,
            "pupil": "CLEAR",
            "column_offset": b.offset[0],
            "row_offset": b.offset[1],
        }
        for b in FILTERS.values()
        if b.channel == kit.optics.detector.channel
    ]
    tree = {"meta": kit.meta("filteroffset", "FilteroffsetModel"), "filters": filters}
    return fitsfile.write_asdf(kit.path("filteroffset", "asdf"), tree)


def _abvegaoffset(kit: _Kit) -> Path:
    from astropy.table import Table

    bands = list(FILTERS.values())
    offsets = Table(
        {
            "filter": [band.name for band in bands],
            "pupil": ["CLEAR"] * len(bands),
            "abvega_offset": np.array([band.ab_vega for band in bands], np.float32),
        }
    )
    tree = {"meta": kit.meta("abvegaoffset", "ABVegaOffsetModel"), "abvega_offset": offsets}
    return fitsfile.write_asdf(kit.path("abvegaoffset", "asdf"), tree)


def _ipc(kit: _Kit) -> Path:
    """The kernel that undoes the coupling: its inverse in Fourier space, cut to 5 x 5 with sum 1."""
    share, count = kit.instrument.ipc, 64
    wave = np.cos(2 * np.pi * np.fft.fftfreq(count))
    response = 1.0 - 4.0 * share + 2.0 * share * (wave[:, None] + wave)
    undone = np.fft.fftshift(np.fft.ifft2(1.0 / response).real)
    kernel = undone[count // 2 - 2 : count // 2 + 3, count // 2 - 2 : count // 2 + 3]
    kernel = (kernel / kernel.sum()).astype(np.float32)
    head = fitsfile.primary(kit.keywords("ipc", "IPCModel"))
    return fitsfile.write(kit.path("ipc"), [head, fitsfile.image("SCI", kernel)])
