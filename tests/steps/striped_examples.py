"""Small striped exposures with reference files: random ramps that rise, saturate and jump."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from jwpipe.dq import Pixel
from jwpipe.io.asdf_tree import write_tree
from jwpipe.numerics.stripes import Stripes, stripes_of

DETECTOR = 2048
TIMES = [
    ("integration_number", "i4"),
    *((f"int_{bound}_{clock}", "f8") for clock in ("MJD_UTC", "BJD_TDB") for bound in ("start", "mid", "end")),
]  # fmt: skip


@dataclass(frozen=True)
class Striped:
    """A striped readout: its keywords, and of how many whole integrations and groups the exposure is."""

    keywords: dict[str, Any]
    integrations: int = 2
    groups: int = 5
    frames: int = 1
    zeroframe: bool = False
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def header(self) -> dict[str, Any]:
        """All keywords of the exposure."""
        count = max(self.keywords["SSTR_NST"], 1) * self.integrations
        common = {
            "TELESCOP": "JWST", "DATE-OBS": "2026-01-02", "TIME-OBS": "03:04:05.678", "EXP_TYPE": "NRC_TSGRISM",
            "INSTRUME": "NIRCAM", "DETECTOR": "NRCA1", "MODULE": "A", "CHANNEL": "SHORT", "FILTER": "F150W2",
            "PUPIL": "GDHS0", "READPATT": "RAPID", "TSOVISIT": True, "VISITYPE": "PRIME_TARGETED_FIXED",
            "NINTS": count, "NGROUPS": self.groups, "NFRAMES": self.frames, "GROUPGAP": 0, "DRPFRMS1": 0,
            "NSAMPLES": 1, "FRMDIVSR": self.frames, "TFRAME": 1.5, "TGROUP": 1.5 * self.frames,
            "INTSTART": 1, "INTEND": count, "EFFINTTM": 1.5 * self.groups, "NOUTPUTS": 4,
            "EFFEXPTM": 1.5 * self.groups * count, "ZEROFRAM": self.zeroframe,
            "FILENAME": "jw1_uncal.fits", "DATAMODL": "Level1bModel", "EXPSTART": 61000.0, "EXPEND": 61000.1,
            "GWAXTILT": 0.0,
        }  # fmt: skip
        return common | self.keywords | self.extra

    @property
    def stripes(self) -> Stripes:
        """Where the rows are."""
        stripes = stripes_of(self.header)
        assert stripes is not None
        return stripes


NIRCAM = {"FASTAXIS": 1, "SLOWAXIS": 2}
SUBSTRIPES = Striped(
    NIRCAM
    | {
        "SUBARRAY": "SUB164STRIPE4_DHS", "SUBSTRT1": 471, "SUBSIZE1": 70, "SUBSTRT2": 1, "SUBSIZE2": 44,
        "MSTR_RD1": 1, "MSTR_SK1": 900, "MSTR_RD2": 10, "MSTR_SK2": 60, "MSTR_RPT": 1, "MSTR_ILV": 1,
        "SSTR_STP": 0, "SSTR_NST": 0,
    }
)  # fmt: skip
"""Four interleaved stripes, as the Dispersed Hartmann Sensor has them, over the border of two amplifiers."""

SUPERSTRIPES = Striped(
    NIRCAM
    | {
        "SLOWAXIS": -2, "SUBARRAY": "SUB64P_SUPSTP008", "SUBSTRT1": 1851, "SUBSIZE1": 64, "SUBSTRT2": 2046,
        "SUBSIZE2": 9, "MSTR_RD1": 1, "MSTR_SK1": 165, "MSTR_RD2": 8, "MSTR_SK2": 0, "MSTR_RPT": 1, "MSTR_ILV": 0,
        "SSTR_STP": 8, "SSTR_NST": 8,
    },
    frames=4,
    zeroframe=True,
    extra={"DETECTOR": "NRCB1", "MODULE": "B", "EXP_TYPE": "NRC_TSIMAGE", "PUPIL": "CLEAR", "NOUTPUTS": 1},
)  # fmt: skip
"""Eight superstripes that make a field of 64 rows, read downwards."""

SOSS = Striped(
    {
        "SUBARRAY": "SUB204STRIPE_SOSS", "SUBSTRT1": 2048, "SUBSIZE1": 208, "SUBSTRT2": 1793, "SUBSIZE2": 24,
        "MSTR_RD1": 4, "MSTR_SK1": 0, "MSTR_RD2": 204, "MSTR_SK2": 0, "MSTR_RPT": 1, "MSTR_ILV": 1,
        "SSTR_STP": 204, "SSTR_NST": 10, "FASTAXIS": -2, "SLOWAXIS": -1,
    },
    extra={
        "INSTRUME": "NIRISS", "DETECTOR": "NIS", "EXP_TYPE": "NIS_SOSS", "FILTER": "CLEAR", "PUPIL": "GR700XD",
        "READPATT": "NISRAPID", "MODULE": None, "CHANNEL": None, "NOUTPUTS": 1,
    },
)  # fmt: skip
"""Ten superstripes along x, which make the detector's whole width."""

