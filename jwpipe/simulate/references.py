"""Reference files that match the simulated detectors, in the formats of the calibration reference data system.

They hold the truth, except that a few pixels of each are marked as not known, as in real files. Pixel references
are cut to the subarray, or cover the full frame; the dark is always of the subarray and the area never.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jwpipe.dq import Pixel
from jwpipe.simulate import fitsfile
from jwpipe.simulate.camera import Camera
from jwpipe.simulate.detectors import subarray
from jwpipe.simulate.geometry import Optics, distortion_model
from jwpipe.simulate.instruments import BANDS, Filter
from jwpipe.simulate.pixels import Pixels, pixels
from jwpipe.simulate.readout import reset_settling
from jwpipe.simulate.reference_kit import Kit
from jwpipe.simulate.shared_references import reference_meta
from jwpipe.simulate.special_references import irs2_filters, miri_references

_SPARE_DARK_FRAMES = 4
_THRESHOLD = 0.97
_IRS2_LEAVES = 0.4


def write_references(
    folder: Path, optics: Optics, camera: Camera, read: Pixels, *, full: bool
) -> dict[str, Path]:
    """Write the reference files of one detector into ``folder``; gives the path of each reference type.

    ``read`` are the pixels that ``camera`` reads. With ``full`` the pixel references cover the full frame, except
    the dark, which is never cut.
    """
    kit = Kit(folder, optics, camera, full)
    whole = full and camera.region.name != "FULL"
    true = pixels(optics, kit.covered, camera.instrument) if whole else read
    of_pixels: dict[str, Callable[[Kit, Pixels], Path]] = {
        "mask": _mask, "saturation": _saturation, "linearity": _linearity, "gain": _gain, "readnoise": _readnoise,
    }  # fmt: skip
    of_optics: dict[str, Callable[[Kit], Path]] = {"distortion": _distortion}
    if not optics.filter.dispersed:
        of_pixels["flat"] = _flat
        of_optics |= {"photom": _photom, "area": _area}
    if not camera.detector.mid_infrared:
        of_pixels["superbias"] = _superbias
    if camera.irs2:
        of_optics["refpix"] = irs2_filters
    if camera.instrument.ipc > 0:
        of_optics["ipc"] = _ipc
    paths = {kind: make(kit, true) for kind, make in of_pixels.items()}
    paths |= {kind: make(kit) for kind, make in of_optics.items()}
    if camera.detector.mid_infrared:
        return paths | miri_references(kit, read)
    return paths | {"dark": _dark(kit, read)}


def _mask(kit: Kit, true: Pixels) -> Path:
    head = fitsfile.primary(kit.keywords("mask", "MaskModel", kit.place()))
    names = ("DO_NOT_USE", "DEAD", "HOT", "WARM", "REFERENCE_PIXEL")
    return fitsfile.write(kit.path("mask"), [head, *fitsfile.flags(kit.raw(true.dq), names)])


def _saturation(kit: Kit, true: Pixels) -> Path:
    odd, dq = kit.unknown("saturation", true, Pixel.NO_SAT_CHECK)
    threshold = np.where(odd, np.nan, true.bias + _THRESHOLD * true.well).astype(np.float32)
    head = fitsfile.primary(kit.keywords("saturation", "SaturationModel", kit.place()))
    marks = fitsfile.flags(dq, ("DO_NOT_USE", "NO_SAT_CHECK"))
    return fitsfile.write(kit.path("saturation"), [head, fitsfile.image("SCI", threshold), *marks])


def _superbias(kit: Kit, true: Pixels) -> Path:
    odd, dq = kit.unknown("superbias", true, Pixel.UNRELIABLE_BIAS)
    bias = np.where(odd, np.nan, true.bias).astype(np.float32)
    bias = kit.raw(bias, kit.camera.instrument.bias)
    words = kit.keywords("superbias", "SuperBiasModel", kit.place(), {"READPATT": "ANY"})
    error = np.full(bias.shape, 0.5, np.float32)
    marks, meaning = fitsfile.flags(kit.raw(dq), ("DO_NOT_USE", "UNRELIABLE_BIAS"))
    parts = [fitsfile.image("SCI", bias), marks, fitsfile.image("ERR", error), meaning]
    return fitsfile.write(kit.path("superbias"), [fitsfile.primary(words), *parts])


def _linearity(kit: Kit, true: Pixels) -> Path:
    odd, dq = kit.unknown("linearity", true, Pixel.NO_LIN_CORR)
    coefficients = true.coefficients()
    coefficients[:, odd] = np.nan
    head = fitsfile.primary(kit.keywords("linearity", "LinearityModel", kit.place()))
    parts = [fitsfile.image("COEFFS", coefficients.astype(np.float32))]
    if kit.camera.instrument.inverse_linearity:
        parts.append(fitsfile.image("INV_COEFFS", true.inverse_coefficients()))
    parts += fitsfile.flags(dq, ("DO_NOT_USE", "NO_LIN_CORR"))
    return fitsfile.write(kit.path("linearity"), [head, *parts])


def _gain(kit: Kit, true: Pixels) -> Path:
    gain = np.where(kit.odd("gain") & true.sensitive, np.nan, true.gain).astype(np.float32)
    head = fitsfile.primary(kit.keywords("gain", "GainModel", kit.place()))
    return fitsfile.write(kit.path("gain"), [head, fitsfile.image("SCI", gain)])


def _readnoise(kit: Kit, true: Pixels) -> Path:
    """Noise of the difference of two frames, the 1/f noise included, as it comes out of dark exposures.

    With IRS2 the better part of the latter is taken out.
    """
    left = kit.camera.instrument.one_over_f * (_IRS2_LEAVES if kit.camera.irs2 else 1.0)
    single = np.hypot(true.read_noise, left)
    noise = (2.0**0.5 * single).astype(np.float32)
    words = kit.keywords("readnoise", "ReadnoiseModel", kit.place(), {"READPATT": "ANY"})
    return fitsfile.write(
        kit.path("readnoise"), [fitsfile.primary(words), fitsfile.image("SCI", noise)]
    )


def _flat(kit: Kit, true: Pixels) -> Path:
    _, dq = kit.unknown("flat", true, Pixel.UNRELIABLE_FLAT)
    blind = ~true.sensitive | (true.response <= 0)
    dq[blind] |= np.uint32(Pixel.NO_FLAT_FIELD | Pixel.DO_NOT_USE)
    flat = np.where(blind, np.nan, true.response).astype(np.float32)
    words = kit.keywords("flat", "FlatModel", kit.optics.filter.wheels, kit.place())
    error = np.full(flat.shape, 5e-4, np.float32)
    marks, meaning = fitsfile.flags(dq, ("DO_NOT_USE", "NO_FLAT_FIELD", "UNRELIABLE_FLAT"))
    parts = [fitsfile.image("SCI", flat), marks, fitsfile.image("ERR", error), meaning]
    return fitsfile.write(kit.path("flat"), [fitsfile.primary(words), *parts])


def _dark(kit: Kit, read: Pixels) -> Path:
    timing = kit.camera.timing
    frames = timing.stride * timing.ngroups + _SPARE_DARK_FRAMES
    step = timing.frame_time
    average = float((read.dark * read.gain)[read.sensitive].mean())
    pattern = {"READPATT": "ANY", "NOUTPUTS": kit.camera.outputs, "EXP_TYPE": kit.dark_type}
    pattern |= {"P_EXP_TY": f"{kit.optics.filter.exp_type}|{kit.dark_type}|"}
    pattern |= {"NFRAMES": 1, "NGROUPS": frames, "GROUPGAP": 0}
    pattern |= {"TFRAME": step, "TGROUP": step, "AVDRKCUR": average}
    place = kit.place(kit.camera.region) | {"SUBARRAY": kit.camera.region.name}
    head = fitsfile.primary(kit.keywords("dark", kit.dark_model, pattern, place))
    hot = np.uint32(Pixel.HOT | Pixel.WARM)
    marks = fitsfile.flags(read.dq & hot, ("DO_NOT_USE", "HOT", "WARM"))
    shape = (frames, kit.camera.region.ny, kit.camera.region.nx)
    planes = _dark_frames(read, frames, step)
    return fitsfile.write_cube(kit.path("dark"), head, "SCI", planes, shape, marks)


def _dark_frames(read: Pixels, frames: int, step: float) -> Iterator[np.ndarray]:
    for frame in range(frames):
        seconds = (frame + 1) * step
        yield read.dark * np.float32(seconds) + read.anomaly * np.float32(reset_settling(seconds))


def _photom(kit: Kit) -> Path:
    """Conversion factors: those of all filters of the channel, in the table that the instrument has."""
    detector = kit.optics.detector
    bands = [b for b in BANDS[detector.instrument].values() if b.channel == detector.channel]
    model, keys = _PHOTOM[detector.instrument]
    columns = [(key.lower(), "S17" if key == "SUBARRAY" else "S12") for key in keys]
    columns += [("photmjsr", "f4"), ("uncertainty", "f4")]
    rows = [
        (*(_where(band, key) for key in keys), band.photmjsr, 0.01 * band.photmjsr)
        for band in bands
        if not band.dispersed
    ]
    kind = {"EXP_TYPE": kit.optics.filter.exp_type}
    words = kit.keywords("photom", model, kind, _pixel_area(kit))
    table = fitsfile.table("PHOTOM", np.array(rows, columns))
    return fitsfile.write(kit.path("photom"), [fitsfile.primary(words), table])


_PHOTOM = {
    "NIRCAM": ("NrcImgPhotomModel", ("FILTER", "PUPIL")),
    "NIRISS": ("NisImgPhotomModel", ("FILTER", "PUPIL")),
    "MIRI": ("MirImgPhotomModel", ("FILTER", "SUBARRAY")),
    "FGS": ("FgsImgPhotomModel", ()),
}


def _where(band: Filter, key: str) -> str:
    return "GENERIC" if key == "SUBARRAY" else band.wheels[key]


def _pixel_area(kit: Kit) -> dict[str, Any]:
    detector = kit.optics.detector
    return {"PIXAR_SR": detector.pixel_area_sr, "PIXAR_A2": detector.pixel_scale**2}


def _area(kit: Kit) -> Path:
    frame = subarray(kit.optics.detector, "FULL")
    where = {"EXP_TYPE": kit.optics.filter.exp_type, **kit.optics.filter.wheels}
    words = kit.keywords("area", "PixelAreaModel", where, kit.place(frame), _pixel_area(kit))
    area = fitsfile.image("SCI", kit.optics.relative_area(frame))
    return fitsfile.write(kit.path("area"), [fitsfile.primary(words), area])


def _distortion(kit: Kit) -> Path:
    path, detector = kit.path("distortion", "asdf"), kit.optics.detector
    units = {"input_units": "pixel", "output_units": "arcsec"}
    where = detector.instrument, kit.optics.filter.exp_type
    meta = reference_meta(path, "distortion", "DistortionModel", *where) | units
    meta["instrument"]["detector"] = detector.name
    if detector.module:
        meta["instrument"] |= {"module": detector.module, "channel": detector.channel}
        meta["instrument"]["p_pupil"] = "CLEAR|"
    return fitsfile.write_asdf(path, {"meta": meta, "model": distortion_model(detector)})


def _ipc(kit: Kit) -> Path:
    """The kernel that undoes the coupling: its inverse in Fourier space, cut to 5 x 5 with sum 1."""
    share, count = kit.camera.instrument.ipc, 64
    wave = np.cos(2 * np.pi * np.fft.fftfreq(count))
    response = 1.0 - 4.0 * share + 2.0 * share * (wave[:, None] + wave)
    undone = np.fft.fftshift(np.fft.ifft2(1.0 / response).real)
    kernel = undone[count // 2 - 2 : count // 2 + 3, count // 2 - 2 : count // 2 + 3]
    kernel = (kernel / kernel.sum()).astype(np.float32)
    head = fitsfile.primary(kit.keywords("ipc", "IPCModel"))
    return fitsfile.write(kit.path("ipc"), [head, fitsfile.image("SCI", kernel)])
