import numpy as np
import pytest

from jwpipe.exposure import Header
from jwpipe.stage1.refpix import RefpixParams
from jwpipe.stage1.refpix_miri import COLUMNS, output_levels, refpix_miri, subtract_outputs

KEYWORDS = {"odd_even_rows": True, "siglimit": 3.0}


def ends(sci, pixeldq):
    columns = {"left": slice(0, 4), "right": slice(-4, None)}
    return {
        name: {"sci": sci[..., where], "pixeldq": pixeldq[:, where]}
        for name, where in columns.items()
    }


def corrected(sci, pixeldq, **keywords):
    options = KEYWORDS | keywords
    levels, parity, output = output_levels(ends(sci, pixeldq), **options)
    return subtract_outputs(sci, pixeldq, levels, parity, output, **options)[0]


@pytest.fixture
def drift():
    """A ramp of a bright sky whose outputs and row parities drift from group to group."""
    rows = 6
    output, parity = np.arange(COLUMNS) % 4, np.arange(rows) % 2
    level = 10 * output + 100 * parity[:, None]
    group = np.arange(3)[:, None, None]
    sky = np.full((rows, COLUMNS), 1000.0)
    sky[:, :4] = sky[:, -4:] = 0.0
    sci = 5000 + group * (sky + level)
    return sci[None].astype(np.float32), np.zeros((rows, COLUMNS), np.uint32), sky


def test_known_drifts_of_outputs_and_rows_come_off(drift):
    sci, pixeldq, sky = drift
    before = sci.copy()
    result = corrected(sci, pixeldq)
    for g in range(3):
        np.testing.assert_array_equal(result[0, g], 5000 + g * sky)
    np.testing.assert_array_equal(sci, before)
    assert result.dtype == np.float32


def test_both_ends_count_alike(drift):
    sci, pixeldq, sky = drift
    # The right column of output 2 reads 8 DN more in the last group: half of it is taken off.
    sci[0, 2, :, -2] += 8
    result = corrected(sci, pixeldq)
    expected = 5000 + 2 * sky
    expected[:, 2::4] -= 4
    expected[:, -2] += 8
    np.testing.assert_array_equal(result[0, 2], expected)


def test_rows_together_get_the_average_of_their_levels(drift):
    sci, pixeldq, sky = drift
    result = corrected(sci, pixeldq, odd_even_rows=False)
    # Levels of even and odd rows differ by 100 DN a group: each row is 50 from the average.
    offset = np.where(np.arange(6) % 2, 50, -50)[:, None]
    np.testing.assert_allclose(result[0, 1], 5000 + sky + offset, rtol=1e-6)


def test_outliers_are_clipped_and_bad_pixels_do_not_count():
    draw = np.random.default_rng(2)
    sci = np.zeros((1, 2, 200, COLUMNS), np.float32)
    sci[0, 1, :, :4], sci[0, 1, :, -4:] = draw.normal(7, 1, (2, 200, 4))
    pixeldq = np.zeros((200, COLUMNS), np.uint32)
    clean, _, _ = output_levels(ends(sci, pixeldq), **KEYWORDS)
    sci[0, 1, 10, 0] = 1e4
    sci[0, 1, 20:40, 1] = 500
    pixeldq[20:40, 1] = 1
    found, _, _ = output_levels(ends(sci, pixeldq), **KEYWORDS)
    np.testing.assert_allclose(found[0, 1], 7, atol=0.5)
    assert abs(found - clean)[0, 1, :, 2:].max() == 0
    wide, _, _ = output_levels(ends(sci, pixeldq), odd_even_rows=True, siglimit=1e3)
    assert wide[0, 1, 0, 0] > 50


def test_nothing_is_corrected_where_an_output_has_no_good_pixel_at_one_end(drift):
    sci, pixeldq, _ = drift
    pixeldq[::2, -1] = 1
    np.testing.assert_array_equal(corrected(sci, pixeldq), sci)
    # Rows together, the odd rows of that column are enough.
    assert (corrected(sci, pixeldq, odd_even_rows=False) != sci).any()


def test_strips_keep_the_parity_of_their_rows(drift):
    sci, pixeldq, _ = drift
    levels, parity, output = output_levels(ends(sci, pixeldq), **KEYWORDS)
    whole = subtract_outputs(sci, pixeldq, levels, parity, output, **KEYWORDS)[0]
    for rows in (slice(0, 3), slice(3, 6)):
        strip = np.ascontiguousarray(sci[:, :, rows])
        part = subtract_outputs(strip, pixeldq[rows], levels, parity[rows], output, **KEYWORDS)[0]
        np.testing.assert_array_equal(part, whole[:, :, rows])


def test_subarrays_are_left_out():
    for size, left_out in (((1032, 1024), False), ((256, 256), True)):
        header = Header({"primary": {"SUBSIZE1": size[0], "SUBSIZE2": size[1]}})
        assert bool(refpix_miri.applies(header, RefpixParams())) == left_out
