"""The WCS drawn over pictures: grids, outlines, wavelengths."""

import asdf
import matplotlib.image
import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.modeling.models import Identity, Mapping, Polynomial1D
from astropy.table import QTable
from gwcs import WCS
from gwcs.coordinate_frames import CompositeFrame, Frame2D, SpectralFrame
from test_wcs_grism import ROWS, built, nircam_tree, still
from test_wcs_inspect import PIXELS, exposure, image
from test_wcs_miri import mrs
from test_wcs_soss import built as built_soss

from jwpipe.exposure import ExposureError
from jwpipe.quicklook import _image_figure, show
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


def test_slitless_spectra_of_a_catalogue(tmp_path):
    """The trace of a source at (1200, 700) ends 100 pixels beyond it: see the cut-outs."""
    wcs = built(still(ROWS), nircam_tree())
    sky = wcs.get_transform("detector", "world")(1200.0, 700.0, 1.0, 1.0)[:2]
    place = SkyCoord([sky[0]], [sky[1]], unit="deg")
    columns = {f"sky_bbox_{corner}": place for corner in ("ll", "lr", "ul", "ur")}
    table = QTable(
        {"label": [7], "sky_centroid": place, "isophotal_abmag": [20.0], "is_extended": [False]}
        | columns
    )
    table.write(tmp_path / "x_cat.ecsv", format="ascii.ecsv")
    ranges = {"wavelengthrange": [[1, "F444W", 3.0, 4.0]], "extract_orders": [["F444W", [1]]]}
    asdf.AsdfFile(ranges).write_to(tmp_path / "ranges.asdf")
    given = exposure(wcs, DISPAXIS=1, **ROWS).isel(x=[0], y=[0]).drop_vars("sci")
    given = given.assign(sci=(("y", "x"), np.zeros((2048, 2048), "f4")))
    options = {"catalogue": tmp_path / "x_cat.ecsv", "wavelengthrange": tmp_path / "ranges.asdf"}
    drawn = matplotlib.image.imread(show(given, tmp_path / "a.png", wcs=True, **options))
    bare = matplotlib.image.imread(show(given, tmp_path / "b.png"))
    rows = np.nonzero(np.any(drawn != bare, axis=(1, 2)))[0]
    # All that is drawn lies within a few of the picture's rows.
    assert 2 < np.ptp(rows) < 0.2 * len(drawn)


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


def wide(**sci):
    given = exposure(None).drop_vars("sci")
    given = given.assign(sci=(("y", "x"), np.zeros((8, 3200), "f4")))
    return given.assign_attrs(sci=sci)


def test_axes_count_the_pixels_of_the_file():
    """A frame of 8 x 3200 pixels is drawn smaller, and its axes still go to 8 and 3200."""
    picture = _image_figure(wide()).axes[0]
    assert picture.images[0].get_array().shape[1] < 2000
    assert picture.images[0].get_extent() == [-0.5, 3199.5, -0.5, 7.5]


def test_the_sky_of_large_frames_is_that_of_the_header():
    """1e-5 deg a pixel: pixel 1000 is 0.01 deg from the reference pixel, however small the picture."""
    picture = _image_figure(
        wide(
            CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRPIX1=1.0, CRPIX2=1.0, CRVAL1=10.0, CRVAL2=0.0,
            CD1_1=1e-5, CD1_2=0.0, CD2_1=0.0, CD2_2=1e-5,
        )
    ).axes[0]  # fmt: skip
    np.testing.assert_allclose(picture.wcs.wcs_pix2world(1000, 0, 0), (10.01, 0), atol=1e-8)
    assert picture.get_xlim() == (-0.5, 3199.5)


def test_channels_have_their_own_levels():
    """From 4.9 to 5.7 micron steps of 0.2, from 7.5 to 8.7 steps of 0.2."""
    waves = np.concatenate([np.linspace(4.9, 5.7, 50), np.linspace(7.5, 8.7, 50)])
    expected = [5.0, 5.2, 5.4, 5.6, 7.6, 7.8, 8.0, 8.2, 8.4, 8.6]
    np.testing.assert_allclose(_levels(waves), expected)


def test_light_of_lamps_has_slits_and_wavelengths_but_no_sky(tmp_path):
    plane = Frame2D(name="msa_spatial", axes_order=(0, 1), unit=(units.m, units.m))
    waves = SpectralFrame(name="msa_spectral", unit=(units.um,), axes_order=(2,))
    model = Mapping((0, 1, 0)) | Identity(2) & Polynomial1D(1, c0=1, c1=0.02)
    lamp = WCS([(PIXELS, model), (CompositeFrame([plane, waves], name="msa_frame"), None)])
    bare = matplotlib.image.imread(show(exposure(lamp), tmp_path / "bare.png"))
    drawn = matplotlib.image.imread(show(exposure(lamp), tmp_path / "drawn.png", wcs=True))
    assert np.any(drawn != bare)
    image = WCS([(PIXELS, Identity(2)), (plane, None)])
    with pytest.raises(ExposureError, match="frame msa_spatial, expected the sky"):
        show(exposure(image), tmp_path / "a.png", wcs=True)


def test_long_subarrays_fill_the_figure():
    assert _image_figure(wide()).axes[0].get_aspect() == "auto"
    assert _image_figure(exposure(None)).axes[0].get_aspect() == 1
