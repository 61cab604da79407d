"""Grids of mosaics, the tiles that exposures touch, and outlines."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from image3_examples import DEC, PIXEL, RA, V3, camera, pointing
from mosaic_examples import SHAPE, dithered

from jwpipe.exposure import ExposureError
from jwpipe.stage3.grid import (
    GridRequest,
    custom_grid,
    local_scale,
    mean_pixel_area,
    output_grid,
    parse_region,
)
from jwpipe.stage3.outlines import clip_to_frame, union
from jwpipe.stage3.placement import Box, place, tile_edges, tiles, valid_box

DATA = Path(os.environ.get("JWPIPE_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))


@pytest.fixture(scope="module")
def exposures():
    return dithered(3)


def pixel(grid, exposure):
    """Where the corners' pixels of an exposure fall on a grid: x and y."""
    ny, nx = SHAPE
    sky = exposure.attrs["wcs"](np.array([0, nx - 1, nx - 1, 0]), np.array([0, 0, ny - 1, ny - 1]))
    return np.array(grid.wcs.invert(*sky, with_bounding_box=False))


def test_grid_holds_all_exposures(exposures):
    grid = output_grid(exposures)
    corners = np.hstack([pixel(grid, exposure) for exposure in exposures])
    assert corners.min() > -0.5
    assert (corners.max(axis=1) < np.array(grid.shape[::-1]) + 0.5).all()
    assert grid.ratio == 1
    assert grid.pixel_scale == pytest.approx(PIXEL, rel=1e-5)


def test_axes_follow_the_detector(exposures):
    """The example detector has x against V2 and y along V3: parity -1, no ideal angle."""
    x, y = pixel(output_grid(exposures[:1]), exposures[0])
    np.testing.assert_allclose(np.diff(y[:2]), 0, atol=1e-3)
    np.testing.assert_allclose(np.diff(x[:2]), SHAPE[1] - 1, rtol=1e-5)


def test_rotation_is_the_position_angle_of_y(exposures):
    grid = output_grid(exposures, GridRequest(rotation=30.0))
    ra, dec = grid.wcs(np.array([50.0, 50.0]), np.array([40.0, 60.0]))
    angle = np.degrees(np.arctan2((ra[1] - ra[0]) * np.cos(np.radians(DEC)), dec[1] - dec[0]))
    assert angle == pytest.approx(30.0, abs=0.01)


def test_scales(exposures):
    assert output_grid(exposures, GridRequest(pixel_scale_ratio=0.5)).pixel_scale == pytest.approx(
        PIXEL / 2, rel=1e-5
    )
    grid = output_grid(exposures, GridRequest(pixel_scale=0.06))
    assert grid.pixel_scale == pytest.approx(0.06)
    assert grid.ratio == pytest.approx(2, rel=1e-5)


def test_reference_point_and_shape(exposures):
    asked = GridRequest(crpix=(20.0, 10.0), crval=(RA, DEC), shape=(50, 40))
    grid = output_grid(exposures, asked)
    assert grid.shape == (40, 50)
    np.testing.assert_allclose(grid.wcs(20.0, 10.0), (RA, DEC), rtol=1e-12)


def test_impossible_grids(exposures):
    with pytest.raises(ExposureError, match="no exposures"):
        output_grid([])
    with pytest.raises(ExposureError, match=r"mosaic would have .* pixels"):
        output_grid(exposures, GridRequest(pixel_scale=500.0))
    with pytest.raises(ExposureError, match=r"mosaic would have .* pixels"):
        output_grid(exposures, GridRequest(pixel_scale=1e-5))
    with pytest.raises(ExposureError, match="assign_wcs"):
        output_grid([exposures[0].assign_attrs(wcs=None)])
    without = {k: v for k, v in exposures[0].attrs["sci"].items() if k != "ROLL_REF"}
    with pytest.raises(ExposureError, match="ROLL_REF"):
        output_grid([exposures[0].assign_attrs(sci=without)])


def test_footprint_from_the_wcs(exposures):
    without = {k: v for k, v in exposures[0].attrs["sci"].items() if k != "S_REGION"}
    bare = output_grid([exposures[0].assign_attrs(sci=without)])
    assert bare.shape == output_grid(exposures[:1]).shape


