"""The numbers of jwst 3.0.0 on request, where it is wrong."""

import numpy as np
import pytest
from astropy.io import fits

import jwpipe
from jwpipe.params import peer_layer
from jwpipe.stage1 import NEAR_INFRARED
from jwpipe.stage2 import IMAGE


def test_each_difference_is_a_parameter_with_two_values():
    assert peer_layer(NEAR_INFRARED)["dark_current"] == {"average_of_pixels": False}
    assert peer_layer(IMAGE)["bkg_subtract"] == {"at_corner": True, "void_as_zero": True}
    for step in (*NEAR_INFRARED, *IMAGE):
        for name, value in peer_layer([step]).get(step.name, {}).items():
            assert getattr(step.params(), name) != value
            assert getattr(step.params(**{name: value}), name) == value


@pytest.fixture(scope="module")
def dark(tiny, tmp_path_factory):
    """A dark whose average current differs from pixel to pixel."""
    (files,) = tiny.files.values()
    path = tmp_path_factory.mktemp("dark") / "dark.fits"
    with fits.open(files["dark"]) as hdus:
        level = np.full(hdus["SCI"].shape[-2:], 50.0, np.float32)
        hdus.append(fits.ImageHDU(level, name="AVDRKCUR"))
        hdus.writeto(path)
    return path


def test_the_flag_sets_them_and_the_user_has_the_last_word(tiny, dark):
    keywords = {"refs": tiny.references, "overrides": {"dark": dark}}
    right, alike, chosen = (
        jwpipe.detector1(tiny.uncal[0], **keywords, **more)["var_poisson"].values
        for more in (
            {},
            {"like_peer": True},
            {"like_peer": True, "steps": {"dark_current": {"average_of_pixels": True}}},
        )
    )
    good = alike > 0
    assert (right[good] > alike[good]).all()
    np.testing.assert_array_equal(chosen, right)


def test_from_the_command_line(jw, tiny, dark, tmp_path):
    words = ("run", "detector1", tiny.uncal[0], "--refs", tiny.references, "-o", tmp_path)
    assert jw(*words, "--override", f"dark={dark}", "--like-peer").status == 0
    (path,) = tmp_path.glob("*_rate.fits")
    history = jwpipe.open(path).attrs["history"]
    (record,) = [each for each in history if each["step"] == "dark_current"]
    assert record["parameters"]["average_of_pixels"] is False
