"""Pixel maps from sparse grids: exact on cubics, checked everywhere else."""

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jwpipe.wcs.pixelmap import PixelMapError, SparseMap


def cubic(x, y):
    u, v = x / 100, y / 100
    return 3 + x + u**3 - u * v**2 + 2 * u**2 * v, 0.5 * y - v**3 + u * v + 7


def distortion(x, y):
    """Bend as a detector does: tens of pixels over a frame of 2048, up to fifth order."""
    u, v = (x - 1024) / 1024, (y - 1024) / 1024
    return (
        x + 30 * u * u + 5 * u**3 - 3 * v**4 + 2 * v * u * u,
        y + 20 * v * u + 4 * u**3 * v + v**5,
    )


def mapped(transform, shape):
    return SparseMap.build(transform, shape).tile()


def exact(transform, shape):
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    return np.stack(transform(x, y), axis=-1)


def test_cubic_interpolation_is_exact_on_cubics_edges_included():
    shape = (201, 333)
    np.testing.assert_allclose(mapped(cubic, shape), exact(cubic, shape), atol=1e-10, rtol=0)


def test_x_comes_first_in_the_last_axis():
    tile = mapped(lambda x, y: (x + 1000, y), (5, 7))
    assert tile.shape == (5, 7, 2)
    assert tile.dtype == np.float64
    np.testing.assert_allclose(tile[2, 3], [1003, 2], atol=1e-12)


def test_error_of_a_detector_distortion_is_measured_and_small():
    sparse = SparseMap.build(distortion, (2048, 2048))
    found = np.abs(sparse.tile() - exact(distortion, (2048, 2048))).max()
    assert sparse.nodes.shape == (33, 33, 2)
    assert found < 1e-4
    # Middles of cells are where a one-sided cubic errs most but for 1/0.94 of a fourth-order term.
    assert found < 1.1 * sparse.error


@given(
    rows=st.tuples(st.integers(0, 150), st.integers(0, 150)).map(sorted),
    columns=st.tuples(st.integers(0, 130), st.integers(0, 130)).map(sorted),
)
def test_tile_is_a_piece_of_the_whole(rows, columns):
    sparse = SparseMap.build(distortion, (150, 130))
    tile = sparse.tile(slice(*rows), slice(*columns))
    np.testing.assert_array_equal(tile, sparse.tile()[slice(*rows), slice(*columns)])


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (4, 3), (64, 65), (129, 2)])
def test_any_shape(shape):
    np.testing.assert_allclose(mapped(cubic, shape), exact(cubic, shape), atol=1e-9, rtol=0)


def test_grid_is_refined_until_the_tolerance_is_met():
    def wavy(x, y):
        return x + np.sin(x / 30), y + np.cos(y / 40)

    sparse = SparseMap.build(wavy, (300, 300), tolerance=1e-3)
    assert sparse.spacing[1] < 32
    assert np.abs(sparse.tile() - exact(wavy, (300, 300))).max() < 1.1e-3


def test_jump_in_the_transform_is_refused():
    with pytest.raises(PixelMapError, match="not smooth"):
        mapped(lambda x, y: (x + (x > 97.3), y), (200, 200))


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(PixelMapError, match="not finite"):
        mapped(lambda x, y: (np.where(x > 50, np.nan, x), y), (100, 100))


def test_sparse_map_survives_pickling_and_is_small():
    sparse = SparseMap.build(distortion, (2048, 2048))
    data = pickle.dumps(sparse)
    assert len(data) < 20_000
    np.testing.assert_array_equal(pickle.loads(data).tile(slice(0, 9)), sparse.tile(slice(0, 9)))
