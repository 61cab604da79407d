"""Where light is known to fall: NIRSpec's spectra and shutters, the traces of NIRISS SOSS, MIRI's sky."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from jwpipe.exposure import ExposureError, Header
from jwpipe.refs import RefArray
from jwpipe.stage1.flicker.regions import region_references, science_regions
from jwpipe.wcs.soss_traces import near_traces, traces

sys.path.append(str(Path(__file__).parent))
import nirspec_examples as examples

GRID = {"wavemap_wlmin": 0.5, "wavemap_wlmax": 5.5, "wavemap_nwl": 501}
BAD, NOT_SKY, NO_FLAT = 1, 1 << 9, 1 << 18


def soss_tree():
    """Three parabolas, wavelengths that depend on the angle a little."""
    x = np.arange(2048.0)
    orders, waves = [], []
    for order, (y0, bend) in enumerate(((80, 2e-5), (120, 5e-5), (160, 9e-5)), 1):
        trace = np.stack([x, y0 + bend * (x - 1400) ** 2]).T
        pivot = {"pivot_x": 1600.0, "pivot_y": float(y0)}
        orders.append({"spectral_order": order, "trace": trace, **pivot})
        coefficients = [2.8 / order, -2.0 / order, 0.01, 0.05, 0.003, 0.002]
        extents = [[0.0, -0.3], [2048.0, 0.3]]
        waves.append({"coefficients": coefficients, "scale_extents": extents})
    meta = {"pwcpos_cmd": 245.76, "pwcpos_bounds": [245.5, 246.0], **GRID}
    return {"meta": meta, "traces": orders, "wavecal_models": waves}


def soss(angle=245.76, subarray="SUBSTRIP256"):
    words = Header({"primary": {"PWCPOS": angle, "SUBARRAY": subarray, "EXP_TYPE": "NIS_SOSS"}})
    file = SimpleNamespace(tree=soss_tree, path="pastasoss.asdf", header={})
    return traces(words, {"pastasoss": file})


def test_traces_at_the_commanded_angle_are_those_of_the_reference():
    """1.0 micron in the first order is where 2.8 - 2 u + 0.01 t + 0.05 u^2 + ... says, u = x / 2048 and t = 1/2."""
    x, y, waves = soss()[1]
    at = np.argmin(np.abs(waves - 1.0))
    u = x[at] / 2048
    found = 2.8 - 2 * u + 0.005 + 0.05 * u**2 + 0.003 * u / 2 + 0.002 / 4
    assert found == pytest.approx(1.0, abs=1e-6)
    assert y[at] == pytest.approx(80 + 2e-5 * (x[at] - 1400) ** 2, abs=1e-3)


def test_traces_turn_with_the_wheel():
    """0.07 deg about x = 1600 move the trace at x = 600 by 1000 tan(0.07 deg), downwards."""
    straight, turned = soss()[1], soss(245.83)[1]
    heights = [np.interp(600, trace[0][::-1], trace[1][::-1]) for trace in (straight, turned)]
    assert heights[1] - heights[0] == pytest.approx(-1000 * np.tan(np.radians(0.07)), abs=0.03)


def test_narrow_strips_begin_ten_rows_higher():
    np.testing.assert_allclose(soss()[2][1] - soss(subarray="SUBSTRIP96")[2][1], 10, atol=1e-6)


def test_angles_beyond_the_reference_are_refused():
    with pytest.raises(ExposureError, match=r"PWCPOS is 250.0.*245.5 to 246.0"):
        soss(250.0)


def test_pixels_near_traces():
    """About a trace at y = 20.3 rows 4 (floor of 4.3) to 37 (ceiling of 36.3) are near."""
    trace = np.stack([np.array([0.0, 99.0]), np.array([20.3, 20.3]), np.array([1.0, 2.0])])
    near = near_traces({1: trace}, (60, 100))
    assert np.flatnonzero(near[:, 50]).tolist() == list(range(4, 38))


def test_what_is_no_sky_of_miri():
    flat, flags = np.ones((4, 5), np.float32), np.zeros((4, 5), np.uint32)
    flat[0, 0], flat[0, 1] = np.nan, 0
    flags[1, 0], flags[1, 1], flags[1, 2] = NO_FLAT, NOT_SKY, 2
    arrays = {"sci": RefArray.from_numpy(flat), "dq": RefArray.from_numpy(flags)}
    references = {"flat": SimpleNamespace(array=arrays.get)}
    dq = np.zeros((4, 5), np.uint32)
    dq[2, 0] = BAD
    made = xr.Dataset(
        {"sci": (("y", "x"), flat)}, attrs={"primary": {"EXP_TYPE": "MIR_IMAGE"}, "sci": {}}
    )
    found = science_regions(made, references, da.from_array(dq))
    assert np.argwhere(found.compute()).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1], [2, 0]]
    cube = science_regions(made, references, da.from_array(np.stack([dq, 0 * dq])))
    assert cube.compute()[1, 2, 0] == 0


def test_nothing_is_known_of_other_images():
    made = xr.Dataset(
        {"sci": (("y", "x"), np.zeros((3, 3)))},
        attrs={"primary": {"EXP_TYPE": "NRC_IMAGE"}, "sci": {}},
    )
    assert science_regions(made, {}) is None
    assert region_references(Header({"primary": {"EXP_TYPE": "NRC_IMAGE"}})) == ()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The MSA metadata, and shutters that do not close."""
    if not examples.REFERENCES.exists():
        pytest.skip(f"{examples.REFERENCES} is absent")
    path = tmp_path_factory.mktemp("nirspec")
    examples.write_msa_metadata(path / "one_msa.fits")
    shutters = [
        {"Q": q, "x": x, "y": y, "state": state, "TA state": "", "Internal state": internal}
        for q, x, y, state, internal in (
            (1, 100, 50, "open", ""),
            (2, 200, 100, "", "open"),
            (3, 300, 150, "closed", ""),
            (4, 120, 20, "open", ""),
        )
    ]
    (path / "msaoper.json").write_text(json.dumps({"instrument": "NIRSPEC", "msaoper": shutters}))
    return path


@pytest.mark.parametrize(("kind", "left"), [("NRS_MSASPEC", 4069398), ("NRS_FIXEDSLIT", 3984436)])
@pytest.mark.filterwarnings("ignore:.*slitlet.*")
def test_spectra_of_nirspec(folder, kind, left):
    """As many pixels are left as jwst 3.0.0 leaves."""
    references = examples.references(folder=folder, msaoper=folder / "msaoper.json")
    made = examples.exposure(examples.keywords(kind), folder=folder)
    assert int((~science_regions(made, references).compute()).sum()) == left