REPEATED = Striped(
    SUPERSTRIPES.keywords
    | {"MSTR_RD2": 1, "SUBSIZE2": 8, "SSTR_STP": 1, "SSTR_NST": 6, "SUBARRAY": "SUB64P_SUPSTP002"},
    groups=3,
    zeroframe=True,
    extra=SUPERSTRIPES.extra,
)
"""Six superstripes of one row, each read four times in a frame."""


def write(case: Striped, folder: Path, seed: int = 1) -> tuple[Path, dict[str, str]]:
    """The raw exposure of a case, and its reference files by type."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    truth = _detector(case, random)
    files = {kind: str(path) for kind, path in _references(case, folder, truth, random).items()}
    return _raw(case, folder / "jw1_uncal.fits", truth, random), files


def _detector(case: Striped, random: np.random.Generator) -> dict[str, np.ndarray]:
    """The pixels of the detector, as many across as the exposure has."""
    across = case.header["SUBSIZE2" if case.stripes.axis == "x" else "SUBSIZE1"]
    shape = (across, DETECTOR) if case.stripes.axis == "x" else (DETECTOR, across)
    dq = np.where(random.random(shape) < 0.02, np.uint32(Pixel.DO_NOT_USE), np.uint32(0))
    along = np.arange(DETECTOR)
    edge = (along < 4) | (along >= DETECTOR - 4)
    reference = edge if case.stripes.axis == "x" else edge[:, np.newaxis]
    dq |= np.where(reference, np.uint32(Pixel.REFERENCE_PIXEL), np.uint32(0))
    return {
        "bias": random.normal(9000, 300, shape).astype(np.float32),
        "rate": random.exponential(60, shape).astype(np.float32),
        "dq": dq,
    }


def _read(case: Striped, plane: np.ndarray, frame: int) -> np.ndarray:
    rows = case.stripes.rows_of(frame)
    return plane[:, rows] if case.stripes.axis == "x" else plane[rows]


def _raw(
    case: Striped, path: Path, truth: dict[str, np.ndarray], random: np.random.Generator
) -> Path:
    header, count = case.header, len(case.stripes.frames)
    ramps = []
    for _ in range(case.integrations):
        for frame in range(count):
            rate, bias = _read(case, truth["rate"], frame), _read(case, truth["bias"], frame)
            bright = np.where(random.random(rate.shape) < 0.02, 12000.0, rate)
            steps = random.poisson(np.broadcast_to(bright * 1.5, (case.groups, *rate.shape)))
            hit = random.random(steps.shape) < 0.01
            drift = random.normal(0, 20, (case.groups, 1, 1))
            ramps.append(bias + drift + np.cumsum(steps + hit * 900.0, axis=0))
    data = np.clip(np.rint(ramps), 0, 65535).astype(np.uint16)
    data[random.random(data.shape) < 0.002] = 0
    science = fits.ImageHDU(data, name="SCI")
    primary = fits.PrimaryHDU()
    for key, value in header.items():
        where = science if key == "VA_SCALE" else primary
        if value is not None:
            where.header[key] = value
    hdus = [primary, science]
    if case.zeroframe:
        hdus.append(fits.ImageHDU(data[:, 0] - np.minimum(data[:, 0], 30), name="ZEROFRAME"))
    times = np.zeros(len(data), TIMES)
    times["integration_number"] = np.arange(len(data)) + 1
    for number, (name, _) in enumerate(TIMES[1:]):
        times[name] = (
            61000 + (number % 3) * 1e-4 + 1e-3 * np.arange(len(data)) + (number > 2) * 5e-3
        )
    hdus.append(fits.BinTableHDU(times, name="INT_TIMES"))
    words = {"PRIMARY": dict(primary.header), "SCI": dict(science.header)}
    tree = np.frombuffer(write_tree("Level1bModel", words, {}, []), np.uint8)
    column = fits.Column("ASDF_METADATA", f"{tree.size}B", array=tree[np.newaxis])
    hdus.append(fits.BinTableHDU.from_columns([column], name="ASDF"))
    fits.HDUList(hdus).writeto(path, overwrite=True)
    return path


def _references(
    case: Striped, folder: Path, truth: dict[str, np.ndarray], random: np.random.Generator
) -> dict[str, Path]:
    shape = truth["bias"].shape
    linear = np.zeros((3, *shape), np.float32)
    linear[1], linear[2] = 1.0, random.uniform(0, 2e-7, shape)
    planes = case.groups * case.frames * case.stripes.turns
    noise = random.uniform(8, 12, shape).astype(np.float32)
    limit = (truth["bias"] + random.uniform(35000, 45000, shape)).astype(np.float32)
    limit[random.random(shape) < 0.01] = np.nan
    none = np.zeros(shape, np.uint32)
    images = {
        "mask": {"DQ": truth["dq"]},
        "saturation": {"SCI": limit, "DQ": none},
        "superbias": {"SCI": truth["bias"], "ERR": truth["bias"] * 0, "DQ": none},
        "linearity": {"COEFFS": linear, "DQ": none},
        "gain": {"SCI": random.uniform(1.7, 2.1, shape).astype(np.float32)},
        "readnoise": {"SCI": noise},
        "dark": {"SCI": random.normal(0, 1, (planes, *_field(case))).astype(np.float32)},
    }
    return {
        kind: _reference(case, folder / f"{kind}.fits", kind, each) for kind, each in images.items()
    }


def _field(case: Striped) -> tuple[int, int]:
    """The shape (y, x) of the ramps once superstripes are put together."""
    header, stripes = case.header, case.stripes
    rows = stripes.span[1] if stripes.superstripes else stripes.rows
    return (header["SUBSIZE2"], rows) if stripes.axis == "x" else (rows, header["SUBSIZE1"])


def _reference(case: Striped, path: Path, kind: str, images: dict[str, np.ndarray]) -> Path:
    header = case.header
    along_x = case.stripes.axis == "x"
    shape = next(iter(images.values())).shape[-2:]
    place = {
        "SUBSTRT1": 1 if along_x else header["SUBSTRT1"],
        "SUBSTRT2": header["SUBSTRT2"] if along_x else 1,
        "SUBSIZE1": shape[1],
        "SUBSIZE2": shape[0],
    }
    keys = (
        "TELESCOP",
        "INSTRUME",
        "DETECTOR",
        "FASTAXIS",
        "SLOWAXIS",
        "READPATT",
        "NFRAMES",
        "GROUPGAP",
    )
    words = {key: header[key] for key in keys} | place | {"SUBARRAY": "GENERIC", "NFRAMES": 1}
    words |= {
        "REFTYPE": kind.upper(), "USEAFTER": "2022-01-01T00:00:00", "AUTHOR": "test", "PEDIGREE": "DUMMY",
        "DESCRIP": "made for a test", "EXP_TYPE": header["EXP_TYPE"], "NGROUPS": 99,
    }  # fmt: skip
    primary = fits.PrimaryHDU()
    primary.header.update(words)
    hdus = [primary, *(fits.ImageHDU(values, name=name) for name, values in images.items())]
    flags = [(0, 1, "DO_NOT_USE", ""), (1, Pixel.REFERENCE_PIXEL, "REFERENCE_PIXEL", "")]
    table = np.array(
        flags, [("BIT", "i4"), ("VALUE", "u4"), ("NAME", "S40"), ("DESCRIPTION", "S80")]
    )
    if "DQ" in images:
        hdus.append(fits.BinTableHDU(table, name="DQ_DEF"))
    fits.HDUList(hdus).writeto(path, overwrite=True)
    return path
