"""The WCS drawn over pictures: grids, outlines, wavelengths."""

import matplotlib.image
import numpy as np
import pytest
from test_wcs_grism import ROWS, built, nircam_tree, still
from test_wcs_inspect import exposure, image
from test_wcs_miri import mrs
from test_wcs_soss import built as built_soss

from jwpipe.exposure import ExposureError
from jwpipe.quicklook import show
from jwpipe.quicklook_wcs import _digits, _levels, sampled
from jwpipe.wcs.inspect import Choice, part_of


@pytest.mark.parametrize(
    "given",
    [image(), mrs(), exposure(built_soss(), EXP_TYPE="NIS_SOSS")],
    ids=["sky", "mrs", "soss"],
)
def test_overlays_change_the_picture(tmp_path, given):
    bare = matplotlib.image.imread(show(given, tmp_path / "bare.png"))
    drawn = matplotlib.image.imread(show(given, tmp_path / "drawn.png", wcs=True))
    assert drawn.shape == bare.shape
    assert 0.001 < np.mean(np.any(drawn != bare, axis=-1)) < 0.5


def test_slitless_spectra_have_nothing_to_draw(tmp_path):
    with pytest.raises(ExposureError, match="only together with a source"):
        show(exposure(built(still(ROWS), nircam_tree())), tmp_path / "a.png", wcs=True)
    assert not list(tmp_path.iterdir())


def test_parts_are_sampled_to_the_edge_of_the_frame():
    one = sampled(part_of(image(), Choice()), (20, 30))
    assert (one.x[0], one.x[-1], one.y[0], one.y[-1]) == (0, 29, 0, 19)
    np.testing.assert_allclose(one.dec[:, 0], -20 + one.y * 1e-3)


def test_levels_are_round_and_told_apart():
    """Six steps of 0.5 fit between 4.9 and 8.2."""
    np.testing.assert_allclose(_levels(np.array([4.9, 8.2])), np.arange(5, 8.1, 0.5))
    assert _digits(np.array([4.9, 8.2])) == 1
    assert _digits(np.array([80.4801, 80.4835])) == 4


def test_pictures_of_large_frames(tmp_path):
    given = exposure(None).isel(x=[0], y=[0]).drop_vars("sci")
    wide = given.assign(sci=(("y", "x"), np.zeros((4, 3300), "f4")))
    assert show(wide, tmp_path / "a.png").exists()
