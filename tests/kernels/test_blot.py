"""Putting a mosaic back onto exposures, and finding what disagrees with it."""

import numpy as np
import pytest

from jwpipe.numerics.blot import HALO, blot, find_outliers, find_outliers_plain

RNG = np.random.default_rng(5)


def at(*positions):
    return np.array([positions], float)


def test_bilinear():
    """A quarter of the way in x, half in y: 3/8 (0 + 4) + 1/8 (2 + 8)."""
    data = np.array([[0, 2], [4, 8]], np.float32)
    found = blot(data, at((0.25, 0.5), (0, 0), (1, 0)), origin=(0, 0), frame=(2, 2))
    np.testing.assert_allclose(found, [[3 / 8 * 4 + 1 / 8 * 10, 0, 2]])


def test_beyond_the_centres_of_the_last_pixels_the_edge_is_extended():
    data = np.array([[0, 2], [4, 8]], np.float32)
    found = blot(data, at((1.5, 0.5), (0.5, 1.9), (1.2, 1.2)), origin=(0, 0), frame=(2, 2))
    np.testing.assert_allclose(found, [[5, 6, 8]], rtol=1e-6)


def test_outside_and_undefined():
    data = np.ones((4, 4), np.float32)
    data[3, 3] = np.nan
    places = at((-0.01, 1), (1, 4), (np.nan, 1), (2.5, 2.5), (1, 1))
    found = blot(data, places, origin=(0, 0), frame=(4, 4))
    np.testing.assert_array_equal(np.isnan(found), [[True, True, True, True, False]])


def test_a_cut_gives_the_same():
    data = RNG.normal(size=(40, 50)).astype(np.float32)
    pixmap = RNG.uniform((12, 9), (30, 28), (15, 16, 2))
    whole = blot(data, pixmap, origin=(0, 0), frame=data.shape)
    cut = blot(data[8:30, 11:33].copy(), pixmap, origin=(8, 11), frame=data.shape)
    np.testing.assert_array_equal(cut, whole)


def test_against_the_drizzle_library():
    drizzle = pytest.importorskip("drizzle.resample")
    data = RNG.normal(size=(40, 50)).astype(np.float32)
    pixmap = RNG.uniform(-2, 52, (30, 31, 2))
    theirs = drizzle.blot_image(data, pixmap, fillval=np.nan, interp="linear")
    ours = blot(data, pixmap, origin=(0, 0), frame=data.shape)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def flags(sci, model, err=1.0, snr=(5, 4), scale=(1.2, 0.7), background=0.0):
    err = np.full(sci.shape, err, np.float32)
    return find_outliers(sci, err, model, snr=snr, scale=scale, background=background)


def test_neighbours_of_a_hit_need_less():
    """5.5 sigma passes; 4.5 next to it passes the second threshold, 4.5 elsewhere does not."""
    sci, model = np.zeros((7, 9), np.float32), np.zeros((7, 9), np.float32)
    sci[3, 3], sci[2, 4], sci[3, 7], sci[4, 3] = 5.5, 4.5, 4.5, 3.9
    found = flags(sci, model)
    assert sorted(zip(*np.nonzero(found), strict=True)) == [(2, 4), (3, 3)]


def test_negative_hits_and_background():
    sci, model = np.full((5, 5), 2.0, np.float32), np.zeros((5, 5), np.float32)
    sci[2, 2] = -3.5
    assert np.argwhere(flags(sci, model, background=2.0)).tolist() == [[2, 2]]


def test_steep_sky_allows_for_more():
    """The model rises by 10: thresholds rise by 12 and 7 there, and nowhere else."""
    model = np.zeros((5, 8), np.float32)
    model[:, 4:] = 10
    sci = model.copy()
    sci[2, 3], sci[2, 6] = 16.9, 16.9
    assert np.argwhere(flags(sci, model)).tolist() == [[2, 6]]
    sci[2, 3] = 17.1
    assert np.argwhere(flags(sci, model)).tolist() == [[2, 3], [2, 6]]


def test_undefined_never_disagrees():
    sci, model = np.full((4, 4), 100.0, np.float32), np.zeros((4, 4), np.float32)
    sci[0, 0] = np.nan
    model[3, 3] = np.nan
    found = flags(sci, model)
    assert not found[0, 0]
    assert not found[3, 3]
    assert found.sum() == 14
    assert flags(sci, model, err=np.nan).sum() == 14


def test_blocks_with_halo_are_the_whole():
    sci = RNG.normal(size=(60, 40)).astype(np.float32)
    sci[RNG.random(sci.shape) < 0.1] += 6
    model = RNG.normal(size=sci.shape).astype(np.float32) / 10
    model[RNG.random(sci.shape) < 0.05] = np.nan
    before = sci.copy(), model.copy()
    whole = flags(sci, model)
    assert 50 < whole.sum() < 400
    for top, bottom in ((0, 20), (20, 41), (41, 60)):
        first, last = max(0, top - HALO), min(60, bottom + HALO)
        block = flags(sci[first:last].copy(), model[first:last].copy())
        np.testing.assert_array_equal(block[top - first : bottom - first], whole[top:bottom])
    np.testing.assert_array_equal(sci, before[0])
    np.testing.assert_array_equal(model, before[1])


def test_plain():
    sci = np.array([[0, 4.1, 3.9, -5, np.nan]], np.float32)
    err = np.array([[1, 1, 1, 1, 1]], np.float32)
    found = find_outliers_plain(sci, err, np.zeros_like(sci), snr=4.0)
    assert found.tolist() == [[False, True, False, True, False]]
    assert find_outliers_plain(sci, err * np.nan, np.zeros_like(sci), snr=4.0)[0, :4].tolist() == [
        False, True, True, True,
    ]  # fmt: skip
