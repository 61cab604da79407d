"""Pixels to places and back through the WCS of every kind of mode, made by hand in small."""

import nirspec_examples
import numpy as np
import pytest
import xarray as xr
from astropy import coordinates, units
from astropy.modeling.models import Const1D, Identity, Mapping, Scale, Shift
from gwcs import WCS
from gwcs.coordinate_frames import CelestialFrame, CompositeFrame, Frame2D, SpectralFrame
from test_wcs_grism import NIRISS, ROWS, SERIES, built, nircam_tree, niriss_tree, still
from test_wcs_miri import mrs
from test_wcs_nirspec import needs_references, run
from test_wcs_soss import built as built_soss

from jwpipe.exposure import ExposureError
from jwpipe.wcs.inspect import Choice, Place, described, part_of, parts_of

PIXELS = Frame2D(name="detector", axes_order=(0, 1), unit=(units.pix, units.pix))
SKY = CelestialFrame(reference_frame=coordinates.ICRS(), name="world")


def exposure(wcs, **keywords):
    attrs = {"primary": {}, "sci": keywords, "filename": "one_cal.fits", "product": "cal"}
    image = {"sci": (("y", "x"), np.zeros((20, 30), "f4"))}
    return xr.Dataset(image, attrs=attrs | ({} if wcs is None else {"wcs": wcs}))


def image(frame=SKY):
    """A thousandth of a degree a pixel from (10, -20) on."""
    wcs = WCS([(PIXELS, Scale(1e-3) & Scale(1e-3) | Shift(10) & Shift(-20)), (frame, None)])
    wcs.bounding_box = ((-0.5, 29.5), (-0.5, 19.5))
    return exposure(wcs)


def slit_spectrum():
    """A rectified spectrum in metres, as NIRSpec's internal frames are: 1e-6 + x 1e-8 m."""
    waves = SpectralFrame(name="spectral", axes_order=(2,), unit=(units.m,))
    model = Mapping((0, 1, 0)) | Identity(2) & (Scale(1e-8) | Shift(1e-6))
    return exposure(WCS([(PIXELS, model), (CompositeFrame([SKY, waves], name="world"), None)]))


def test_images():
    part = part_of(image(), Choice())
    place = part.place(4, 7)
    assert (place.x, place.y, place.wavelength) == (4, 7, None)
    assert (place.ra, place.dec) == pytest.approx((10.004, -19.993))
    back = part.pixel(10.004, -19.993)
    assert (back.x, back.y) == pytest.approx((4, 7))


def test_wavelengths_are_in_micron():
    """1e-6 + 20e-8 m."""
    assert part_of(slit_spectrum(), Choice()).place(20, 3).wavelength == pytest.approx(1.2)


@pytest.mark.parametrize(
    ("pixel", "told"), [((29.6, 3), "outside the bounding box"), ((4, -0.6), "x from -0.5 to 29.5")]
)
def test_outside_the_bounding_box(pixel, told):
    with pytest.raises(ExposureError, match=told):
        part_of(image(), Choice()).place(*pixel)


def test_light_outside_the_bounding_box():
    with pytest.raises(ExposureError, match=r"falls on \(-1000\.000, 10\.000\), outside"):
        part_of(image(), Choice(), inverse=True).pixel(9, -19.99)


def test_wavelengths_belong_to_spectra():
    with pytest.raises(ExposureError, match="an image has no wavelengths"):
        part_of(image(), Choice()).pixel(10, -20, 2.0)
    with pytest.raises(ExposureError, match="needs RA, DEC and WAVELENGTH"):
        part_of(slit_spectrum(), Choice()).pixel(10, -20)


def test_no_sky():
    with pytest.raises(ExposureError, match="no WCS in this cal"):
        part_of(exposure(None), Choice())
    with pytest.raises(ExposureError, match="frame msa_frame, expected the sky"):
        part_of(image(Frame2D(name="msa_frame", unit=(units.m, units.m))), Choice())


def test_choices_without_meaning():
    with pytest.raises(ExposureError, match="--slit has no meaning for its WCS, which takes the"):
        part_of(image(), Choice(slit="S200A1"))


