"""Reference files that serve several detectors, and the metadata that all reference files have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jwpipe.simulate import fitsfile
from jwpipe.simulate.geometry import Optics
from jwpipe.simulate.instruments import FILTERS
from jwpipe.simulate.optics import mosaic_apertures

USEAFTER = "2015-01-01T00:00:00"


INSTRUMENT_WORDS = {
    "NIRCAM": "NIRCam", "NIRISS": "NIRISS", "NIRSPEC": "NIRSpec", "FGS": "FGS", "MIRI": "MIRI",
}  # fmt: skip


def reference_keywords(path: Path, kind: str, model: str, instrument: str) -> dict[str, Any]:
    """The header keywords that every reference file has."""
    return {
        "DATE": fitsfile.now(),
        "FILENAME": path.name,
        "DATAMODL": model,
        "TELESCOP": "JWST",
        "REFTYPE": kind.upper(),
        "PEDIGREE": "SIMULATION",
        "DESCRIP": f"{kind} of the simulated {INSTRUMENT_WORDS[instrument]}",
        "AUTHOR": "jwpipe",
        "USEAFTER": USEAFTER,
        "INSTRUME": instrument,
    }


def reference_meta(
    path: Path, kind: str, model: str, instrument: str = "NIRCAM", exp_type: str = "NRC_IMAGE"
) -> dict[str, Any]:
    """The ``meta`` tree that every ASDF reference has."""
    return {
        "author": "jwpipe",
        "date": fitsfile.now(),
        "description": f"{kind} of the simulated {INSTRUMENT_WORDS[instrument]}",
        "exposure": {"type": exp_type, "p_exptype": f"{exp_type}|"},
        "filename": path.name,
        "instrument": {"name": instrument},
        "model_type": model,
        "pedigree": "SIMULATION",
        "reftype": kind,
        "telescope": "JWST",
        "useafter": USEAFTER,
    }


def write_shared_references(folder: Path, views: Sequence[Optics]) -> list[dict[str, Path]]:
    """Write what is not of one detector into ``folder``; gives paths by reference type for each of ``views``.

    The aperture corrections are those of a mosaic with the pixels of the first detector. Those of NIRCam alone are
    made: pipelines do without for the others.
    """
    if views[0].detector.instrument != "NIRCAM":
        return [{} for _ in views]
    everywhere = {"apcorr": _apcorr(folder, views[0]), "abvegaoffset": _abvegaoffset(folder)}
    return [everywhere | {"filteroffset": _filteroffset(folder, optics)} for optics in views]


def _apcorr(folder: Path, optics: Optics) -> Path:
    path = folder / "jwst_nircam_apcorr.fits"
    band = optics.filter
    apertures = mosaic_apertures(band.wavelength, band.bandwidth, optics.detector.pixel_scale)
    columns = [("filter", "S12"), ("pupil", "S15")]
    columns += [(name, "f4") for name in ("eefraction", "radius", "apcorr", "skyin", "skyout")]
    sky = apertures.sky_inner, apertures.sky_outer
    found = zip(apertures.fractions, apertures.radii, apertures.corrections, strict=True)
    rows = [(band.name, "CLEAR", *row, *sky) for row in found]
    words = reference_keywords(path, "apcorr", "NrcImgApcorrModel", "NIRCAM") | {
        "EXP_TYPE": "NRC_IMAGE"
    }
    table = fitsfile.table("APCORR", np.array(rows, columns))
    return fitsfile.write(path, [fitsfile.primary(words), table])


def _abvegaoffset(folder: Path) -> Path:
    from astropy.table import Table

    path = folder / "jwst_nircam_abvegaoffset.asdf"
    bands = list(FILTERS.values())
    offsets = Table(
        {
            "filter": [band.name for band in bands],
            "pupil": ["CLEAR"] * len(bands),
            "abvega_offset": np.array([band.ab_vega for band in bands], np.float32),
        }
    )
    meta = reference_meta(path, "abvegaoffset", "ABVegaOffsetModel")
    return fitsfile.write_asdf(path, {"meta": meta, "abvega_offset": offsets})


def _filteroffset(folder: Path, optics: Optics) -> Path:
    detector = optics.detector
    name = f"jwst_nircam_filteroffset_{detector.module}_{detector.channel}.asdf".lower()
    filters = [
        {
            "filter": band.name,
            "pupil": "CLEAR",
            "column_offset": band.offset[0],
            "row_offset": band.offset[1],
        }
        for band in FILTERS.values()
        if band.channel == detector.channel
    ]
    meta = reference_meta(folder / name, "filteroffset", "FilteroffsetModel")
    meta["instrument"] |= {"module": detector.module, "channel": detector.channel}
    return fitsfile.write_asdf(folder / name, {"meta": meta, "filters": filters})
