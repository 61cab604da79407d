"""Flat-fielding: values, variances, flags, and the consistency of NaN and DO_NOT_USE."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jwpipe.dq import Pixel
from jwpipe.exposure import Header
from jwpipe.refs import ReferenceRefused, References
from jwpipe.stage2.flat_field import FlatFieldParams, apply_flat, flat_field

NAMES = flat_field.writes
DNU, NO_FLAT = int(Pixel.DO_NOT_USE), int(Pixel.NO_FLAT_FIELD)


def one_pixel(flat, *, sci=6.0, dq=0, flat_err=0.1, flat_dq=0, inverse=False):
    """Flat-field a single pixel with variances 0.4 and 0.2."""
    image = [np.array([[value]], np.float32) for value in (sci, 0.4, 0.2, flat, flat_err)]
    flags = [np.array([[value]], np.uint32) for value in (dq, flat_dq)]
    results = apply_flat(
        image[0], flags[0], image[1], image[2], image[3], image[4], flags[1], inverse=inverse
    )
    return {name: result[0, 0] for name, result in zip(NAMES, results, strict=True)}


def inputs(shape, seed=0):
    """Images with NaN and flags of all kinds, and a flat with bad pixels."""
    rng = np.random.default_rng(seed)
    frame = shape[-2:]
    arrays = [rng.uniform(0.5, 2, s).astype(np.float32) for s in (*[shape] * 3, frame, frame)]
    for array in arrays:
        array[rng.random(array.shape) < 0.05] = np.nan
    arrays[3][rng.random(frame) < 0.05] = 0
    dq = rng.choice(np.array([0, 0, 4, DNU], np.uint32), shape)
    flat_dq = rng.choice(np.array([0, 0, 1 << 25, NO_FLAT, DNU], np.uint32), frame)
    sci, poisson, rnoise, flat, flat_err = arrays
    return sci, dq, poisson, rnoise, flat, flat_err, flat_dq


def test_worked_example():
    """S = 6 / 2; V = 0.4 / 4, 0.2 / 4; V_flat = 3^2 / 4 x 0.01 = 0.0225; ERR^2 = 0.1725."""
    pixel = one_pixel(2.0)
    assert pixel["sci"] == 3
    assert pixel["var_poisson"] == pytest.approx(0.1)
    assert pixel["var_rnoise"] == pytest.approx(0.05)
    assert pixel["var_flat"] == pytest.approx(0.0225)
    assert pixel["err"] == pytest.approx(np.sqrt(0.1725))
    assert pixel["dq"] == 0


def test_inverse_multiplies_and_knows_no_flat_variance():
    pixel = one_pixel(2.0, inverse=True)
    assert pixel["sci"] == 12
    assert pixel["var_poisson"] == pytest.approx(1.6)
    assert pixel["var_flat"] == 0
    assert pixel["err"] == pytest.approx(np.sqrt(1.6 + 0.8))


@pytest.mark.parametrize("flat", [np.nan, 0.0])
def test_pixel_without_a_flat_is_lost(flat):
    pixel = one_pixel(flat, dq=4)
    assert pixel["dq"] == DNU | NO_FLAT | 4
    assert all(np.isnan(pixel[name]) for name in NAMES if name != "dq")


def test_no_flat_field_flag_brings_do_not_use():
    assert one_pixel(2.0, flat_dq=NO_FLAT)["dq"] == DNU | NO_FLAT


def test_flags_of_the_flat_are_added_and_harmless_ones_keep_the_value():
    unreliable = int(Pixel.UNRELIABLE_FLAT)
    pixel = one_pixel(2.0, dq=4, flat_dq=unreliable)
    assert pixel["dq"] == unreliable | 4
    assert pixel["sci"] == 3


@pytest.mark.parametrize("bad", [{"sci": np.nan}, {"flat_err": np.nan}])
def test_nan_in_any_array_brings_do_not_use_and_nan_in_all(bad):
    pixel = one_pixel(2.0, **bad)
    assert pixel["dq"] == DNU
    assert all(np.isnan(pixel[name]) for name in NAMES if name != "dq")


@given(seed=st.integers(0, 1000), planes=st.sampled_from([(), (3,)]))
def test_nan_and_do_not_use_agree_and_inputs_stay(seed, planes):
    arrays = inputs((*planes, 6, 7), seed)
    before = [array.copy() for array in arrays]
    results = dict(zip(NAMES, apply_flat(*arrays, inverse=False), strict=True))
    flagged = (results.pop("dq") & DNU) != 0
    for array in results.values():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(np.isnan(array), flagged)
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_strips_equal_the_whole():
    arrays = inputs((2, 40, 30))
    whole = apply_flat(*arrays, inverse=False)
    for rows in (slice(0, 13), slice(13, 40)):
        part = apply_flat(*(array[..., rows, :] for array in arrays), inverse=False)
        for piece, full in zip(part, whole, strict=True):
            np.testing.assert_array_equal(piece, full[..., rows, :])


def test_flat_without_error_and_flags():
    sci, dq, poisson, rnoise, flat, _, _ = inputs((5, 5))
    results = apply_flat(sci, dq, poisson, rnoise, flat, None, None, inverse=False)
    noise = results[NAMES.index("var_flat")]
    assert np.all(noise[np.isfinite(noise)] == 0)


def write_flat(path, values):
    """A full reference file of a flat, as small as its array."""
    from astropy.io import fits

    cards = {"REFTYPE": "FLAT", "INSTRUME": "NIRCAM", "SUBSTRT1": 1, "SUBSTRT2": 1}
    ny, nx = values.shape
    primary = fits.PrimaryHDU(header=fits.Header({**cards, "SUBSIZE1": nx, "SUBSIZE2": ny}))
    fits.HDUList([primary, fits.ImageHDU(values, name="SCI")]).writeto(path)
    return str(path)


def test_own_flat_takes_the_place_of_the_reference_and_is_cut(tmp_path):
    own = write_flat(tmp_path / "own.fits", np.arange(100, dtype=np.float32).reshape(10, 10))
    header = Header({"primary": {"SUBSTRT1": 3, "SUBSTRT2": 2, "SUBSIZE1": 4, "SUBSIZE2": 5}})
    params = FlatFieldParams(user_supplied_flat=own)
    assert flat_field.supplied(params) == {"flat": own}
    references = References.from_files(flat_field.supplied(params), header)
    flat, err, dq = flat_field.prepare(references, header, params)
    assert flat.shape == (5, 4)
    assert flat.read(slice(0, 1), slice(0, 1)) == 12
    assert err is None
    assert dq is None


def test_missing_flat_is_refused_with_a_remedy():
    references = References({"flat": None}, {"flat": "N/A"})
    with pytest.raises(ReferenceRefused, match="--override flat=FILE"):
        flat_field.prepare(references, Header({}), FlatFieldParams())
