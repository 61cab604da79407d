from dataclasses import dataclass

import numpy as np
import pytest

from jwpipe.dq import Pixel
from jwpipe.exposure import ExposureError, Header
from jwpipe.numerics.levels import clipped_means, running_medians
from jwpipe.stage1.refpix import (
    RefpixParams,
    reference_levels,
    refpix,
    subtract_reference,
)
from jwpipe.stage1.refpix_sirs import sirs_levels

REF, DNU = np.uint32(Pixel.REFERENCE_PIXEL), np.uint32(Pixel.DO_NOT_USE)
ORIENTATIONS = [(1, 2), (1, -2), (-1, 2), (-1, -2), (2, 1), (2, -1), (-2, 1), (-2, -1)]


def header(x=1, y=1, nx=2048, ny=2048, fast=1, slow=2, **more):
    keywords = {
        "SUBSTRT1": x,
        "SUBSTRT2": y,
        "SUBSIZE1": nx,
        "SUBSIZE2": ny,
        "FASTAXIS": fast,
        "SLOWAXIS": slow,
        "INSTRUME": "NIRCAM",
        "SUBARRAY": "FULL",
    }
    return Header({"primary": keywords | more, "filename": "a_uncal.fits"})


def sides_of(**arrays):
    cuts = {
        "bottom": (slice(0, 4), slice(None)),
        "top": (slice(-4, None), slice(None)),
        "left": (slice(None), slice(0, 4)),
        "right": (slice(None), slice(-4, None)),
    }
    return {
        side: {name: array[(..., *cut)] for name, array in arrays.items() if array is not None}
        for side, cut in cuts.items()
    }


def levels(sci, pixeldq, head, zeroframe=None, **parameters):
    sides = sides_of(sci=sci, pixeldq=pixeldq, zeroframe=zeroframe)
    return reference_levels(sides, **refpix.keywords(head, RefpixParams(**parameters)))


def correct(sci, pixeldq, head, zeroframe=None, **parameters):
    keywords = refpix.keywords(head, RefpixParams(**parameters))
    found = levels(sci, pixeldq, head, zeroframe, **parameters)
    return subtract_reference(sci, pixeldq, zeroframe, None, *found, **keywords)


# ---- numerics


def test_clipping_goes_on_until_nothing_falls_out():
    # 100 at 0 or 2 (mean 1, deviation 1), one at 1000, one at 50: first the former is beyond three
    # standard deviations, then the latter.
    samples = np.array([[[*([0.0] * 50), *([2.0] * 50), 1000.0, 50.0, np.nan]]])
    assert clipped_means(samples, 3.0)[0, 0] == 1.0
    assert clipped_means(np.full((1, 1, 5), 7.0), 3.0)[0, 0] == 7.0
    assert np.isnan(clipped_means(np.empty((1, 1, 0)), 3.0)[0, 0])
    assert np.isnan(clipped_means(np.full((1, 1, 2), np.nan), 3.0)[0, 0])


@pytest.mark.parametrize("length", [1, 3, 10, 11])
@pytest.mark.parametrize("first", [0, 37, 60])
def test_running_median_is_the_median_of_the_reflected_window(length, first):
    rng = np.random.default_rng(length)
    values = rng.normal(0, 1, (1, 2, 40, 4)).round(1)
    values[0, 1, 5, 2] = np.nan
    usable = rng.random((40, 4)) < 0.5
    usable[20:34] = False
    found = running_medians(values, usable, first, length, 100)
    detector = np.full((2, 100, 4), np.nan)
    detector[:, first : first + 40] = np.where(usable, values[0], np.nan)
    padded = np.pad(detector, ((0, 0), (20, 20), (0, 0)), mode="reflect")
    for row in range(40):
        start = 20 + first + row - length // 2
        window = padded[:, start : start + length].reshape(2, -1)
        for g in range(2):
            known = window[g][np.isfinite(window[g])]
            expected = np.median(known) if known.size else np.nan
            np.testing.assert_allclose(found[0, g, row], expected)


