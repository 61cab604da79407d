"""Exposures, MSA metadata and references of NIRSpec for tests.

The spectrograph's own references are real ones (``references``), but for the metrology of the MSA, which is simulated,
and the colour of the fore optics, which is written here in the genuine format, of about the right size.
"""

import os
from pathlib import Path

import asdf
import numpy as np
import xarray as xr
from astropy.modeling.models import Mapping, Scale

from jwpipe.refs import References
from jwpipe.simulate import micro_shutters

DATA = Path(os.environ.get("JWPIPE_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
REFERENCES = DATA / "crds" / "references" / "jwst" / "nirspec"
DISPERSERS = {
    "G140M": "0032",
    "PRISM": "0034",
    "G395H": "0035",
    "G395M": "0036",
    "G235M": "0037",
    "MIRROR": "0038",
}
FORES = {"F290LP": "0022", "F100LP": "0023", "F170LP": "0027"}
TILTS = {
    "G140M": (0.3316612243652344, 0.1260581910610199),
    "PRISM": (0.3376379309999968, 0.03207344000000007),
    "G395H": (0.3232, 0.1449),
    "G395M": (0.2864, 0.1782),
    "G235M": (0.3212, 0.1390),
    "MIRROR": (0.3475, 0.1966),
}
NAN = np.nan
SLITLETS = [
    # slitlet, configuration, quadrant, row, column, source, background, state, x, y, dither, primary, fixed slit
    (7, 1, 2, 138, 108, 20115, "Y", "OPEN", NAN, NAN, 1, "N", "NONE"),
    (7, 1, 2, 138, 109, 20115, "N", "OPEN", 0.713, 0.529, 1, "Y", "NONE"),
    (7, 1, 2, 138, 110, 20115, "Y", "OPEN", NAN, NAN, 1, "N", "NONE"),
    (7, 1, 2, 138, 108, 20115, "N", "OPEN", 0.713, 0.529, 2, "Y", "NONE"),
    (3, 1, 4, 101, 157, -9, "N", "OPEN", 0.46, 0.705, 1, "Y", "NONE"),
    (3, 1, 4, 101, 159, -9, "Y", "OPEN", NAN, NAN, 1, "N", "NONE"),
    (12, 1, 1, 250, 40, 0, "Y", "OPEN", NAN, NAN, 1, "N", "NONE"),
    (12, 1, 1, 250, 41, 0, "Y", "OPEN", NAN, NAN, 1, "N", "NONE"),
    (12, 1, 1, 250, 42, 0, "Y", "OPEN", NAN, NAN, 1, "N", "NONE"),
    (12, 1, 1, 250, 43, 0, "Y", "OPEN", NAN, NAN, 1, "N", "NONE"),
    (21, 1, 3, 30, 80, 5, "N", "OPEN", NAN, NAN, 1, "Y", "NONE"),
    (100, 1, 0, 0, 0, 20116, "N", "OPEN", 0.339, 0.271, 1, "Y", "S200A1"),
    (101, 1, 0, 0, 0, 20117, "Y", "OPEN", 0.339, 0.271, 1, "N", "S1600A1"),
]
SKY = [
    (2565, 20115, "2565_20115", "20115", 150.06146711, 2.37868632, "None", 1.0),
    (2565, 20116, "2565_20116", "star", 150.0700001, 2.39, "None", 0.5),
    (2565, 5, "2565_5", "five", 150.08, 2.36, "None", 0.25),
]


def references(filter_="F100LP", grating="G140M", folder=None, **changes):
    """Real references of a mode, with those of the MSA and of the colour from ``folder``."""
    numbers = {
        "camera": "0004",
        "collimator": "0004",
        "disperser": DISPERSERS[grating],
        "fore": FORES.get(filter_, "0028"),
        "fpa": "0005",
        "ifufore": "0003",
        "ifupost": "0004",
        "ifuslicer": "0003",
        "ote": "0005",
        "wavelengthrange": "0004",
    }
    files = {
        kind: REFERENCES / f"jwst_nirspec_{kind}_{number}.asdf" for kind, number in numbers.items()
    }
    own = {"msa": write_msa, "chromcorr": write_chromcorr}
    for kind, write in own.items():
        files[kind] = None if folder is None else write(Path(folder) / f"{kind}.asdf")
    return References.from_files(files | changes)


def keywords(exp_type, filter_="F100LP", grating="G140M", detector="NRS1", **changes):
    """Headers of an exposure; ``None`` takes a keyword out."""
    x_tilt, y_tilt = TILTS[grating]
    values = {
        "INSTRUME": "NIRSPEC",
        "EXP_TYPE": exp_type,
        "FILTER": filter_,
        "GRATING": grating,
        "DETECTOR": detector,
        "LAMP": "NONE",
        "OPMODE": "NONE",
        "PROGRAM": "02565",
        "SUBARRAY": "FULL",
        "SUBSTRT1": 1,
        "SUBSTRT2": 1,
        "FXD_SLIT": "S200A1",
        "GWA_XTIL": x_tilt,
        "GWA_YTIL": y_tilt,
        "GWA_TILT": 36.05197530000048,
        "MSAMETFL": "one_msa.fits",
        "MSAMETID": 1,
        "PATT_NUM": 1,
        "VELOSYS": 10216.1,
        "VA_SCALE": 1.00006,
        "V2_REF": 378.563202,
        "V3_REF": -428.402832,
        "RA_REF": 150.0749,
        "DEC_REF": 2.376,
        "ROLL_REF": 110.2,
        "V3I_YANG": 138.5745697,
        "CRPIX1": 1024.5,
        "CRPIX2": 1024.5,
    }
    return {key: value for key, value in (values | changes).items() if value is not None}


def exposure(values, shape=(2048, 2048), folder=""):
    """A rate image of zeros, which takes no memory, with these keywords."""
    pixels = np.broadcast_to(np.float32(0), shape)
    attrs = {"primary": {}, "sci": values, "filename": "one_rate.fits", "folder": str(folder)}
    return xr.Dataset({"sci": (("y", "x"), pixels)}, attrs=attrs)


def write_msa(path):
    """The metrology of the MSA, once."""
    return path if path.exists() else micro_shutters.write_msa(path)


def write_chromcorr(path):
    """Shifts (deg) that grow with the wavelength (m): some milliarcseconds between 1 and 5 um."""
    if path.exists():
        return path

    def corrected(sign):
        def axis(k, slope):
            along = Mapping((k,), n_inputs=3)
            return along + (Mapping((2,)) | Scale(sign * slope))

        return Mapping((0, 1, 2) * 3) | axis(0, 0.4) & axis(1, -0.7) & Mapping((2,))

    model = corrected(1)
    model.inverse = corrected(-1)
    meta = _meta("CHROMCORR", {"p_detector": "NRS1|NRS2|"})
    asdf.AsdfFile(meta | {"model": model}).write_to(path)
    return path


def _meta(reftype, instrument):
    meta = {
        "reftype": reftype,
        "author": "jwpipe tests",
        "pedigree": "DUMMY",
        "description": "for tests",
        "useafter": "2015-11-01T00:00:00",
        "telescope": "JWST",
        "instrument": {"name": "NIRSPEC", **instrument},
        "exposure": {"type": "N/A"},
    }
    return {"meta": meta}


def write_msa_metadata(path, rows=SLITLETS, sources=SKY, fixed_slits=True):
    """An MSA metadata file."""
    return micro_shutters.write_msa_metadata(path, rows, sources, fixed_slits=fixed_slits)
