import numpy as np

from jwpipe.dq import Pixel
from jwpipe.exposure import Header
from jwpipe.stage1.refpix import RefpixParams
from jwpipe.stage1.refpix_stripes import (
    KINDS,
    Columns,
    joined,
    levels_of,
    refpix_stripes,
    samples_of,
    subtract_levels,
)

REFERENCE = np.uint32(Pixel.REFERENCE_PIXEL)
ALL = {"count": 2 * KINDS, "limit": 3.0, "parity": True}


def labels(rows, columns, **changes):
    keywords = {"slow": "y", "fast": 1, "start": 0, "size": columns[1], "pitch": 6, "parity": True}
    return Columns(**(keywords | changes)).read(rows, columns)


def test_levels_are_those_of_a_frame_an_amplifier_and_odd_or_even_columns():
    found = labels((0, 12), (510, 514), size=2048)
    np.testing.assert_array_equal(found[0], [0, 1, 2, 3])
    np.testing.assert_array_equal(found[3], found[0])
    assert (found[4:6] == -1).all()
    np.testing.assert_array_equal(found[6], np.array([0, 1, 2, 3]) + KINDS)


def test_columns_are_counted_as_they_are_read():
    # Four columns read backwards, the first one read being column 511 of the detector.
    found = labels((0, 1), (0, 4), fast=-1, start=511)
    np.testing.assert_array_equal(found, [[3, 2, 3, 0]])
    upright = labels((0, 1), (0, 4), slow="x", fast=-2, start=511, size=1)
    np.testing.assert_array_equal(upright, [[0, 0, 0, 0]])


def test_without_parity_an_amplifier_has_one_level():
    np.testing.assert_array_equal(labels((0, 1), (0, 3), parity=False), [[0, 0, 0]])


def test_reference_pixels_are_taken_off_their_own_kind():
    # One integration of two groups, a row of reference pixels (drift 10 and 20; even columns 1 higher), a light row.
    sci = np.zeros((1, 2, 2, 8), np.float32)
    sci[0, 0], sci[0, 1] = 10.0, 20.0
    sci[..., 0::2] += 1.0
    sci[0, :, 1] += 100.0
    pixeldq = np.zeros((2, 8), np.uint32)
    pixeldq[0] = REFERENCE
    pixeldq[0, 3] |= Pixel.DO_NOT_USE
    sci[0, :, 0, 3] = 1e6
    before = sci.copy()
    where = labels((0, 2), (0, 8))
    samples = samples_of((), sci, pixeldq, where)
    assert samples[0].shape == (1, 2, 7)
    found = levels_of((), samples, **ALL)
    np.testing.assert_allclose(found[0][0, :, :2], [[11, 10], [21, 20]])
    corrected, frames = subtract_levels(sci, None, where, found)
    np.testing.assert_allclose(corrected[0, :, 1], 100.0)
    assert frames is None
    np.testing.assert_array_equal(sci, before)


def test_each_superstripe_counts_by_its_own_flags():
    """Two frames of one row and a stripe; in the second one's row the odd columns are bad, so it has no level."""
    sci = np.full((1, 1, 12, 4), 100.0, np.float32)
    pixeldq = np.zeros((12, 4), np.uint32)
    pixeldq[[0, 6]] = REFERENCE
    sci[..., 0, :], sci[..., 6, :] = 10.0, 30.0
    pixeldq[6, 1::2] |= np.uint32(Pixel.DO_NOT_USE)
    where = labels((0, 12), (0, 4))
    found = levels_of((), samples_of((), sci, pixeldq, where), **ALL)
    corrected = subtract_levels(sci, None, where, found)[0][0, 0]
    np.testing.assert_array_equal(corrected[1], 90.0)
    np.testing.assert_array_equal(corrected[7], 100.0)


def test_where_odd_or_even_columns_have_no_reference_pixel_nothing_is_taken_off():
    sci = np.full((1, 1, 1, 4), 7.0, np.float32)
    pixeldq = np.array([[REFERENCE, 0, REFERENCE, 0]], np.uint32)
    where = labels((0, 1), (0, 4))
    found = levels_of((), samples_of((), sci, pixeldq, where), **ALL)
    np.testing.assert_array_equal(subtract_levels(sci, None, where, found)[0], sci)


def test_strips_make_what_the_whole_makes():
    random = np.random.default_rng(3)
    sci = random.normal(100, 10, (2, 3, 12, 16)).astype(np.float32)
    frames = random.normal(50, 5, (2, 12, 16)).astype(np.float32)
    frames[0, 0, :3] = 0.0
    pixeldq = np.where(random.random((12, 16)) < 0.5, REFERENCE, 0).astype(np.uint32)
    where = labels((0, 12), (0, 16))
    whole = levels_of((), samples_of((), sci, pixeldq, frames, where), **ALL)
    cuts = [slice(0, 5), slice(5, 7), slice(7, 12)]
    first, second, third = (
        samples_of((), sci[..., c, :], pixeldq[c], frames[:, c], where[c]) for c in cuts
    )
    parts = levels_of((), joined(joined(first, second), third), **ALL)
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    all_at_once, zero = subtract_levels(sci, frames, where, whole)
    np.testing.assert_array_equal(zero[0, 0, :3], 0.0)
    for c in cuts:
        second_integration, _ = subtract_levels(
            sci[1:, :, c], frames[1:, c], where[c], whole, first=1
        )
        np.testing.assert_array_equal(second_integration, all_at_once[1:, :, c])


def test_the_labels_have_the_shape_of_the_stack():
    header = Header(
        {
            "primary": {
                "SUBARRAY": "SUB204STRIPE_SOSS", "FASTAXIS": -2, "SLOWAXIS": -1, "SUBSTRT1": 2048, "SUBSTRT2": 1793,
                "SUBSIZE1": 208, "SUBSIZE2": 24, "MSTR_RD1": 4, "MSTR_SK1": 0, "MSTR_RD2": 204, "MSTR_SK2": 0,
                "MSTR_RPT": 1, "MSTR_ILV": 1, "SSTR_STP": 204, "SSTR_NST": 10,
            }
        }
    )  # fmt: skip
    (found,) = refpix_stripes.prepare({}, header, RefpixParams())
    assert found.shape == (24, 10 * 210)
    part = found.read(slice(0, 2), slice(206, 212))
    # 1793 to 1816 are columns 232 to 255 of the readout, the last of which is the first row here.
    np.testing.assert_array_equal(part[0], [1, 1, -1, -1, KINDS + 1, KINDS + 1])
    np.testing.assert_array_equal(part[1, :2], [0, 0])
