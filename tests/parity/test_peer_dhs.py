"""The WCS of stripes of the Dispersed Hartmann Sensor against jwst 3.0.0, in the short and the long channel."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import asdf
import numpy as np
import pytest
import xarray as xr
from astropy.modeling.models import Polynomial1D
from peer import Peer

from jwpipe.refs import References
from jwpipe.stage2.assign_wcs import AssignWcsParams, tie_to_sky

pytestmark = pytest.mark.peer

DATA = Path(os.environ.get("JWPIPE_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
SIAF = DATA / "references" / "nircam_distortion_siaf"
STRIPES = (10, 9, 8, 7)
SHAPE = (164, 2048)
COMMON = {
    "TELESCOP": "JWST", "INSTRUME": "NIRCAM", "EXP_TYPE": "NRC_TSGRISM", "MODULE": "A", "DATE-OBS": "2026-01-02",
    "TIME-OBS": "03:04:05.0", "SUBARRAY": "SUB164STRIPE4_DHS", "SUBSTRT1": 1, "SUBSTRT2": 1, "SUBSIZE1": 2048,
    "SUBSIZE2": 164, "FASTAXIS": -1, "SLOWAXIS": 2, "MSTR_RD1": 1, "MSTR_RD2": 40, "MSTR_RPT": 1, "SSTR_NST": 0,
    "SSTR_STP": 0, "PPS_APER": "NRCA5_40STRIPE1_DHS_F444W",
}  # fmt: skip
SHORT = COMMON | {
    "DETECTOR": "NRCA1", "CHANNEL": "SHORT", "FILTER": "F150W2", "PUPIL": "GDHS0", "MSTR_ILV": 1, "MSTR_SK1": 1526,
    "MSTR_SK2": 85,
}  # fmt: skip
LONG = COMMON | {
    "DETECTOR": "NRCALONG", "CHANNEL": "LONG", "FILTER": "F444W", "PUPIL": "GRISMR", "MSTR_ILV": 0, "MSTR_SK1": 971,
    "MSTR_SK2": 0,
}  # fmt: skip
POINTING = {
    "RA_REF": 80.0, "DEC_REF": -69.5, "V2_REF": 120.576793, "V3_REF": -527.501431, "ROLL_REF": 305.03,
    "VELOSYS": -9378.83, "VA_SCALE": 1.00004, "VPARITY": -1, "V3I_YANG": 0.0,
}  # fmt: skip
PIXELS = np.array([(x, y) for x in (3.0, 700.25, 2040.0) for y in (1.0, 20.5, 60.0, 101.0, 163.0)])

CODE = """
import json, sys
import numpy as np
from astropy.io import fits
from stdatamodels.jwst import datamodels
from jwst.assign_wcs.assign_wcs import load_wcs
for case in json.load(open(sys.argv[1])):
    hdus = fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.zeros(case["shape"], "f4"), name="SCI")])
    hdus[0].header.update(case["primary"])
    hdus[1].header.update(case["sci"])
    model = load_wcs(datamodels.ImageModel(hdus), case["references"])
    wcs = model.meta.wcs
    x, y = np.array(case["pixels"]).T
    forward = np.array([np.broadcast_to(wcs(*each, 1), 5) for each in zip(x, y)], float)
    back = np.array([wcs.backward_transform(*each) for each in forward], float)
    np.savez(case["output"], forward=forward, back=back, axis=model.meta.wcsinfo.dispersion_direction)
    print(wcs.available_frames)