def test_cubes_are_refused():
    model = Mapping((0, 1, 2)) | Identity(2) & Const1D(1.0)
    waves = SpectralFrame(name="spectral", axes_order=(2,), unit=(units.micron,))
    cube = WCS([(PIXELS, model), (CompositeFrame([SKY, waves], name="world"), None)])
    with pytest.raises(ExposureError, match="expected a pixel"):
        part_of(exposure(cube), Choice())


def test_slices_of_an_mrs_exposure_are_found():
    part = part_of(mrs(), Choice())
    place = part.place(7, 10)
    assert place.wavelength == pytest.approx(5.1)
    back = part.pixel(place.ra, place.dec, place.wavelength)
    assert (back.x, back.y) == pytest.approx((7, 10), abs=1e-6)
    with pytest.raises(ExposureError, match=r"pixel \(10, 10\) has no coordinates"):
        part.place(10, 10)


def test_orders_of_soss():
    soss = exposure(built_soss(), EXP_TYPE="NIS_SOSS")
    assert part_of(soss, Choice(order=2)).place(1000, 8).wavelength == pytest.approx(1.04 + 1810e-6)
    assert [part.label for part in parts_of(soss)] == ["order 1", "order 2", "order 3"]
    with pytest.raises(ExposureError, match="no way back"):
        part_of(soss, Choice(order=1), inverse=True).pixel(187.1, 2.05, 1.0)
    with pytest.raises(ExposureError, match="no order 5 in its WCS; the nearest is 3"):
        part_of(soss, Choice(order=5))
    with pytest.raises(ExposureError, match="say which order with --order; it has 1, 2, 3"):
        part_of(soss, Choice())


@pytest.mark.parametrize(
    ("keywords", "tree"), [(still(ROWS), nircam_tree()), (still(NIRISS), niriss_tree())]
)
def test_sources_of_slitless_spectra(keywords, tree):
    field = exposure(built(keywords, tree))
    source = part_of(field, Choice(order=1, source=(90, 12)))
    place = source.place(40, 12)
    back = part_of(field, Choice(order=1), inverse=True).pixel(
        place.ra, place.dec, place.wavelength
    )
    assert (back.x, back.y) == pytest.approx((40, 12), abs=1e-6)
    with pytest.raises(ExposureError, match="--source X0 Y0"):
        part_of(field, Choice(order=1))
    assert not list(parts_of(field))


def test_images_of_pixels_of_a_grism():
    """A picture of pixels has the coordinates of each: wavelengths run along the rows."""
    part = part_of(exposure(built(SERIES, nircam_tree())), Choice(order=1))
    x, y = np.meshgrid(np.arange(600.0, 640.0, 10.0), np.arange(3.0))
    ra, _, waves = part.world(x, y)
    assert ra.shape == waves.shape == (3, 4)
    assert waves[1, 2] == part.place(620, 1).wavelength
    assert len(np.unique(waves)) == 4


def test_time_series_have_one_source():
    series = exposure(built(SERIES, nircam_tree()))
    assert part_of(series, Choice(order=1)).place(70, 12).part == "order 1"
    with pytest.raises(ExposureError, match="--source has no meaning"):
        part_of(series, Choice(order=1, source=(1, 2)))


@needs_references
def test_slits(tmp_path):
    """The place of S200A1 is as jwst 3.0.0 finds it."""
    nirspec_examples.write_msa_metadata(tmp_path / "one_msa.fits")
    slits = run(tmp_path, "NRS_FIXEDSLIT")
    place = part_of(slits, Choice(slit="s200a1")).place(1356.6630001287792, 1077.0)
    assert place.part == "slit S200A1"
    assert place.wavelength == pytest.approx(1.402677815313437, rel=1e-9)
    assert place.ra == pytest.approx(150.0660950452584, abs=1e-9)
    with pytest.raises(ExposureError, match="no slit S200A in its WCS; the nearest is S200A"):
        part_of(slits, Choice(slit="S200A"))
    with pytest.raises(ExposureError, match=r"S200A1: pixel .* outside the bounding box"):
        part_of(slits, Choice(slit="S200A1")).place(3, 1077)


def test_places_are_written_out():
    lines = described(Place(1, 2, 15.0, -0.5, 1.25, "order 1")).splitlines()
    assert lines[0] == "order 1"
    assert "01h00m00.0000s" in lines[2]
    assert "-00d30m00.0000s" in lines[3]
    assert lines[4] == "wavelength  1.25 micron"