# ---- frames read out in four outputs


def full_frame_sides():
    """Edges of a full frame: each output has its own level, odd and even columns apart."""
    output = np.arange(2048) // 512
    odd = np.arange(2048) % 2
    level = (10.0 * (output + 1) + odd).astype(np.float32)
    zeros = np.zeros((1, 1, 1, 1), np.float32)
    sci = {
        "bottom": zeros + np.tile(level, (4, 1)),
        "top": zeros + np.tile(level + 4, (4, 1)),
        "left": zeros + np.tile(level[:4] + 2, (2048, 1)),
        "right": zeros + np.tile(level[-4:] + 2, (2048, 1)),
    }
    flags = {side: np.full(array.shape[-2:], REF, np.uint32) for side, array in sci.items()}
    return level, sci, flags


def reduce_full_frame(sci, flags, **parameters):
    sides = {side: {"sci": sci[side], "pixeldq": flags[side]} for side in sci}
    along_x, along_y, *_ = reference_levels(
        sides, **refpix.keywords(header(), RefpixParams(**parameters))
    )
    return along_x[0, 0, 0], along_y[0, 0, 0]


def test_outputs_have_the_mean_of_both_ends_odd_and_even_apart():
    level, sci, flags = full_frame_sides()
    along_x, along_y = reduce_full_frame(sci, flags)
    # The bottom has the level, the top four more: the mean is two more.
    np.testing.assert_allclose(along_x, level + 2)
    # At the sides nothing is left.
    np.testing.assert_allclose(along_y, 0, atol=1e-12)