def test_custom_grid(exposures, tmp_path):
    asdf = pytest.importorskip("asdf")
    made = output_grid(exposures)
    path = tmp_path / "grid.asdf"
    asdf.AsdfFile({"wcs": made.wcs, "pixel_scale": 0.031}).write_to(path)
    grid = custom_grid(path, exposures, GridRequest())
    assert grid.shape == made.shape
    assert grid.pixel_scale == 0.031
    assert grid.ratio == pytest.approx(0.031 / PIXEL, rel=1e-5)
    assert custom_grid(path, exposures, GridRequest(shape=(30, 20))).shape == (20, 30)
    with pytest.raises(ExposureError, match="cannot be read"):
        custom_grid(tmp_path / "none.asdf", exposures, GridRequest())
    asdf.AsdfFile({"other": 1}).write_to(path)
    with pytest.raises(ExposureError, match="key 'wcs'"):
        custom_grid(path, exposures, GridRequest())


def test_areas_and_scales():
    """No distortion: all pixels are 0.03 arcsec high in V3, and that times cos(V3) wide in V2."""
    wcs = camera(pointing(), SHAPE)
    cosine = np.cos(np.radians(V3 / 3600))
    assert 3600 * local_scale(wcs, RA, DEC) == pytest.approx(PIXEL * np.sqrt(cosine), rel=1e-8)
    area = np.radians(PIXEL / 3600) ** 2 * cosine
    assert mean_pixel_area(wcs, SHAPE) == pytest.approx(area, rel=1e-8)


def test_regions():
    text = "POLYGON ICRS  1 2 3 4 5 6  POLYGON ICRS  7 8 9 10 11 12"
    assert [region.tolist() for region in parse_region(text)] == [
        [[1, 2], [3, 4], [5, 6]],
        [[7, 8], [9, 10], [11, 12]],
    ]


def test_tiles_cover_the_mosaic_once():
    for shape, side in (((100, 130), 40), ((7, 5), 40), ((41, 85), 40)):
        seen = np.zeros(shape, int)
        for tile in tiles(shape, side):
            seen[tile.box.rows, tile.box.columns] += 1
        assert (seen == 1).all()
    assert tile_edges(1030, 512) == (512, 518)
    assert tile_edges(700, 512) == (512, 188)


@pytest.mark.parametrize("rotation", [None, 10.0])
def test_boxes_hold_every_pixel_that_touches(exposures, rotation):
    grid = output_grid(exposures, GridRequest(rotation=rotation, pixel_scale_ratio=0.8))
    margin = 1.7
    for placement in place(exposures, grid):
        x, y = np.moveaxis(placement.pixel_map.tile(), -1, 0)
        for tile in tiles(grid.shape, 25):
            box = tile.box
            near = (y >= box.top - margin) & (y <= box.bottom - 1 + margin)
            near &= (x >= box.left - margin) & (x <= box.right - 1 + margin)
            found = placement.input_box(box, margin)
            rows, columns = np.nonzero(near)
            if not rows.size:
                continue
            assert found is not None
            assert found.top <= rows.min() <= rows.max() < found.bottom
            assert found.left <= columns.min() <= columns.max() < found.right
        whole = placement.output_box(slice(0, SHAPE[0]), margin, grid.shape)
        some = placement.output_box(slice(20, 25), margin, grid.shape)
        assert whole is not None
        assert some is not None
        assert some & whole == some
        assert some.top <= y[20:25].min()
        assert some.bottom > y[20:25].max()


def test_padded_maps_are_cuts_of_each_other(exposures):
    placement = place(exposures[:1], output_grid(exposures))[0]
    ny, nx = SHAPE
    whole = placement.padded_map(Box(0, ny, 0, nx))
    part = placement.padded_map(Box(10, 25, 0, 31))
    np.testing.assert_array_equal(part, whole[10:27, 0:33])
    np.testing.assert_allclose(whole[0], 2 * whole[1] - whole[2], rtol=1e-12)


