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
from jwpipe.simulate.instruments import FILTERS, Subarray, subarray
from jwpipe.simulate.pixels import Pixels, fields, pixels
from jwpipe.simulate.readout import Camera, reset_settling
from jwpipe.simulate.shared_references import reference_keywords, reference_meta

_SPARE_DARK_FRAMES = 4
_THRESHOLD = 0.97


@dataclass(frozen=True)
class _Kit:
    """What the reference files of one detector are made from; ``full`` asks for full-frame ones."""

    folder: Path
    optics: Optics
    camera: Camera
    full: bool

    @property
    def covered(self) -> Subarray:
        """The part of the detector that pixel references cover."""
        return subarray(self.optics.detector, "FULL") if self.full else self.camera.region

    def path(self, kind: str, suffix: str = "fits") -> Path:
        """The name of the file of type ``kind``."""
        return self.folder / f"jwst_nircam_{kind}_{self.optics.detector.name.lower()}.{suffix}"

    def odd(self, kind: str) -> np.ndarray:
        """The few pixels that the file of type ``kind`` does not know, boolean (ny, nx)."""
        lot = fields(self.optics.detector.name, self.covered).uniform(f"odd {kind}")
        return lot < self.camera.instrument.odd_reference_fraction

    def keywords(self, kind: str, model: str, *groups: dict[str, Any]) -> dict[str, Any]:
        """The primary header of the file of type ``kind``."""
        detector = self.optics.detector
        words = reference_keywords(self.path(kind), kind, model)
        words |= {"DETECTOR": detector.name, "MODULE": detector.module, "CHANNEL": detector.channel}
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


def write_references(
    folder: Path, optics: Optics, camera: Camera, read: Pixels, *, full: bool
) -> dict[str, Path]:
    """Write the reference files of one detector into ``folder``; gives the path of each reference type.

    ``read`` are the pixels that ``camera`` reads. With ``full`` the pixel references cover the full frame, except
    the dark, which is never cut.
    """
    kit = _Kit(folder, optics, camera, full)
    whole = full and camera.region.name != "FULL"
    true = pixels(optics, kit.covered, camera.instrument) if whole else read
    of_pixels: dict[str, Callable[[_Kit, Pixels], Path]] = {
        "mask": _mask, "saturation": _saturation, "superbias": _superbias, "linearity": _linearity,
        "gain": _gain, "readnoise": _readnoise, "flat": _flat,
    }  # fmt: skip
    of_optics: dict[str, Callable[[_Kit], Path]] = {
        "photom": _photom, "area": _area, "distortion": _distortion,
    }  # fmt: skip
    if camera.instrument.ipc > 0:
        of_optics["ipc"] = _ipc
    paths = {kind: make(kit, true) for kind, make in of_pixels.items()}
    paths |= {kind: make(kit) for kind, make in of_optics.items()}
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
    single = np.hypot(true.read_noise, kit.camera.instrument.one_over_f)
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
    timing = kit.camera.timing
    frames = timing.stride * timing.ngroups + _SPARE_DARK_FRAMES
    step = timing.frame_time
    average = float((read.dark * read.gain)[read.sensitive].mean())
    pattern = {"READPATT": "ANY", "NOUTPUTS": kit.camera.region.outputs, "EXP_TYPE": "NRC_DARK"}
    pattern |= {"P_EXP_TY": "NRC_IMAGE|NRC_DARK|", "NFRAMES": 1, "NGROUPS": frames, "GROUPGAP": 0}
    pattern |= {"TFRAME": step, "TGROUP": step, "AVDRKCUR": average}
    place = kit.place(kit.camera.region) | {"SUBARRAY": kit.camera.region.name}
    head = fitsfile.primary(kit.keywords("dark", "DarkModel", pattern, place))
    hot = np.uint32(Pixel.HOT | Pixel.WARM)
    marks = fitsfile.flags(read.dq & hot, ("DO_NOT_USE", "HOT", "WARM"))
    shape = (frames, kit.camera.region.ny, kit.camera.region.nx)
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


def _distortion(kit: _Kit) -> Path:
    path, detector = kit.path("distortion", "asdf"), kit.optics.detector
    units = {"input_units": "pixel", "output_units": "arcsec"}
    meta = reference_meta(path, "distortion", "DistortionModel") | units
    meta["instrument"] |= {"detector": detector.name, "module": detector.module}
    meta["instrument"] |= {"channel": detector.channel, "p_pupil": "CLEAR|"}
    return fitsfile.write_asdf(path, {"meta": meta, "model": distortion_model(detector)})


def _ipc(kit: _Kit) -> Path:
    """The kernel that undoes the coupling: its inverse in Fourier space, cut to 5 x 5 with sum 1."""
    share, count = kit.camera.instrument.ipc, 64
    wave = np.cos(2 * np.pi * np.fft.fftfreq(count))
    response = 1.0 - 4.0 * share + 2.0 * share * (wave[:, None] + wave)
    undone = np.fft.fftshift(np.fft.ifft2(1.0 / response).real)
    kernel = undone[count // 2 - 2 : count // 2 + 3, count // 2 - 2 : count // 2 + 3]
    kernel = (kernel / kernel.sum()).astype(np.float32)
    head = fitsfile.primary(kit.keywords("ipc", "IPCModel"))
    return fitsfile.write(kit.path("ipc"), [head, fitsfile.image("SCI", kernel)])
