import matplotlib.image
import numpy as np
import pytest
import xarray as xr
from io_examples import OBSERVATIONS, rate, real_data, uncal

import jwpipe.io as jio
from jwpipe.exposure import ExposureError
from jwpipe.quicklook import _facts, _flag_lines, _mean, _spread, show


def picture(path):
    image = matplotlib.image.imread(path)
    assert image.shape[0] > 200
    assert image.shape[1] > 600
    assert image.std() > 0.02
    return image


@pytest.mark.parametrize(
    "shape", [{}, {"integrations": 1, "groups": 1}, {"integrations": 6, "groups": 2}]
)
def test_ramps(tmp_path, shape):
    uncal(tmp_path / "a_uncal.fits", **shape)
    picture(show(tmp_path / "a_uncal.fits", tmp_path / "a.png"))
    assert {p.name for p in tmp_path.iterdir()} == {"a_uncal.fits", "a.png"}


@pytest.mark.parametrize("size", [(20, 16), (4, 300), (300, 4)])
def test_images(tmp_path, size):
    rate(tmp_path / "a_rate.fits", size=size)
    picture(show(jio.open(tmp_path / "a_rate.fits"), tmp_path / "a.png"))


@pytest.mark.parametrize("value", [0.0, 3.5, np.nan])
def test_images_of_one_value(tmp_path, value):
    exposure = xr.Dataset({"sci": (("y", "x"), np.full((8, 8), value, "f4"))})
    picture(show(exposure, tmp_path / "a.png"))


def test_cubes(tmp_path):
    rng = np.random.default_rng(0)
    cube = rng.normal(size=(7, 12, 10)).astype("f4")
    cube[2] = np.nan
    flags = np.zeros(cube.shape, "u4")
    exposure = xr.Dataset(
        {"sci": (("integration", "y", "x"), cube), "dq": (("integration", "y", "x"), flags)}
    )
    picture(show(exposure, tmp_path / "a.png"))


def test_facts(tmp_path):
    uncal(tmp_path / "a_uncal.fits")
    facts = _facts(jio.open(tmp_path / "a_uncal.fits"))
    assert facts == (
        "uncal  ·  NIRCAM NRCB1  ·  F200W  ·  NRC_IMAGE  ·  SUB64P  ·  SHALLOW4 2 int × 4 groups  ·  115.9 s  ·  "
        "2 × 4 × 20 × 16 px"
    )


def test_shares_of_flags():
    assert (
        _flag_lines(np.array([0.25, 0, 0.0123]), 0.5)
        == "DO_NOT_USE 25.00%\nJUMP_DET 1.23%\nno value 50.00%"
    )


def test_block_means_leave_out_nan():
    image = np.array([[1.0, np.nan], [3.0, 5.0]])
    assert _mean(image, (0, 1)) == 3.0
    assert np.isnan(_mean(image * np.nan, (0, 1)))


def test_ramps_from_faint_to_bright():
    signal = np.geomspace(1, 1000, 50)
    ramps = _spread(np.stack([np.full(50, 7.0), 7 + signal / 2, 7 + signal]))
    assert np.all(ramps[:, 0] == 0)
    assert np.all(np.diff(ramps[:, -1]) > 0)
    assert ramps[-1, -1] > 900


def test_a_folder_that_is_not_there(tmp_path):
    rate(tmp_path / "a_rate.fits")
    with pytest.raises(ExposureError, match="cannot be written"):
        show(tmp_path / "a_rate.fits", tmp_path / "no" / "a.png")


@real_data
@pytest.mark.parametrize("name", ["cal", "i2d"])
def test_real_images_have_sky_axes(tmp_path, name):
    file = {
        "cal": "jw90001001001_02101_00001_nrcb1_cal.fits",
        "i2d": "jw90001-o001_t001_nircam_f200w_i2d.fits",
    }[name]
    picture(show(OBSERVATIONS / "nircam_sub400p/peer" / file, tmp_path / "a.png"))
