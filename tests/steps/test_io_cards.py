import math

import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from jwpipe.io.cards import CARD, format_card, header_block, padded, parse_cards, plain

TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=300).map(str.rstrip)
VALUES = st.one_of(
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXT,
)
KEYWORDS = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-", min_size=1, max_size=8)
RESERVED = {"END", "CONTINUE", "HISTORY", "COMMENT", "HIERARCH", "SIMPLE", "XTENSION"}


def test_cards_by_hand():
    cards = [
        *format_card("SIMPLE", True, "conforms"),
        *format_card("NGROUPS", 10),
        *format_card("X", "it's"),
    ]
    assert cards[0] == f"{'SIMPLE  =                    T / conforms':80}"
    assert cards[1] == f"{'NGROUPS =                   10':80}"
    assert cards[2] == f"{chr(88):8}= {chr(39)}it''s   {chr(39)}".ljust(80)
    block = header_block(cards)
    assert len(block) == 2880
    assert parse_cards(block) == {"SIMPLE": True, "NGROUPS": 10, "X": "it's"}


def test_values_of_other_writers():
    lines = [
        "A       = 1.5D-3 / Fortran",
        "B       =                      / undefined",
        "C       = 'a / b' / slash in the text",
        "D       = (1.0, -2.0)",
        "HIERARCH long name = 3 / more than eight letters",
        "HISTORY first",
        "HISTORY second",
        "        a title without a keyword",
    ]
    found = parse_cards(header_block([line.ljust(CARD) for line in lines]))
    assert found == {
        "A": 1.5e-3,
        "B": None,
        "C": "a / b",
        "D": 1 - 2j,
        "long name": 3,
        "HISTORY": ["first", "second"],
    }


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(KEYWORDS, VALUES, max_size=8))
def test_what_is_written_is_read(values):
    values = {k: v for k, v in values.items() if k not in RESERVED}
    block = header_block(card for k, v in values.items() for card in format_card(k, v, "a comment"))
    assert len(block) % 2880 == 0
    found = parse_cards(block)
    assert found == values
    assert {k: type(v) for k, v in found.items()} == {k: type(v) for k, v in values.items()}


@settings(deadline=None, max_examples=50)
@given(KEYWORDS.filter(lambda name: name not in RESERVED), VALUES)
def test_astropy_reads_the_same(keyword, value):
    header = fits.Header.fromstring(header_block(format_card(keyword, value)).decode())
    found = header[keyword]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_fits_cannot_hold(value):
    assert plain(value) is None


def test_padding():
    assert [padded(n) for n in (0, 1, 2880, 2881)] == [0, 2880, 2880, 5760]
