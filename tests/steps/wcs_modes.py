"""An exposure of every mode that has a WCS, with its references: real ones where there are, else in the genuine format.

Made here are the metrology of NIRSpec's MSA and the colour of its optics (``nirspec_examples``), the slices' places on
MIRI's short-wave detector (from its distortion), and the traces of MIRI WFSS and of NIRISS SOSS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asdf
import nirspec_examples
import numpy as np
import xarray as xr
from astropy.io import fits
from astropy.modeling.models import Polynomial1D, Polynomial2D, Tabular2D

from jwpipe.refs import References

DATA = nirspec_examples.DATA
CRDS = DATA / "crds" / "references" / "jwst"
FLT9 = DATA / "references" / "miri_flt9"
SIAF = DATA / "references" / "nircam_distortion_siaf"
FULL = (2048, 2048)
POINTING = {
    "V2_REF": 86.1,
    "V3_REF": -493.2,
    "RA_REF": 53.16,
    "DEC_REF": -27.8,
    "ROLL_REF": 37.25,
    "VA_SCALE": 1.0000431,
    "VELOSYS": -18342.7,
    "VPARITY": -1,
    "V3I_YANG": 0.05,
    "CRPIX1": 1024.5,
    "CRPIX2": 1024.5,
}
FULL_FRAME = {"SUBARRAY": "FULL", "SUBSTRT1": 1, "SUBSTRT2": 1}
SCI = (*POINTING, "XREF_SCI", "YREF_SCI")


@dataclass(frozen=True)
class Mode:
    """An exposure: its keywords, the shape of its frame (ny, nx), and its reference files by type."""

    name: str
    keywords: dict[str, Any]
    shape: tuple[int, int]
    references: dict[str, Path]
    params: dict[str, Any] = field(default_factory=dict)

    def exposure(self, folder: Path) -> xr.Dataset:
        """A rate image of zeros, which takes no memory."""
        pixels = np.broadcast_to(np.float32(0), self.shape)
        sci = {key: value for key, value in self.keywords.items() if key in SCI}
        primary = {key: value for key, value in self.keywords.items() if key not in SCI}
        names = {"filename": f"{self.name}_rate.fits", "folder": str(folder), "product": "rate"}
        return xr.Dataset(
            {"sci": (("y", "x"), pixels)}, attrs={"primary": primary, "sci": sci, **names}
        )

    def files(self) -> References:
        """The references as steps get them."""
        kinds = ("filteroffset", "chromcorr")
        return References.from_files(dict.fromkeys(kinds) | dict(self.references))


def modes(folder: Path, *names: str) -> Iterator[Mode]:
    """The modes of these names, or all whose references are there; made files go to ``folder``."""
    for name in names or MAKERS:
        mode = MAKERS[name](name, folder)
        if all(path is None or path.exists() for path in mode.references.values()):
            yield mode


def crds(instrument: str, kind: str, number: int, extension: str = "asdf") -> Path:
    """A reference of the cache."""
    return CRDS / instrument / f"jwst_{instrument}_{kind}_{number:04}.{extension}"


Maker = Callable[[str, Path], Mode]


def _nirspec(exp_type: str, *optics: str, shape: tuple[int, int] = FULL, **changes: Any) -> Maker:
    params = changes.pop("params", {})

    def make(name: str, folder: Path) -> Mode:
        used = optics or ("F100LP", "G140M")
        values = nirspec_examples.keywords(exp_type, *used, VPARITY=-1, **changes)
        if values.get("MSAMETFL"):
            values["MSAMETFL"] = "one_msa.fits"
            nirspec_examples.write_msa_metadata(folder / "one_msa.fits")
        size = {"SUBSIZE1": shape[1], "SUBSIZE2": shape[0]}
        found = nirspec_examples.references(*used[:2], folder)
        files = {kind: file and Path(file.path) for kind, file in found.items()}
        return Mode(name, values | size, shape, files, params)

    return make


def _mode(shape: tuple[int, int], references: Any, **keywords: Any) -> Maker:
    def make(name: str, folder: Path) -> Mode:
        files = references(folder) if callable(references) else references
        size = {"SUBSIZE1": shape[1], "SUBSIZE2": shape[0]}
        values = POINTING | FULL_FRAME | size | keywords
        kept = {key: value for key, value in values.items() if value is not None}
        return Mode(name, kept, shape, files)

    return make


def _nircam_wfss(module: str, grism: str, specwcs: int) -> Maker:
    number = "5"
    files = {
        "distortion": SIAF / f"nrc{module.lower()}{number}_distortion.asdf",
        "specwcs": crds("nircam", "specwcs", specwcs),
        "filteroffset": crds("nircam", "filteroffset", 2 if module == "A" else 1),
        "wavelengthrange": crds("nircam", "wavelengthrange", 3),
    }
    return _mode(
        FULL, files, INSTRUME="NIRCAM", EXP_TYPE="NRC_WFSS", FILTER="F444W", MODULE=module,
        PUPIL=grism, DETECTOR=f"NRC{module}LONG", CHANNEL="LONG",
    )  # fmt: skip


def _niriss_wfss(grism: str, specwcs: int, wheel: float) -> Maker:
    files = {
        "distortion": crds("niriss", "distortion", 10),
        "specwcs": crds("niriss", "specwcs", specwcs),
        "wavelengthrange": crds("niriss", "wavelengthrange", 2),
    }
    return _mode(
        FULL, files, INSTRUME="NIRISS", EXP_TYPE="NIS_WFSS", FILTER=grism, PUPIL="F200W",
        DETECTOR="NIS", FWCPOS=wheel, V2_REF=-289.966976, V3_REF=-697.723326,
    )  # fmt: skip


def _mrs(channel: str, band: str, distortion: Path, specwcs: Path, regions: Path | None) -> Maker:
    def files(folder: Path) -> dict[str, Path]:
        waves = FLT9 / "jwst_miri_mrs_wavelengthrange_flt9.asdf"
        made = {"distortion": distortion, "specwcs": specwcs, "wavelengthrange": waves}
        if regions is not None:
            return made | {"regions": write_planes(folder, regions)}
        return made | {"regions": write_regions(folder, channel, band, distortion, waves)}

    detector = "MIRIFUSHORT" if channel == "12" else "MIRIFULONG"
    return _mode(
        (1024, 1032), files, INSTRUME="MIRI", EXP_TYPE="MIR_MRS", DETECTOR=detector,
        CHANNEL=channel, BAND=band, V2_REF=-503.65, V3_REF=-318.74, V3I_YANG=8.0,
    )  # fmt: skip


def _miri(exp_type: str, shape: tuple[int, int], references: Any, **changes: Any) -> Maker:
    place = {"V2_REF": -414.34, "V3_REF": -400.93, "V3I_YANG": 4.8354}
    dither = {"XOFFSET": 0.35, "YOFFSET": -0.12}
    named = {"INSTRUME": "MIRI", "EXP_TYPE": exp_type, "DETECTOR": "MIRIMAGE", "FILTER": "P750L"}
    return _mode(shape, references, **(named | place | dither | changes))


IMAGER = {
    "distortion": FLT9 / "jwst_miri_imager_distortion_flt9.asdf",
    "filteroffset": FLT9 / "jwst_miri_filteroffset_full_flt9.asdf",
}


def _tso(folder: Path) -> dict[str, Path]:
    return {
        "distortion": SIAF / "nrca5_distortion.asdf",
        "filteroffset": crds("nircam", "filteroffset", 2),
        "specwcs": crds("nircam", "specwcs", 10),
        "wavelengthrange": write_tso_ranges(folder),
    }


def _lrs(folder: Path) -> dict[str, Path]:
    return {"distortion": IMAGER["distortion"], "specwcs": write_lrs(folder)}


def _miri_wfss(folder: Path) -> dict[str, Path]:
    return IMAGER | {"specwcs": write_miri_wfss(folder), "wavelengthrange": write_ranges(folder)}


MAKERS: dict[str, Maker] = {
    "nircam image": _mode(
        FULL, {"distortion": SIAF / "nrcb1_distortion.asdf"}, INSTRUME="NIRCAM", FILTER="F200W",
        EXP_TYPE="NRC_IMAGE", PUPIL="CLEAR", DETECTOR="NRCB1", MODULE="B", CHANNEL="SHORT",
    ),
    "niriss image": _mode(
        FULL, {"distortion": crds("niriss", "distortion", 10)}, INSTRUME="NIRISS", FILTER="CLEAR",
        EXP_TYPE="NIS_IMAGE", PUPIL="F200W", DETECTOR="NIS", V2_REF=-289.97, V3_REF=-697.72,
    ),
    "niriss ami": _mode(
        (80, 80), {"distortion": crds("niriss", "distortion", 10)}, INSTRUME="NIRISS",
        EXP_TYPE="NIS_AMI", FILTER="F380M", PUPIL="NRM", DETECTOR="NIS", SUBARRAY="SUB80",
        SUBSTRT1=1045, SUBSTRT2=1, V2_REF=-293.5, V3_REF=-760.1,
    ),
    "fgs image": _mode(
        FULL, {"distortion": SIAF / "nrca1_distortion.asdf"}, INSTRUME="FGS", EXP_TYPE="FGS_IMAGE",
        DETECTOR="GUIDER1",
    ),
    "miri image": _miri("MIR_IMAGE", (1024, 1032), IMAGER, FILTER="F1280W"),
    "miri lyot": _miri(
        "MIR_LYOT", (304, 320), IMAGER, FILTER="F2300C", SUBARRAY="MASKLYOT", SUBSTRT1=1,
        SUBSTRT2=717, V2_REF=-396.0, V3_REF=-361.6,
    ),
    "nircam wfss a r": _nircam_wfss("A", "GRISMR", 10),
    "nircam wfss a c": _nircam_wfss("A", "GRISMC", 11),
    "nircam wfss b r": _nircam_wfss("B", "GRISMR", 9),
    "nircam wfss b c": _nircam_wfss("B", "GRISMC", 12),
    "niriss wfss r": _niriss_wfss("GR150R", 12, 34.0),
    "niriss wfss c": _niriss_wfss("GR150C", 14, 354.0),
    "miri wfss": _miri("MIR_WFSS", (1024, 1032), _miri_wfss),
    "nircam tsgrism": _mode(
        (64, 2048), _tso, INSTRUME="NIRCAM", EXP_TYPE="NRC_TSGRISM", FILTER="F322W2",
        PUPIL="GRISMR", MODULE="A", DETECTOR="NRCALONG", CHANNEL="LONG", SUBARRAY="SUBGRISM64",
        SUBSTRT1=1, SUBSTRT2=1, XREF_SCI=468.0, YREF_SCI=35.0, XOFFSET=0.1, YOFFSET=-0.2,
    ),
    "niriss soss": _mode(
        (256, 2048), lambda folder: {"specwcs": write_soss(folder)}, INSTRUME="NIRISS",
        EXP_TYPE="NIS_SOSS", FILTER="CLEAR", PUPIL="GR700XD", DETECTOR="NIS", PWCPOS=245.79,
        SUBARRAY="SUBSTRIP256", SUBSTRT1=1, SUBSTRT2=1793, TARG_RA=187.1, TARG_DEC=2.05,
    ),
    "miri lrs slit": _miri("MIR_LRS-FIXEDSLIT", (1024, 1032), _lrs),
    "miri lrs slitless": _miri(
        "MIR_LRS-SLITLESS", (416, 72), _lrs, SUBARRAY="SLITLESSPRISM", SUBSTRT2=529,
        V2_REF=-378.83, V3_REF=-344.94, VELOSYS=None,
    ),
    "miri mrs long": _mrs(
        "34", "LONG", crds("miri", "distortion", 32), crds("miri", "specwcs", 19),
        crds("miri", "regions", 17),
    ),
    "miri mrs short": _mrs(
        "12", "SHORT", FLT9 / "jwst_miri_mrs12A_distortion_flt9.asdf",
        FLT9 / "jwst_miri_mrs12A_specwcs_flt9.asdf", None,
    ),
    "nirspec fixed slits": _nirspec("NRS_FIXEDSLIT", XOFFSET=0.05, YOFFSET=0.2),
    "nirspec fixed slit prism": _nirspec(
        "NRS_FIXEDSLIT", "CLEAR", "PRISM", shape=(64, 2048), SUBARRAY="SUBS200A2", SUBSTRT2=897,
        FXD_SLIT="S200A2",
    ),
    "nirspec fixed slits nrs2": _nirspec(
        "NRS_FIXEDSLIT", "F290LP", "G395H", "NRS2", FXD_SLIT="S200B1"
    ),
    "nirspec bright object": _nirspec(
        "NRS_BRIGHTOBJ", "F290LP", "G395H", shape=(32, 2048), SUBARRAY="SUB2048", SUBSTRT2=946,
        FXD_SLIT="S1600A1",
    ),
    "nirspec mos prism": _nirspec("NRS_MSASPEC", "CLEAR", "PRISM"),
    "nirspec mos nrs2": _nirspec("NRS_MSASPEC", "F170LP", "G235M", "NRS2"),
    "nirspec ifu": _nirspec("NRS_IFU"),
    "nirspec ifu nrs2": _nirspec("NRS_IFU", "F290LP", "G395H", "NRS2"),
    "nirspec ifu slices": _nirspec("NRS_IFU", params={"nrs_ifu_slice_wcs": True}),
    "nirspec image": _nirspec("NRS_IMAGE", "F110W", "MIRROR"),
    "nirspec lamp": _nirspec(
        "NRS_AUTOWAVE", "OPAQUE", "G140M", OPMODE="FIXEDSLIT", LAMP="LINE1"
    ),
}  # fmt: skip


def _written(folder: Path, name: str, tree: dict[str, Any]) -> Path:
    path = folder / name
    if not path.exists():
        asdf.AsdfFile(tree).write_to(path)
    return path


def _meta(kind: str, exp_type: str, **instrument: str) -> dict[str, Any]:
    meta = {
        "reftype": kind,
        "author": "jwpipe tests",
        "pedigree": "DUMMY",
        "description": "for tests",
        "useafter": "2015-11-01T00:00:00",
        "telescope": "JWST",
        "exposure": {"type": exp_type},
        "instrument": instrument,
    }
    return {"meta": meta}


def write_regions(folder: Path, channel: str, band: str, distortion: Path, waves: Path) -> Path:
    """The slices' pixels: those between the traces of two places along the slice."""
    path = folder / f"regions{channel}{band}.asdf"
    if path.exists():
        return path
    with asdf.open(distortion) as optics, asdf.open(waves) as ranges:
        limits = dict(zip(ranges["waverange_selector"], ranges["wavelengthrange"], strict=True))
        labels, models = list(optics["slices"]), (optics["x_model"], optics["y_model"])
        regions = np.zeros((1024, 1032), np.int16)
        for label, to_x, to_y in zip(labels, *models, strict=True):
            light = np.linspace(*limits[f"{label // 100}{band}"], 300)
            half = {1: 1.6, 2: 1.9, 3: 2.5, 4: 3.2}[label // 100]
            edges = [_edge(to_x, to_y, light, place) for place in (-half, half)]
            left, right = np.minimum(*edges)[:, None], np.maximum(*edges)[:, None]
            x = np.arange(1032)
            regions[(x >= left) & (x <= right)] = label
    planes = np.broadcast_to(regions, (9, *regions.shape)).copy()
    meta = _meta("REGIONS", "MIR_MRS", name="MIRI", channel=channel, band=band)
    return _written(folder, path.name, meta | {"regions": planes})


def write_planes(folder: Path, regions: Path) -> Path:
    """An older regions reference as newer ones are: a plane for each throughput."""
    path = folder / f"planes_{regions.name}"
    if not path.exists():
        with asdf.open(regions) as file:
            plane, meta = np.asarray(file["regions"]), file["meta"]
            planes = np.broadcast_to(plane, (9, *plane.shape)).copy()
            asdf.AsdfFile({"meta": meta, "regions": planes}).write_to(path)
    return path


def _edge(to_x: Any, to_y: Any, light: np.ndarray, place: float) -> np.ndarray:
    along = np.full(light.shape, place)
    x, y = to_x(light, along), to_y(light, along)
    order = np.argsort(y)
    return np.interp(np.arange(1024), y[order], x[order], left=np.nan, right=np.nan)


def write_lrs(folder: Path) -> Path:
    """The real trace of LRS, with the corners of the slit that newer references have."""
    path = folder / "lrs_specwcs.fits"
    if not path.exists():
        with fits.open(crds("miri", "specwcs", 3, "fits")) as file:
            corners = (-417.0, -417.2, -412.1, -412.0), (-400.7, -401.2, -401.6, -401.1)
            for axis, values in zip(("V2", "V3"), corners, strict=True):
                for number, value in enumerate(values, 1):
                    file[0].header[f"{axis}VERT{number}"] = value
            file.writeto(path)
    return path


def write_miri_wfss(folder: Path) -> Path:
    """A trace of 370 rows from 3.5 to 14 micron that bends a little over the field."""
    x = [
        Polynomial2D(2, c0_0=-3.4, c1_0=1e-3, c0_1=2e-3),
        Polynomial2D(2, c0_0=1.5, c1_0=2e-4, c2_0=1e-7),
        Polynomial2D(2, c0_0=0.2, c0_1=1e-4),
    ]
    y = [
        Polynomial2D(2, c0_0=80.0, c1_0=1e-3, c0_1=1e-3),
        Polynomial2D(2, c0_0=-350.0, c1_0=2e-3, c1_1=1e-6),
        Polynomial2D(2, c0_0=-20.0, c0_1=1e-3),
    ]
    tree = {
        "displ": [Polynomial1D(1, c0=3.5, c1=10.5)],
        "invdispl": [Polynomial1D(1, c0=-3.5 / 10.5, c1=1 / 10.5)],
        "dispx": [x],
        "dispy": [y],
        "orders": [1],
    }
    meta = _meta("SPECWCS", "MIR_WFSS", name="MIRI", detector="MIRIMAGE", filter="P750L")
    return _written(folder, "miri_wfss_specwcs.asdf", meta | tree)


def write_ranges(folder: Path) -> Path:
    """The wavelengths to extract with MIRI WFSS."""
    tree = {
        "wavelengthrange": [[1, "P750L", 5.0, 12.0]],
        "extract_orders": [["P750L", [1]]],
        "order": [1],
        "waverange_selector": ["P750L"],
    }
    meta = _meta("WAVELENGTHRANGE", "MIR_WFSS", name="MIRI", detector="MIRIMAGE")
    meta["meta"]["wavelength_units"] = {}
    return _written(folder, "miri_wfss_wavelengthrange.asdf", meta | tree)


def write_tso_ranges(folder: Path) -> Path:
    """The wavelengths of a time series as newer references have them: with the field point before the filter."""
    with asdf.open(crds("nircam", "wavelengthrange", 2)) as file:
        tree = {
            name: file[name] for name in ("meta", "order", "extract_orders", "waverange_selector")
        }
        rows = [[order, "N/A", *rest] for order, *rest in file["wavelengthrange"]]
        return _written(folder, "tso_wavelengthrange.asdf", tree | {"wavelengthrange": rows})


def write_soss(folder: Path) -> Path:
    """Wavelengths of three orders over the full frame, slightly tilted; NaN away from the traces."""
    tree: dict[Any, Any] = {}
    y, x = np.arange(0.0, 2049.0, 8.0), np.arange(0.0, 2049.0, 4.0)
    traces = {1: (2.84, -9.7e-4, 1880), 2: (1.5, -4.6e-4, 1925), 3: (0.95, -3e-4, 1990)}
    for order, (start, step, row) in traces.items():
        waves = start + step * x[None, :] + 1e-6 * y[:, None] - 2e-8 * x[None, :] ** 2
        waves[np.abs(y[:, None] - row - 3e-5 * (x[None, :] - 1000) ** 2) > 60] = np.nan
        tree[order] = Tabular2D(
            points=(y, x), lookup_table=waves, bounds_error=False, fill_value=np.nan
        )
    meta = _meta("SPECWCS", "NIS_SOSS", name="NIRISS", detector="NIS")
    return _written(folder, "soss_specwcs.asdf", meta | tree)
