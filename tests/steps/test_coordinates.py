"""Maps of coordinates against the WCS itself, pixel by pixel, for modes of every kind."""

import gc
import pickle
import weakref

import nirspec_examples
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_wcs_dhs import solved as striped
from wcs_modes import modes

from jwpipe.exposure import ExposureError
from jwpipe.io.asdf_tree import dump, parse
from jwpipe.stage2.assign_wcs import AssignWcsParams, tie_to_sky
from jwpipe.wcs import Choice, coordinates, lazy_pixel_map, map_of, nirspec, pixel_map
from jwpipe.wcs.cutouts import cutouts_of
from jwpipe.wcs.direct import Direct
from jwpipe.wcs.inspect import part_of

pytestmark = pytest.mark.skipif(
    not nirspec_examples.REFERENCES.exists(), reason=f"{nirspec_examples.REFERENCES} is absent"
)
ROWS = 3
"""Every third row is compared."""
CASES = {
    "nircam image": Choice(),
    "miri lyot": Choice(),
    "miri mrs long": Choice(),
    "miri lrs slitless": Choice(),
    "niriss soss": Choice(order=2),
    "nirspec fixed slits": Choice(slit="S400A1"),
    "nirspec mos prism": Choice(slit="21"),
    "nirspec lamp": Choice(slit="S200A2"),
    "miri wfss": Choice(order=1, source=(500.0, 400.0)),
    "nircam tsgrism": Choice(order=1),
}
PLACES = {
    "miri mrs long": ("alpha", "beta"),
    "miri lrs slitless": ("alpha", "beta"),
    "nirspec fixed slits": ("y_slit",),
    "nirspec mos prism": ("y_slit",),
    "nirspec lamp": ("y_slit",),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("modes")


_solved = {}


def solved(name, folder):
    if name not in _solved:
        (mode,) = modes(folder, name)
        params = AssignWcsParams(**mode.params)
        _solved[name] = tie_to_sky(mode.exposure(folder), mode.files(), params)
    return _solved[name]


def exact(exposure, choice):
    """The coordinates of the pixels of some rows by the WCS; NaN outside its bounding box."""
    part = part_of(exposure, choice, internal=True)
    y, x = np.mgrid[: exposure.sizes["y"] : ROWS, : exposure.sizes["x"]].astype(float)
    beside = [np.full_like(x, value) for value in part.beside]
    if "NRC" in exposure.attrs["primary"]["EXP_TYPE"]:
        beside = list(part.beside)
    with np.errstate(all="ignore"):
        found = part.wcs(x, y, *beside)
    planes = np.stack(
        [np.broadcast_to(value, x.shape) for value in found[: 3 if part.spectral else 2]]
    )
    planes[:, np.isnan(planes).any(axis=0)] = np.nan
    return planes


@pytest.mark.parametrize("name", CASES)
def test_as_the_wcs_has_it(name, folder):
    """All within 5e-4 pixels, and NaN in the very same ones."""
    exposure = solved(name, folder)
    found, expected = pixel_map(exposure, of=CASES[name]), exact(exposure, CASES[name])
    values = [found[each].values[::ROWS] for each in found]
    assert tuple(found)[len(expected) :] == PLACES.get(name, ())
    assert np.isfinite(expected).any()
    np.testing.assert_array_equal(np.isnan(values[0]), np.isnan(expected[0]))
    assert found.attrs["error"] <= coordinates.TOLERANCE
    for value, correct in zip(values, expected, strict=False):
        steps = [np.nanmedian(np.abs(np.diff(correct, axis=axis))) for axis in (0, 1)]
        slope = np.hypot(steps[0] / ROWS, steps[1])
        assert np.nanmax(np.abs(value - correct)) <= 2 * coordinates.TOLERANCE * slope + 1e-12


def test_places_along_a_slit(folder):
    """The slit is followed from -0.55 to 0.55, and y runs along the columns."""
    y = pixel_map(solved("nirspec fixed slits", folder), of=Choice(slit="S400A1"))["y_slit"]
    assert -0.55 <= float(y.min()) < -0.5
    assert 0.5 < float(y.max()) <= 0.55
    assert np.nanmin(np.abs(np.diff(y.values, axis=0))) > 0.01


def test_slices_do_not_mix(folder):
    """Each slice of MIRI has one beta."""
    exposure = solved("miri mrs long", folder)
    labels = exposure.attrs["wcs"].pipeline[0].transform.label_mapper.mapper
    beta = pixel_map(exposure)["beta"].values
    for label in np.unique(labels)[1:]:
        assert np.ptp(beta[(labels == label) & np.isfinite(beta)]) < 1e-12


@settings(max_examples=20, deadline=None)
@given(
    rows=st.tuples(st.integers(0, 304), st.integers(0, 304)).map(sorted),
    columns=st.tuples(st.integers(0, 320), st.integers(0, 320)).map(sorted),
)
def test_a_tile_is_a_piece_of_the_whole(folder, rows, columns):
    exposure = solved("miri lyot", folder)
    tile = slice(*rows), slice(*columns)
    whole, found = pixel_map(exposure), pixel_map(exposure, tile)
    for name in whole:
        np.testing.assert_array_equal(found[name], whole[name][tile])


def test_tiles_of_slices(folder):
    exposure = solved("miri mrs long", folder)
    whole, tile = pixel_map(exposure), (slice(300, 420), slice(480, 560))
    found = pixel_map(exposure, tile)
    for name in whole:
        np.testing.assert_array_equal(found[name], whole[name][tile])


def test_dask_blocks_are_those_of_the_pixels(folder):
    exposure = solved("miri mrs long", folder).chunk({"y": 256, "x": -1})
    lazy, whole = lazy_pixel_map(exposure), pixel_map(exposure)
    assert lazy.chunks["y"] == (256,) * 4
    again = lazy_pixel_map(exposure.assign(err=exposure["sci"]))
    assert lazy["wavelength"].data.name == again["wavelength"].data.name
    for name in whole:
        np.testing.assert_array_equal(lazy[name].isel(y=slice(250, 300)), whole[name][250:300])


def test_made_once_and_let_go(folder):
    (mode,) = modes(folder, "niriss ami")
    exposure = tie_to_sky(mode.exposure(folder), mode.files(), AssignWcsParams())
    first = map_of(exposure)
    assert map_of(exposure.assign_attrs(product="cal")) is first
    wcs = weakref.ref(exposure.attrs["wcs"])
    del exposure, first
    gc.collect()
    assert wcs() is None


@pytest.mark.parametrize("name", ["nirspec fixed slits", "miri mrs long", "niriss soss"])
def test_maps_survive_pickling(name, folder):
    found = map_of(solved(name, folder), CASES[name])
    rows = slice(0, 2048, 1)
    with np.errstate(invalid="ignore"):
        again = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(again.planes(rows), found.planes(rows))


def test_corners_of_pixels(folder):
    """Half a pixel to the left of a pixel is half a pixel to the right of its neighbour, and the slit goes on."""
    exposure = solved("nirspec fixed slits", folder)
    found = map_of(exposure, Choice(slit="S400A1"))
    left, right = (found.planes(shift=(side, 0.0)) for side in (-0.5, 0.5))
    np.testing.assert_array_equal(np.isnan(left), np.isnan(right))
    both = np.isfinite(left[:, :, 1:] + right[:, :, :-1])
    np.testing.assert_allclose(left[:, :, 1:][both], right[:, :, :-1][both], rtol=0, atol=1e-9)
    assert np.nanmax(found.planes(shift=(0.0, -0.5))[3]) > 0.55


def test_right_ascension_at_0_h(folder):
    """The field is an arcminute wide: from 359.99 degrees over 0 to 0.01."""
    (mode,) = modes(folder, "nircam image")
    mode.keywords.update(RA_REF=0.045)
    exposure = tie_to_sky(mode.exposure(folder), mode.files(), AssignWcsParams())
    ra = pixel_map(exposure)["ra"].values[::ROWS]
    assert 0 <= ra.min() < 0.001
    assert 359.9 < ra.max() < 360
    expected = exact(exposure, Choice())[0]
    off = (ra - expected + 180) % 360 - 180
    assert np.abs(off).max() < 1e-9


def test_the_part_must_be_told(folder):
    with pytest.raises(ExposureError, match="say which slit with --slit"):
        pixel_map(solved("nirspec fixed slits", folder))
    with pytest.raises(ExposureError, match="no WCS"):
        pixel_map(solved("niriss soss", folder).drop_attrs(), of=Choice(order=1))


@pytest.mark.parametrize("name", ["nirspec mos prism", "miri lrs slitless", "nircam image"])
def test_direct_evaluation_is_the_same_to_the_bit(name, folder):
    wcs = part_of(solved(name, folder), CASES[name]).wcs
    box = wcs.bounding_box
    x, y = (np.linspace(*box.intervals[n], 57) for n in (0, 1))
    found = Direct(tuple(step.transform for step in wcs.pipeline[:-1]))(x, y)
    for value, expected in zip(found, wcs(x, y, with_bounding_box=False), strict=True):
        np.testing.assert_array_equal(value, expected)


def test_maps_of_slices_are_small_in_products(folder):
    """A million labels of 64 bits fit into less than half a megabyte, and come back."""
    wcs = solved("miri mrs long", folder).attrs["wcs"]
    raw = dump({"wcs": wcs})
    assert len(raw) < 500_000
    labels = [
        each.pipeline[0].transform.label_mapper.mapper for each in (wcs, parse(raw, "it")["wcs"])
    ]
    np.testing.assert_array_equal(*labels)


@pytest.mark.parametrize(
    ("name", "axis"),
    [("nirspec fixed slits", 1), ("miri mrs long", 0), ("miri lrs slitless", 0), ("miri wfss", 0)],
)
def test_wavelengths_run_one_way_without_a_break(name, axis, folder):
    """From one pixel to the next along the dispersion, in each slit and slice."""
    exposure = solved(name, folder)
    found = pixel_map(exposure, of=CASES[name])
    steps = np.diff(found["wavelength"].values, axis=axis)
    if "beta" in found and name == "miri mrs long":
        across = np.abs(np.diff(found["beta"].values, axis=axis)) > 1e-9
        steps[across] = np.nan
    steps = steps[np.isfinite(steps)]
    assert len(np.unique(np.sign(steps))) == 1
    assert np.abs(steps).max() < 40 * np.median(np.abs(steps))


@settings(max_examples=25, deadline=None)
@given(
    place=st.floats(-0.5, 0.5),
    wavelength=st.floats(1.0e-6, 1.8e-6),
    slit=st.sampled_from(["S200A1", "S200A2", "S400A1", "S1600A1"]),
)
def test_there_and_back_through_a_slit(folder, place, wavelength, slit):
    """From a place in the slit to its pixel, and back: within a thousandth of the slit and 1e-5 of the wavelength."""
    wcs = nirspec.one_slit(solved("nirspec fixed slits", folder).attrs["wcs"], slit)
    pixel = wcs.get_transform("slit_frame", "detector")(0.0, place, wavelength)
    x, y, found = wcs.get_transform("detector", "slit_frame")(*pixel)
    assert (x, y) == (pytest.approx(0, abs=1e-9), pytest.approx(place, abs=1e-3))
    assert found == pytest.approx(wavelength, rel=1e-5)


def test_stripes_have_their_own_wavelengths():
    """Of two stripes of a Dispersed Hartmann Sensor, the cut-outs and the coordinates; NaN in neither."""
    exposure = striped()
    wcs = exposure.attrs["wcs"]
    found = pixel_map(exposure, of=Choice(order=1))
    y, x = np.mgrid[:22, :2048].astype(float)
    expected = wcs(x.ravel(), y.ravel(), np.ones(x.size))[2].reshape(x.shape)
    np.testing.assert_array_equal(found["wavelength"], expected)
    for cutout in cutouts_of(exposure):
        waves = found["wavelength"].values[cutout.rows, cutout.columns]
        assert len(np.unique(waves[:, 1000])) == 1