def test_without_odd_and_even():
    _, sci, flags = full_frame_sides()
    along_x, _ = reduce_full_frame(sci, flags, odd_even_columns=False)
    np.testing.assert_allclose(along_x, 10 * (np.arange(2048) // 512 + 1) + 0.5 + 2)


def test_unusable_pixels_do_not_count():
    level, sci, flags = full_frame_sides()
    flags["bottom"][:, 512:1024] |= DNU
    flags["top"][:, 1024:1536:2] |= DNU
    flags["bottom"][:, 1024:1536:2] |= DNU
    along_x, _ = reduce_full_frame(sci, flags)
    # The second output has its top alone; the third no even column at all: no correction.
    np.testing.assert_allclose(along_x[512:1024], level[512:1024] + 4)
    np.testing.assert_array_equal(along_x[1024:1536], 0)
    np.testing.assert_allclose(along_x[1536:], level[1536:] + 2)


def test_rows_have_the_running_median_of_both_sides():
    _, sci, flags = full_frame_sides()
    drift = np.where(np.arange(2048) < 1000, 0, 6).astype(np.float32)[:, np.newaxis]
    sci["left"] = sci["left"] + drift
    sci["left"][0, 0, 500] += 1000
    _, along_y = reduce_full_frame(sci, flags)
    # Half the step, for one side alone has it; the single row falls out of the median.
    np.testing.assert_allclose(along_y[[0, 500, 994, 1005, 2047]], [0, 0, 0, 3, 3], atol=1e-12)
    _, halved = reduce_full_frame(sci, flags, side_gain=0.5)
    np.testing.assert_allclose(halved, along_y / 2)
    flags["right"] |= DNU
    _, left = reduce_full_frame(sci, flags)
    np.testing.assert_allclose(left[[0, 2047]], [0, 6], atol=1e-12)
    flags["left"] |= DNU
    np.testing.assert_array_equal(reduce_full_frame(sci, flags)[1], 0)
    assert not reduce_full_frame(sci, flags, use_side_ref_pixels=False)[1].any()


def test_stripe_at_one_end_has_that_end_alone():
    rng = np.random.default_rng(1)
    sci = rng.normal(0, 1, (1, 2, 16, 2048)).astype(np.float32)
    flags = np.zeros((16, 2048), np.uint32)
    flags[-4:] |= REF
    sci[:, :, -4:] = 7
    sci[:, :, :, :4] = sci[:, :, :, -4:] = 9
    head = header(y=2033, ny=16, NOUTPUTS=4, SUBARRAY="SUB16")
    along_x, along_y, *_ = levels(sci, flags, head)
    np.testing.assert_allclose(along_x[..., 4:-4], 7)
    # The rows' medians are of the side columns, 9, less the 7 (and 8.2 in their own corner).
    assert (along_y > 0.5).all()


# ---- subarrays read out in one output


def corner(odd=5.0, even=3.0):
    """A subarray in the detector's first corner: reference pixels at two of its sides."""
    sci = np.full((1, 2, 12, 10), 50, np.float32)
    flags = np.zeros((12, 10), np.uint32)
    flags[:4] |= REF
    flags[:, :4] |= REF
    level = np.where(np.arange(10) % 2 == 1, odd, even)
    sci[:, 0] = np.where((flags & REF) != 0, level, sci[:, 0])
    sci[:, 1] = np.where((flags & REF) != 0, level + 10, sci[:, 1])
    return sci, flags, header(nx=10, ny=12, NOUTPUTS=1, SUBARRAY="SUB")


def test_one_output_has_one_level_for_odd_and_one_for_even_columns():
    sci, flags, head = corner()
    before = sci.copy()
    corrected, zeroframe = correct(sci, flags, head)
    np.testing.assert_array_equal(corrected[0, 0][:, :4], 0)
    np.testing.assert_array_equal(corrected[0, 0, -1, 4:], [47, 45] * 3)
    np.testing.assert_array_equal(corrected[0, 1, -1, 4:], [37, 35] * 3)
    assert zeroframe is None
    np.testing.assert_array_equal(sci, before)
    together, _ = correct(sci, flags, head, odd_even_columns=False)
    np.testing.assert_array_equal(together[0, 0, 4:, 4:], 46)


def test_corner_pixels_count_once():
    sci, flags, head = corner(0, 0)
    # Two edges see the 16 pixels of the corner. In even columns that is 8 of the reference pixels,
    # 12 more lie in the other rows' edges (4 rows of 3 columns), 16 in the other rows' sides.
    sci[:, :, :4, :4] += 1
    along_x, *_ = levels(sci, flags, head)
    np.testing.assert_allclose(along_x[0, 0, 0], 8 / (8 + 12 + 16))


def test_parity_is_that_of_the_detectors_columns():
    sci, flags, _ = corner()
    shifted = header(x=2, nx=9, ny=12, NOUTPUTS=1, SUBARRAY="SUB")
    cut, cut_flags = np.ascontiguousarray(sci[..., 1:]), np.ascontiguousarray(flags[:, 1:])
    along_x, *_ = levels(cut, cut_flags, shifted)
    np.testing.assert_allclose(along_x[0, 0, 0], [5, 3] * 4 + [5])


def test_no_usable_reference_pixel_changes_nothing():
    sci, flags, head = corner()
    corrected, _ = correct(sci, flags | DNU, head)
    np.testing.assert_array_equal(corrected, sci)
    # NaN in a reference pixel is left out, and spoils nothing.
    sci[0, 0, 0, 0] = np.nan
    assert np.isnan(correct(sci, flags, head)[0]).sum() == 1


def test_edgeless_subarrays_take_their_edge_columns():
    sci = np.full((1, 1, 8, 20), 50, np.float32)
    sci[..., :4] = sci[..., -4:] = 8
    flags = np.zeros((8, 20), np.uint32)
    head = header(x=700, y=900, nx=20, ny=8, fast=2, slow=1, NOUTPUTS=1, SUBARRAY="SUB512")
    assert refpix.applies(head, RefpixParams()) == ""
    np.testing.assert_array_equal(correct(sci, flags, head)[0][..., 4:-4], 42)
    assert not flags.any()


# ---- orientation, zero frame, choice


@pytest.mark.parametrize(("fast", "slow"), ORIENTATIONS)
@pytest.mark.parametrize("outputs", [1, 4])
def test_orientation_turns_the_correction_with_the_frame(fast, slow, outputs):
    rng = np.random.default_rng(3)
    rows, columns = (24, 2048) if outputs == 4 else (24, 30)
    detector = rng.normal(20, 5, (1, 2, rows, columns)).astype(np.float32)
    flags = np.where(rng.random((rows, columns)) < 0.05, DNU, np.uint32(0)).astype(np.uint32)
    flags[:4] |= REF
    flags[:, :4] |= REF
    options = {"NOUTPUTS": outputs, "SUBARRAY": "SUB"}
    expected, _ = correct(detector, flags, header(nx=columns, ny=rows, **options))

    def to_science(array):
        array = array if abs(fast) == 1 else np.swapaxes(array, -2, -1)
        signs = (slow, fast) if abs(fast) == 1 else (fast, slow)
        return np.ascontiguousarray(array[..., :: np.sign(signs[0]), :: np.sign(signs[1])])

    sci = to_science(detector)
    ny, nx = sci.shape[-2:]
    sign = dict(zip((abs(fast), abs(slow)), (fast, slow), strict=True))
    x = 1 if sign[1] > 0 else 2049 - nx
    y = 1 if sign[2] > 0 else 2049 - ny
    head = header(x=x, y=y, nx=nx, ny=ny, fast=fast, slow=slow, **options)
    corrected, _ = correct(sci, to_science(flags), head)
    np.testing.assert_allclose(corrected, to_science(expected), atol=1e-5)


def test_zero_frame_has_levels_of_its_own():
    sci, flags, head = corner()
    zeroframe = np.full((1, 12, 10), 30, np.float32)
    zeroframe[:, (flags & REF) != 0] = 2
    zeroframe[0, 9, 9] = 0
    _, frame = correct(sci, flags, head, zeroframe)
    np.testing.assert_array_equal(frame[0, -1, 4:], 28)
    assert frame[0, 9, 9] == 0


def test_rows_alone_equal_the_whole():
    sci, flags, head = corner()
    whole, _ = correct(sci, flags, head)
    along_x, along_y, zero_x, zero_y, part_of_x, part_of_y = levels(sci, flags, head)
    keywords = refpix.keywords(head, RefpixParams())
    part, _ = subtract_reference(
        np.ascontiguousarray(sci[:, :, 5:9]),
        flags[5:9],
        None,
        None,
        along_x,
        np.ascontiguousarray(along_y[..., 5:9]),
        zero_x,
        np.ascontiguousarray(zero_y[..., 5:9]),
        part_of_x,
        part_of_y[5:9],
        **keywords,
    )
    np.testing.assert_array_equal(part, whole[:, :, 5:9])


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ({}, ""),
        ({"x": 1649, "y": 1649, "nx": 400, "ny": 400}, ""),
        ({"x": 5, "y": 5, "nx": 400, "ny": 400}, "no reference pixels"),
        ({"x": 1700, "nx": 400}, "does not fit"),
    ],
)
def test_applies_where_the_frame_has_reference_pixels(place, reason):
    found = refpix.applies(header(**place), RefpixParams())
    assert reason in found
    assert (found == "") == (reason == "")


