"""Which pixels are drizzled where the mosaic's edge cuts an exposure: by hand, and against the drizzle library."""

import numpy as np
import pytest

from jwpipe.stage3.scan import scan_limits


def shifted(dx, dy):
    return lambda point: np.asarray(point, float) + np.array([dx, dy])


def test_an_exposure_inside_the_mosaic_is_not_cut():
    assert scan_limits(shifted(2.0, 3.0), (0, 0), (9, 19), (20, 30)) is None


def test_edges_by_hand():
    """Moved by (-3.3, 2): columns 3 and on lie within half a pixel of the left edge, rows up to 7 below the top one.

    The left edge -0.5 is at column 2.8, less the margin of 0.03, rounded: 3. The top edge 9.5 is at row 7.5, plus twice
    the margin, cut: 7.
    """
    limits = scan_limits(shifted(-3.3, 2.0), (0, 0), (9, 19), (10, 40))
    assert (limits[:8] == [3, 20]).all()
    assert (limits[8:] == 0).all()


@pytest.mark.parametrize("dx", [-7.4, -0.2, 0.3, 4.7])
@pytest.mark.parametrize("dy", [-5.45, -0.3, 0.2, 0.6, 3.52])
def test_the_library_scans_the_same_pixels(dx, dy):
    """Every pixel that the library lets contribute, and no other: seen by the context image of single pixels."""
    from drizzle.resample import Drizzle

    shape, frame = (12, 15), (14, 13)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    turn = 0.02
    pixmap = np.dstack([x + turn * y + dx, y - turn * x + dy])

    def locate(point):
        return np.array([point[0] + turn * point[1] + dx, point[1] - turn * point[0] + dy])

    limits = scan_limits(locate, (0, 0), (shape[0] - 1, shape[1] - 1), frame)
    ours = np.ones(shape, bool)
    if limits is not None:
        ours = (x >= limits[:, :1]) & (x < limits[:, 1:])
    touching = (np.abs(pixmap[..., 0] - (frame[1] - 1) / 2) < frame[1] / 2 + 0.45) & (
        np.abs(pixmap[..., 1] - (frame[0] - 1) / 2) < frame[0] / 2 + 0.45
    )
    for j, i in np.argwhere(touching):
        weight = np.zeros(shape, np.float32)
        weight[j, i] = 1.0
        drizzled = Drizzle(kernel="square", out_shape=frame)
        drizzled.add_image(
            np.ones(shape, np.float32), 1.0, pixmap, weight_map=weight, in_units="cps"
        )
        assert (drizzled.out_wht.sum() > 0) == ours[j, i], (j, i)
