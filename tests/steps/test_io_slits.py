"""Products of many slits: read, used, written, and read again, here and by the tools of JWST users."""

import pickle

import nirspec_examples
import numpy as np
import pytest
import xarray as xr
from astropy.io import fits
from click.testing import CliRunner
from stdatamodels.jwst import datamodels
from test_wcs_inspect import slit_spectrum

from jwpipe.cli import main
from jwpipe.exposure import ExposureError
from jwpipe.io import open
from jwpipe.io.slits import has_slits, open_slit, open_slits, save_slits
from jwpipe.wcs import pixel_map

FLIGHT = nirspec_examples.DATA / "flight" / "nirspec_mos_prism_2565"
CAL = FLIGHT / "jw02565007001_03101_00002_nrs2_cal.fits"
needs_flight = pytest.mark.skipif(not CAL.exists(), reason=f"{CAL} is absent")


@pytest.fixture
def tree():
    """Three spectra of two sources, each with its own place in the frame."""
    rng = np.random.default_rng(2)
    children = {}
    for name, order, size in (("7_order1", 1, 30), ("7_order2", 2, 20), ("12", 1, 25)):
        shape = (11, size)
        slit = slit_spectrum()
        words = {"SLTNAME": name.split("_")[0], "SPORDER": order, "SLTSTRT1": 10 * size}
        variables = {
            "sci": (("y", "x"), rng.normal(size=shape).astype(np.float32), {"units": "MJy/sr"}),
            "dq": (("y", "x"), rng.integers(0, 9, shape).astype(np.uint32)),
            "wavelength": (("y", "x"), np.full(shape, 1.5, np.float32)),
        }
        attrs = {"sci": words, "wcs": slit.attrs["wcs"], "tables": {}}
        children[name] = xr.Dataset(variables, attrs=attrs)
    primary = {"TELESCOP": "JWST", "INSTRUME": "NIRCAM", "EXP_TYPE": "NRC_WFSS", "FILTER": "F444W"}
    root = xr.Dataset(attrs={"primary": primary, "product": "cal", "filename": "one_cal.fits"})
    return xr.DataTree.from_dict({"/": root} | children)


def same(found, tree):
    assert list(found.children) == list(tree.children)
    for name, child in tree.children.items():
        slit = found[name].to_dataset()
        assert set(slit) == set(child.to_dataset())
        for variable in slit:
            np.testing.assert_array_equal(slit[variable], child[variable])
        assert slit.attrs["sci"]["SLTNAME"] == child.attrs["sci"]["SLTNAME"]
        assert slit.attrs["wcs"](4.0, 5.0) == child.attrs["wcs"](4.0, 5.0)


@pytest.mark.parametrize("format", ["fits", "zarr"])
def test_written_and_read(tree, tmp_path, format):
    path = save_slits(tree, tmp_path, format=format)
    assert path.name == f"one_cal.{format}"
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    found = open_slits(path)
    same(found, tree)
    assert has_slits(path)
    same(pickle.loads(pickle.dumps(found)), tree)


def test_read_by_the_data_models(tree, tmp_path):
    with datamodels.open(save_slits(tree, tmp_path)) as model:
        assert type(model).__name__ == "MultiSlitModel"
        assert [slit.name for slit in model.slits] == ["7", "7", "12"]
        assert [slit.meta.wcsinfo.spectral_order for slit in model.slits] == [1, 2, 1]
        for slit, child in zip(model.slits, tree.children.values(), strict=True):
            np.testing.assert_array_equal(slit.data, child["sci"])
            np.testing.assert_array_equal(slit.dq, child["dq"])
            assert slit.meta.wcs(4.0, 5.0) == child.attrs["wcs"](4.0, 5.0)


def test_slits_without_arrays_that_others_have(tree, tmp_path):
    del tree["12"]["wavelength"]
    found = open_slits(save_slits(tree, tmp_path))
    same(found, tree)
    assert "wavelength" in found["7_order1"]


def test_one_slit(tree, tmp_path):
    path = save_slits(tree, tmp_path)
    assert open_slit(path, "12").sizes["x"] == 25
    with pytest.raises(ExposureError, match="no slit 8; it has 7_order1, 7_order2, 12"):
        open_slit(path, "8")
    with pytest.raises(ExposureError, match="say which slit with --slit"):
        open_slit(path)
    with pytest.raises(ExposureError, match="open_slits"):
        open(path)


def test_no_slits(tmp_path):
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.zeros((2, 2)), name="ERR")]).writeto(
        tmp_path / "a_cal.fits"
    )
    with pytest.raises(ExposureError, match="no SCI extension"):
        open_slits(tmp_path / "a_cal.fits")
    assert not has_slits(tmp_path / "a_cal.fits")


def test_pixels_by_the_command_line(tree, tmp_path):
    path = save_slits(tree, tmp_path)
    result = CliRunner().invoke(main, ["wcs", str(path), "20", "3", "--slit", "12"])
    assert result.exit_code == 0, result.output
    assert "wavelength  1.2 micron" in result.output
    result = CliRunner().invoke(main, ["wcs", str(path), "20", "3"])
    assert (result.exit_code, "it has 7_order1, 7_order2, 12" in result.output) == (1, True)


@needs_flight
def test_flight_product_of_one_slit(tmp_path):
    """The gwcs of a flight product is used, and written again unchanged in meaning."""
    before = open_slits(CAL)
    slit = before["30"].to_dataset()
    coordinates = pixel_map(slit)
    waves = slit["wavelength"].values
    both = np.isfinite(waves) & np.isfinite(coordinates["wavelength"].values)
    assert both.sum() > 0.9 * np.isfinite(waves).sum() > 5000
    after = open_slits(save_slits(before, tmp_path))
    again = after["30"].to_dataset()
    for name in slit:
        np.testing.assert_array_equal(again[name], slit[name])
    assert slit.attrs["sci"].items() <= again.attrs["sci"].items()
    for name in coordinates:
        np.testing.assert_array_equal(pixel_map(again)[name], coordinates[name])
    with datamodels.open(tmp_path / CAL.name) as new, datamodels.open(CAL) as old:
        assert new.slits[0].shutter_state == old.slits[0].shutter_state
        assert new.slits[0].meta.wcsinfo.instance == old.slits[0].meta.wcsinfo.instance
        np.testing.assert_array_equal(new.slits[0].pathloss_point, old.slits[0].pathloss_point)