def test_refuses_axes_that_make_no_sense():
    with pytest.raises(ExposureError, match=r"a_uncal.*refpix: .*SLOWAXIS 1"):
        refpix.keywords(header(slow=1), RefpixParams())


# ---- convolution with optimal kernels


@dataclass(frozen=True)
class Kernels:
    """A reference of kernels."""

    content: dict

    def tree(self):
        return self.content


def delta_kernels(gains, rows=2048):
    """Coefficients (output, frequency) of kernels that are a single 1 times ``gains`` at a shift of 0."""
    return np.outer(gains, np.ones(rows // 2 + 1)).astype(np.complex64)


def kernels_of(left, right, detector="NRCB1", **parameters):
    tree = {"meta": {}, "nrcb1": {"gamma": delta_kernels(left), "zeta": delta_kernels(right)}}
    head = header(DETECTOR=detector)
    params = RefpixParams(refpix_algorithm="sirs", gaussmooth=1e-3, **parameters)
    (found,) = refpix.prepare({"sirskernel": Kernels(tree)}, head, params)
    return found


def test_kernels_are_cut_out_around_their_middle():
    found = kernels_of([1, 2, 3, 4], [5, 6, 7, 8], halfwidth=3)
    expected = np.zeros((2, 4, 7))
    expected[..., 3] = [[1, 2, 3, 4], [5, 6, 7, 8]]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_kernels_are_smoothed_by_a_gaussian():
    tree = {"NRCB1": {"gamma": delta_kernels([1]), "zeta": delta_kernels([0])}}
    params = RefpixParams(refpix_algorithm="sirs", gaussmooth=1.0, halfwidth=2)
    (found,) = refpix.prepare({"sirskernel": Kernels(tree)}, header(DETECTOR="NRCB1"), params)
    window = np.exp([-2, -0.5, 0, -0.5, -2])
    np.testing.assert_allclose(found[0, 0], window / window.sum(), atol=1e-6)


def test_sirs_is_for_full_frames_and_known_detectors():
    params = RefpixParams(refpix_algorithm="sirs")
    part = header(nx=400, ny=400, SUBARRAY="SUB400P")
    assert refpix.needs(part, params) == ()
    assert refpix.prepare({}, part, params) == (None,)
    assert refpix.needs(header(), params) == ("sirskernel",)
    assert refpix.needs(header(), RefpixParams()) == ()
    assert refpix.prepare({"sirskernel": None}, header(), params) == (None,)
    assert kernels_of([1], [1], detector="NRCB2") is None


def test_sirs_mean_of_the_good_columns_of_either_side():
    left, right = np.zeros((1, 1, 8, 4)), np.zeros((1, 1, 8, 4))
    left[...] = np.arange(8)[:, np.newaxis] + [-0.5, 0.5, -0.5, 0.5]
    right[...] = 10
    kernels = np.zeros((2, 2, 3))
    kernels[:, :, 1] = [[1, 0], [1, 2]]
    expected = np.stack([np.arange(8) + 10.0, np.full(8, 20.0)])
    np.testing.assert_allclose(sirs_levels(left, right, kernels, 4.0)[0, 0], expected)
    # A pixel far away is as if it were not there: three are left, whose mean is 1/6 below.
    left[0, 0, 4, 1] = 1e6
    expected[0, 4] -= 1 / 6
    found = sirs_levels(left, right, kernels, 4.0)[0, 0]
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize(("fast", "slow"), ORIENTATIONS)
def test_sirs_takes_each_outputs_noise_from_its_rows(fast, slow):
    # Both sides read 2 in each row, 3 times that is the noise of an output of gain 3.
    gains = np.array([1.0, 3.0, 0.0, 5.0])
    head = header(fast=fast, slow=slow)
    sides = {}
    for name, shape in {
        "bottom": (4, 2048), "top": (4, 2048), "left": (2048, 4), "right": (2048, 4)
    }.items():  # fmt: skip
        across_rows = (name in ("left", "right")) == (abs(fast) == 1)
        value = 2.0 if across_rows else 0.0
        sides[name] = {
            "sci": np.full((1, 1, *shape), value, np.float32),
            "pixeldq": np.zeros(shape, np.uint32),
        }
    params = RefpixParams(refpix_algorithm="sirs", odd_even_columns=False)
    kernels = np.zeros((2, 4, 3))
    kernels[0, :, 1] = gains
    keywords = refpix.keywords(head, params)
    found = reference_levels(sides, kernels, **keywords)
    sci = np.zeros((1, 1, 2048, 2048), np.float32)
    flags = np.zeros((2048, 2048), np.uint32)
    corrected, _ = subtract_reference(sci, flags, None, kernels, *found, **keywords)
    columns = np.repeat(gains, 512)[:: np.sign(fast)] * 2.0
    plane = corrected[0, 0] if abs(fast) == 1 else corrected[0, 0].T
    np.testing.assert_allclose(plane, np.broadcast_to(-columns, plane.shape), atol=1e-5)
