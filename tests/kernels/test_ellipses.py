import numpy as np
import pytest

from jwpipe.numerics.ellipses import Ellipse, ellipses, holding, pixels_inside
from jwpipe.numerics.regions import find_regions

BIT = np.uint8(4)


def found(image, least):
    flags = np.where(image, BIT, np.uint8(0))
    return list(ellipses(find_regions(flags, np.zeros_like(flags), BIT), least))


def test_a_rectangle_has_the_axes_of_its_moments():
    image = np.zeros((30, 40), bool)
    image[10:16, 5:25] = True
    # Variances of 6 and 20 equal steps: 35 / 12 and 399 / 12; axes are four deviations less a pixel.
    (ellipse,) = found(image, 100)
    assert ellipse[:2] == (14.5, 12.5)
    assert ellipse.minor == pytest.approx(4 * np.sqrt(35 / 12) - 1)
    assert ellipse.major == pytest.approx(4 * np.sqrt(399 / 12) - 1)
    assert abs(ellipse.angle) == 90


def test_holes_count_as_area_but_not_as_pixels():
    image = np.zeros((20, 20), bool)
    image[4:12, 4:12] = True
    image[5:11, 5:11] = False
    assert len(found(image, 64)) == 1
    assert not found(image, 65)
    image[4, 6] = False
    # An open ring encloses nothing.
    assert not found(image, 64)


def test_regions_are_as_the_library_measures_them():
    measure = pytest.importorskip("skimage.measure")
    draw = np.random.default_rng(6)
    image = draw.random((120, 150)) < 0.35
    ours = found(image, 6)
    regions = [r for r in measure.regionprops(measure.label(image)) if r.area_filled >= 6]
    assert len(ours) == len(regions) > 20
    for ellipse, region in zip(ours, regions, strict=True):
        assert (ellipse.y, ellipse.x) == pytest.approx(region.centroid)
        assert ellipse.minor == pytest.approx(region.axis_minor_length - 1, abs=1e-6)
        assert ellipse.major == pytest.approx(region.axis_major_length - 1)
        turned = (ellipse.angle - np.degrees(region.orientation) + 90) % 180 - 90
        assert turned == pytest.approx(0, abs=1e-6) or ellipse.minor == pytest.approx(ellipse.major)


def test_pixels_inside_are_cut_at_the_frame():
    rows, columns = pixels_inside(Ellipse(1.0, 2.0, 10, 10, 0), (8, 9))
    inside = (rows - 2) ** 2 + (columns - 1) ** 2
    assert inside.max() < 25
    assert rows.min() == columns.min() == 0
    assert pixels_inside(Ellipse(4, 4, 0.5, 9, 0), (8, 9))[0].size == 0


def test_holding_is_what_each_ellipse_says():
    rng = np.random.default_rng(4)
    made = [
        Ellipse(*rng.uniform(0, 60, 2), *np.sort(rng.uniform(-1, 12, 2)), rng.uniform(-90, 90))
        for _ in range(200)
    ]
    points = made[:25]
    expected = [any(each.holds(p.x, p.y) for p in points) for each in made]
    assert 25 <= sum(expected) < 200
    assert holding(made, points).tolist() == expected
    assert holding([], points).tolist() == []