"""


def regions(folder: Path, keywords: dict[str, Any]) -> Path:
    """The stripes on the detector."""
    labels = np.zeros((2048, 2048))
    row = keywords["MSTR_RD1"] + keywords["MSTR_SK1"]
    for stripe in (1,) if keywords is LONG else STRIPES:
        labels[row : row + 40] = stripe
        row += 40 + keywords["MSTR_SK2"]
    return write(folder / f"{keywords['DETECTOR']}_regions.asdf", "REGIONS", regions=labels)


def write(path: Path, kind: str, **tree: Any) -> Path:
    """A reference in ASDF."""
    meta = {
        "reftype": kind, "author": "test", "pedigree": "DUMMY", "useafter": "2020-01-01T00:00:00", "telescope": "JWST",
        "description": "test", "instrument": {"name": "NIRCAM", "module": "A"}, "exposure": {"type": "NRC_TSGRISM"},
        "subarray": {"name": "SUB164STRIPE4_DHS"}, "input_units": "micron", "output_units": "micron",
    }  # fmt: skip
    asdf.AsdfFile({"meta": meta, **tree}).write_to(path)
    return path


def short_specwcs(folder: Path, listed: tuple[int, ...], name: str) -> Path:
    """Traces that differ from stripe to stripe, listed in this order for each of two field points."""
    points = [point for point in ("F322W2", "F444W") for _ in listed]
    stripes = [*listed, *listed]
    models: dict[str, list[Any]] = {"displ": [], "dispx": [], "dispy": []}
    for number, stripe in enumerate(stripes):
        add = 0.0 if number < len(listed) else 0.01
        models["displ"].append([Polynomial1D(1, c0=1.0 + add, c1=1.4)])
        models["dispx"].append([Polynomial1D(1, c0=3028.0 + 10 * stripe, c1=-4827.6 + stripe)])
        models["dispy"].append([Polynomial1D(1, c0=1600.0 + stripe, c1=2.0)])
    return write(
        folder / name, "SPECWCS", orders=[1], stripes=stripes, fieldpoints=points, invdispl=None, **models
    )  # fmt: skip


def long_specwcs(folder: Path) -> Path:
    """The one trace of the long channel."""
    lines = {"displ": (2.4, 2.6), "dispx": (-1500.0, 2600.0), "dispy": (0.5, 3.0)}
    models = {key: [Polynomial1D(1, c0=a, c1=b)] for key, (a, b) in lines.items()}
    return write(
        folder / "long.asdf", "SPECWCS", orders=[1], stripes=[1], fieldpoints=["F444W"], **models
    )


@pytest.fixture(scope="module")
def results(peer: Peer, tmp_path_factory) -> dict[str, tuple[Any, dict[str, np.ndarray]]]:
    """Our exposure with its WCS, and the values of the peer's, of each case."""
    folder = tmp_path_factory.mktemp("dhs")
    # jwst 3.0.0 takes the models in the order in which a set of the numbers is walked through: 8, 9, 10, 7.
    cases = {
        "short": (SHORT, short_specwcs(folder, (8, 9, 10, 7), "in_order.asdf")),
        "short, as listed": (SHORT, short_specwcs(folder, (7, 8, 9, 10), "as_listed.asdf")),
        "long": (LONG, long_specwcs(folder)),
    }
    jobs, ours = [], {}
    for name, (keywords, specwcs) in cases.items():
        star = (
            {"XREF_SCI": 862.0, "YREF_SCI": 20.5}
            if keywords is LONG
            else {"XREF_SCI": 1024.5, "YREF_SCI": 24.5}
        )
        sci = POINTING | star
        files = {
            "distortion": SIAF / ("nrca5_distortion.asdf" if keywords is LONG else "nrca1_distortion.asdf"),
            "filteroffset": None,
            "specwcs": specwcs,
            "regions": regions(folder, keywords),
        }  # fmt: skip
        exposure = xr.Dataset(
            {"sci": (("y", "x"), np.zeros(SHAPE, np.float32))},
            attrs={"primary": keywords, "sci": sci, "filename": "one_rate.fits"},
        )
        references = References.from_files(files)
        ours[name] = tie_to_sky(exposure, references, AssignWcsParams())
        case = {
            "primary": keywords, "sci": sci, "shape": SHAPE, "pixels": PIXELS.tolist(),
            "references": {kind: path and str(path) for kind, path in files.items()},
            "output": str(folder / f"{name}.npz"),
        }  # fmt: skip
        jobs.append(case)
    path = folder / "cases.json"
    path.write_text(json.dumps(jobs))
    peer.execute("dhs", CODE, path)
    return {name: (ours[name], dict(np.load(folder / f"{name}.npz"))) for name in cases}


def values(wcs: Any) -> np.ndarray:
    return np.array([wcs(x, y, 1) for x, y in PIXELS], float)


@pytest.mark.parametrize("name", ["short", "long"])
def test_sky_wavelength_and_stripe(results, name: str):
    ours, theirs = results[name]
    found, expected = values(ours.attrs["wcs"]), theirs["forward"]
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_allclose(found[:, :2], expected[:, :2], rtol=0, atol=1e-11)
    np.testing.assert_allclose(found[:, 2], expected[:, 2], rtol=1e-12)
    np.testing.assert_array_equal(found[:, 3:], expected[:, 3:])
    assert ours.attrs["sci"]["DISPAXIS"] == theirs["axis"]


@pytest.mark.parametrize("name", ["short", "long"])
def test_backwards(results, name: str):
    ours, theirs = results[name]
    wcs = ours.attrs["wcs"]
    back = np.array([wcs.backward_transform(*each) for each in theirs["forward"]], float)
    np.testing.assert_allclose(back, theirs["back"], atol=1e-6)


def test_each_stripe_has_its_own_trace_whatever_the_order_of_the_list(results):
    found = {name: values(results[name][0].attrs["wcs"]) for name in ("short", "short, as listed")}
    np.testing.assert_allclose(found["short, as listed"], found["short"], rtol=1e-14)
    theirs = results["short, as listed"][1]["forward"]
    assert not np.allclose(theirs[:, 2], found["short"][:, 2], rtol=1e-4)
