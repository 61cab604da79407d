"""Exposures, MSA metadata and references of NIRSpec for tests.

The spectrograph's own references are real ones (``references``). Two types are written here in the genuine format: the
metrology of the MSA, with the pitch, sizes and places of the quadrants that flight products carry, and the colour of
the fore optics, of about the right size.
"""

import os
from pathlib import Path

import asdf
import numpy as np
import xarray as xr
from astropy.io import fits
from astropy.modeling.models import Mapping, Rotation2D, Scale, Shift

from jwpipe.refs import References

DATA = Path(os.environ.get("JWPIPE_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
REFERENCES = DATA / "crds" / "references" / "jwst" / "nirspec"
TABLE = [("NO", ">i4"), ("XC", ">f4"), ("YC", ">f4"), ("SIZEX", ">f4"), ("SIZEY", ">f4")]
PITCH = (1.0498e-4, 2.0350e-4)
OPEN = (7.7e-5, 1.77e-4)
QUADRANTS = {
    1: (0.0195, -0.04285, -0.04198),
    2: (-0.01731757, -0.04280757, 0.00725996),
    3: (0.0158, 0.00462, -0.04193),
    4: (-0.01337407, 0.00460352, 0.00724746),
}
"""Rotation (deg) and corner (m) of each quadrant."""

FIXED_SLITS = (
    (0.0269724, -0.0027167, 8.1e-5, 1.271e-3),
    (0.0347597, -0.0013129, 8.1e-5, 1.271e-3),
    (0.0296652, 0.0002414, 1.59e-4, 1.460e-3),
    (0.0286631, 0.0015605, 6.31e-4, 6.31e-4),
    (-0.0270050, -0.0031920, 7.9e-5, 1.271e-3),
)
"""Place and size (m) of S200A1, S200A2, S400A1, S1600A1 and S200B1."""

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
SHUTTERS = np.dtype(
    [
        ("slitlet_id", ">i2"),
        ("msa_metadata_id", ">i2"),
        ("shutter_quadrant", ">i2"),
        ("shutter_row", ">i2"),
        ("shutter_column", ">i2"),
        ("source_id", ">i4"),
        ("background", "S1"),
        ("shutter_state", "S6"),
        ("estimated_source_in_shutter_x", ">f4"),
        ("estimated_source_in_shutter_y", ">f4"),
        ("dither_point_index", ">i2"),
        ("primary_source", "S1"),
        ("fixed_slit", "S7"),
    ]
)
SOURCES = np.dtype(
    [
        ("program", ">i4"),
        ("source_id", ">i4"),
        ("source_name", "S20"),
        ("alias", "S31"),
        ("ra", ">f8"),
        ("dec", ">f8"),
        ("preimage_id", "S30"),
        ("stellarity", ">f8"),
    ]
)
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
    """The metrology of the MSA: for each quadrant the shutters, and how the quadrant lies; 5 are the fixed slits."""
    if path.exists():
        return path
    tree = _meta("MSA", {"p_detector": "NRS1|NRS2|"})
    for number, (angle, x, y) in QUADRANTS.items():
        model = Rotation2D(angle, name=f"msa_Q{number}_rot") | (
            Shift(x, name=f"msa_Q{number}_x") & Shift(y, name=f"msa_Q{number}_y")
        )
        tree[f"Q{number}"] = {"model": model, "data": _shutters()}
    rows = [(number, *row) for number, row in enumerate(FIXED_SLITS, 1)]
    model = Rotation2D(0.0, name="msa_Q5_rot") | Shift(0.0, name="msa_Q5_x") & Shift(
        0.0, name="msa_Q5_y"
    )
    tree["Q5"] = {"model": model, "data": np.array(rows, TABLE)}
    asdf.AsdfFile(tree).write_to(path)
    return path


def _shutters():
    table = np.zeros(365 * 171, TABLE)
    y, x = np.divmod(np.arange(table.size), 365)
    table["NO"], table["XC"], table["YC"] = np.arange(1, table.size + 1), x * PITCH[0], y * PITCH[1]
    table["SIZEX"], table["SIZEY"] = OPEN
    return table


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
    """An MSA metadata file; older ones have no column ``fixed_slit``."""
    table = np.array(list(rows), SHUTTERS)
    if not fixed_slits:
        table = table[[name for name in SHUTTERS.names if name != "fixed_slit"]]
        table = np.array(table.tolist(), [(name, SHUTTERS[name].str) for name in table.dtype.names])
    hdus = [
        fits.PrimaryHDU(),
        fits.ImageHDU(np.zeros((730, 342), np.int16), name="SHUTTER_IMAGE"),
        fits.BinTableHDU(table, name="SHUTTER_INFO"),
        fits.BinTableHDU(np.array(list(sources), SOURCES), name="SOURCE_INFO"),
    ]
    fits.HDUList(hdus).writeto(path, overwrite=True)
    return path