def test_outside_the_bounding_box_there_is_no_position(exposures):
    wcs = camera(pointing(), SHAPE)
    wcs.bounding_box = ((4.5, SHAPE[1] - 0.5), (-0.5, 49.2))
    assert valid_box(wcs, SHAPE) == Box(0, 50, 5, SHAPE[1])
    placement = place([exposures[0].assign_attrs(wcs=wcs)], output_grid(exposures))[0]
    padded = placement.padded_map(Box(0, 50, 5, SHAPE[1]))
    assert np.isnan(padded[-1]).all()
    assert np.isnan(padded[:, 0]).all()
    assert np.isfinite(padded[:-1, 1:]).all()
    mapped = placement.map(Box(45, 55, 0, 10))
    np.testing.assert_array_equal(np.isfinite(mapped[:, 7, 0]), np.arange(45, 55) < 50)
    assert placement.input_box(Box(0, 500, 0, 500), 1) == placement.valid


def test_placements_travel_light(exposures):
    placement = place(exposures[:1], output_grid(exposures))[0]
    before = pickle.dumps(placement)
    placement.output_box(slice(0, 5), 1, (100, 100))
    assert len(pickle.dumps(placement)) == len(before)
    again = pickle.loads(before)
    np.testing.assert_array_equal(again.map(Box(0, 3, 0, 4)), placement.map(Box(0, 3, 0, 4)))


def square(x, y, side=10.0):
    return np.array([[x, y], [x + side, y], [x + side, y + side], [x, y + side]])


def corners(loops):
    return [sorted(map(tuple, loop.tolist())) for loop in loops]


def test_union_of_overlapping_squares():
    outline = union([square(0, 0), square(5, 5)[::-1]])
    inner = {(10.0, 5.0), (5.0, 10.0)}
    outer = {(0.0, 0.0), (10.0, 0.0), (15.0, 5.0), (15.0, 15.0), (5.0, 15.0), (0.0, 10.0)}
    assert set(corners(outline)[0]) == inner | outer


def test_union_of_touching_equal_and_separate_squares():
    assert corners(union([square(0, 0), square(10, 0), square(0, 0)])) == [
        [(0, 0), (0, 10), (20, 0), (20, 10)]
    ]
    assert len(union([square(0, 0), square(30, 0)])) == 2
    assert union([]) == []


def test_holes_are_filled():
    ring = [square(8 * i, 8 * j) for i in range(3) for j in range(3) if (i, j) != (1, 1)]
    assert corners(union(ring)) == [[(0, 0), (0, 26), (26, 0), (26, 26)]]


def test_clip_to_frame():
    assert corners([clip_to_frame(square(0, 0), (2, 30, -5, 8))]) == [
        [(2, 0), (2, 8), (10, 0), (10, 8)]
    ]
    assert not len(clip_to_frame(square(0, 0), (20, 30, 0, 5)))


@pytest.mark.skipif(not DATA.exists(), reason="real observations are not there (JWPIPE_TEST_DATA)")
def test_grid_of_a_real_observation():
    """The grid of jwst 3.0.0's mosaic from its exposures' headers, as its HDRTAB keeps them."""
    import jwpipe.io as io

    folder = DATA / "observations" / "nircam_sub400p" / "peer"
    mosaic = io.open(next(folder.glob("*i2d.fits")))
    first = io.open(next(folder.glob("*cal.fits")))
    table = mosaic.attrs["tables"]["HDRTAB"]
    made = [
        first.assign_attrs(sci={**first.attrs["sci"], "S_REGION": row["S_REGION"].decode()})
        for row in table
    ]
    grid = output_grid(made)
    theirs = mosaic.attrs["sci"]
    assert grid.shape == mosaic["sci"].shape
    assert grid.pixel_scale**2 == pytest.approx(theirs["PIXAR_A2"], rel=1e-8)
    transform = grid.wcs.forward_transform
    np.testing.assert_allclose(transform.crpix + 1, (theirs["CRPIX1"], theirs["CRPIX2"]), atol=1e-5)
    np.testing.assert_allclose(transform.crval, (theirs["CRVAL1"], theirs["CRVAL2"]), rtol=1e-12)
