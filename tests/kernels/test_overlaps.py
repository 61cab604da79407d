import numpy as np
import pytest
from gwcs.region import Polygon
from hypothesis import given, settings
from hypothesis import strategies as st

from jwpipe.stage3 import overlaps
from jwpipe.stage3.overlaps import (
    border,
    clip,
    gather,
    intersection,
    is_convex,
    neighbours,
    positions,
    spans,
    union,
    unit_vectors,
    whole,
)

ARCSEC = np.pi / 180 / 3600


def square(x=0.0, y=0.0, half=30.0, turn=0.0):
    """A square with sides of twice ``half`` arcsec, turned by degrees, ``x``, ``y`` arcsec from a place on the sky."""
    angle = np.radians(turn)
    corners = half * np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    rotated = corners @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    dec = -69.5 + (rotated[:, 1] + y) / 3600
    ra = 80.0 + (rotated[:, 0] + x) / 3600 / np.cos(np.radians(-69.5))
    return unit_vectors(ra, dec)


def area(polygon):
    """Area in square arcsec, in the plane that touches the sky at the polygon."""
    centre = polygon.mean(axis=0)
    centre /= np.linalg.norm(centre)
    east = np.cross([0, 0, 1], centre)
    east /= np.linalg.norm(east)
    north = np.cross(centre, east)
    x, y = (polygon @ east) / ARCSEC, (polygon @ north) / ARCSEC
    return abs(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) / 2


def test_squares_that_overlap_by_a_quarter():
    # Shifted by half a side in both directions: a square of 30 by 30 arcsec is common.
    (common,) = intersection(square(), square(x=30, y=30))
    assert area(common) == pytest.approx(900, rel=1e-3)


def test_a_square_in_a_larger_one_is_common_vertex_by_vertex():
    small = square(half=10, turn=20)
    np.testing.assert_array_equal(clip(small, square()), small)
    (common,) = intersection(square(), small)
    assert area(common) == pytest.approx(400, rel=1e-3)


def test_squares_apart_or_touching_have_nothing_in_common():
    assert intersection(square(), square(x=61)) == []
    assert sum(area(p) for p in intersection(square(), square(x=60))) < 1e-6


def test_the_order_of_vertices_does_not_matter():
    (one,) = intersection(square(), square(x=20, turn=30))
    (other,) = intersection(square()[::-1], square(x=20, turn=30))
    assert area(one) == pytest.approx(area(other), rel=1e-12)


@settings(max_examples=20, deadline=None)
@given(x=st.floats(-50, 50), y=st.floats(-50, 50), turn=st.floats(0, 90), half=st.floats(10, 50))
def test_clipping_agrees_with_spherical_geometry(x, y, turn, half):
    a, b = square(), square(x, y, half, turn)
    ours, theirs = intersection(a, b), overlaps._general_intersection(a, b)
    assert sum(map(area, ours)) == pytest.approx(sum(map(area, theirs)), rel=1e-6, abs=1e-5)


def test_a_dent_makes_a_polygon_concave_and_the_library_takes_over():
    dented = np.insert(
        square(), 1, square()[[0, 1]].mean(axis=0) + 2e-6 * np.array([0, 0, 1.0]), axis=0
    )
    assert is_convex(square(turn=17))
    assert not is_convex(dented)
    (common,) = intersection(dented, square(half=50))
    assert area(common) == pytest.approx(area(dented), rel=1e-6)


def test_only_footprints_that_may_touch_are_neighbours():
    prints = [square(), square(x=40), square(x=300), square(x=330)]
    assert neighbours(prints) == [(0, 1), (2, 3)]


def test_positions_are_the_inverse_of_unit_vectors():
    ra, dec = np.array([0.0, 359.9, 80.0]), np.array([-90.0, 10.0, -69.5])
    back_ra, back_dec = positions(unit_vectors(ra, dec))
    np.testing.assert_allclose(back_dec, dec, atol=1e-12)
    np.testing.assert_allclose(back_ra[1:], ra[1:], atol=1e-12)


def test_the_border_goes_around_the_pixels_outer_edges():
    x, y = border((3, 5), None)
    assert list(zip(x, y, strict=True)) == [(-0.5, -0.5), (4.5, -0.5), (4.5, 2.5), (-0.5, 2.5)]
    x, y = border((100, 100), 50)
    # (100 + 1) / 50 rounds up to 3 points along each side, 8 around.
    assert len(x) == 8
    assert set(x) == {-0.5, 49.5, 99.5}


def test_runs_of_a_square_and_of_a_triangle():
    assert spans(np.array([1.0, 3, 3, 1]), np.array([1.0, 1, 3, 3]), (6, 6)).tolist() == [
        [1, 1, 3],
        [2, 1, 3],
        [3, 1, 3],
    ]
    # Sides x = y and x = 4 - y: at row 1 from 1 to 3, at row 2 both meet at 2.
    assert spans(np.array([0.0, 4, 2]), np.array([0.0, 0, 2]), (6, 6)).tolist() == [
        [0, 0, 4],
        [1, 1, 3],
        [2, 2, 2],
    ]


def test_runs_end_at_the_frame_and_places_off_the_frame_have_none():
    square_x, square_y = np.array([-0.5, 9.5, 9.5, -0.5]), np.array([-0.5, -0.5, 9.5, 9.5])
    region = spans(square_x, square_y, (6, 4))
    np.testing.assert_array_equal(region, whole((6, 4)))
    assert len(spans(square_x + 50, square_y, (6, 4))) == 0
    assert len(spans(square_x - 50, square_y, (6, 4))) == 0
    assert len(spans(square_x, np.full(4, np.nan), (6, 4))) == 0
    assert len(spans(np.zeros(4), np.zeros(4), (6, 4))) == 0


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), corners=st.integers(3, 8))
def test_runs_are_the_pixels_of_gwcs_polygons(seed, corners):
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
    centre, radius = rng.uniform(10, 40, 2), rng.uniform(2, 30)
    # Not left of the frame by more than a pixel: there gwcs fills rows from their end.
    x = np.maximum(centre[0] + radius * np.cos(angles), -1.0)
    y = centre[1] + radius * np.sin(angles)
    shape = (45, 38)
    vertices = list(zip(np.append(x, x[0]), np.append(y, y[0]), strict=True))
    expected = Polygon(True, vertices).scan(np.zeros(shape, bool))
    mask = np.zeros(shape, bool)
    for row, first, last in spans(x, y, shape):
        mask[row, first : last + 1] = True
    np.testing.assert_array_equal(mask, expected)


def test_union_of_runs_counts_each_pixel_once():
    first = np.array([[0, 0, 3], [1, 2, 2]], np.int32)
    second = np.array([[0, 2, 5], [3, 1, 1]], np.int32)
    assert union([first, second], (5, 7)).tolist() == [[0, 0, 5], [1, 2, 2], [3, 1, 1]]
    assert union([first], (5, 7)) is first


def test_gathering_takes_the_good_pixels_in_order():
    image = np.arange(12, dtype=np.float32).reshape(3, 4)
    good = np.ones(image.shape, bool)
    good[1, 2] = False
    region = np.array([[0, 1, 2], [1, 2, 3]], np.int32)
    assert gather(image, good, region).tolist() == [1, 2, 7]
    assert gather(image, good, region[:0]).size == 0
