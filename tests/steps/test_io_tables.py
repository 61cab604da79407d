import io

import numpy as np
import pytest
from astropy.io import fits

from jwpipe.io.tables import read_table, table_content

ROWS = np.array(
    [
        (
            1,
            2**31 + 5,
            2**15 + 1,
            255,
            True,
            1.5,
            -2.5,
            b"CLEAR",
            (1.0, 2.0, 3.0),
            ((1, 2, 3), (4, 5, 6)),
        ),
        (-1, 0, 0, 0, False, np.nan, np.inf, b"", (0.0, 0.0, 0.0), ((0, 0, 0), (0, 0, 7))),
    ],
    [
        ("signed", "i4"),
        ("flags", "u4"),
        ("counts", "u2"),
        ("byte", "u1"),
        ("good", "?"),
        ("single", "f4"),
        ("double", "f8"),
        ("text", "S10"),
        ("vector", "f8", (3,)),
        ("matrix", "i2", (2, 3)),
    ],
)


def header_of(table):
    columns, rows, width = table_content(table)
    header = {"TFIELDS": len(table.dtype.names), "NAXIS1": width, "NAXIS2": len(table)}
    return header | dict(columns), rows


@pytest.mark.parametrize("count", [2, 1, 0])
def test_what_is_written_is_read(count):
    header, rows = header_of(ROWS[:count])
    again = read_table(rows, header, "table")
    assert again.dtype == ROWS.dtype
    for name in ROWS.dtype.names:
        np.testing.assert_array_equal(again[name], ROWS[name][:count])


def test_astropy_writes_what_we_read():
    buffer = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(ROWS)]).writeto(buffer)
    with fits.open(io.BytesIO(buffer.getvalue())) as hdus:
        header, place = dict(hdus[1].header), hdus.fileinfo(1)["datLoc"]
    again = read_table(buffer.getvalue()[place : place + ROWS.nbytes], header, "table")
    for name in ROWS.dtype.names:
        np.testing.assert_array_equal(again[name], ROWS[name])
        assert again[name].dtype == ROWS[name].dtype


def test_astropy_reads_what_we_write():
    header, rows = header_of(ROWS)
    start = {
        "XTENSION": "BINTABLE",
        "BITPIX": 8,
        "NAXIS": 2,
        "NAXIS1": 0,
        "NAXIS2": 0,
        "PCOUNT": 0,
        "GCOUNT": 1,
    }
    block = fits.Header(start | header).tostring().encode()
    primary = fits.PrimaryHDU().header.tostring().encode()
    with fits.open(io.BytesIO(primary + block + rows.ljust(2880, b"\0"))) as hdus:
        seen = hdus[1].data
        for name in ROWS.dtype.names:
            values = np.char.encode(seen[name]) if name == "text" else seen[name]
            np.testing.assert_array_equal(values, ROWS[name])
