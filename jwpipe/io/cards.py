"""FITS header cards: 80 characters to a keyword and its value, and back.

Values are plain Python: ``bool``, ``int``, ``float``, ``complex``, ``str``, and ``None`` for an undefined value.
``HISTORY`` and ``COMMENT`` are lists of their lines. Floats are written with the digits that give them back
exactly, even where that takes more than the twenty columns of the fixed format. Source: FITS standard 4.0.
"""

import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

CARD = 80
BLOCK = 2880
END = b"END" + b" " * 77

_TEXT = re.compile(r" *'((?:[^']|'')*)'")
_INTEGER = re.compile(r"[+-]?\d+$")


def parse_cards(header: bytes) -> dict[str, Any]:
    """The keywords and values of the header blocks ``header``; blank cards are left out."""
    values: dict[str, Any] = {}
    last = ""
    text = header.decode("ascii", "replace")
    for start in range(0, len(text), CARD):
        card = text[start : start + CARD]
        keyword = card[:8].rstrip()
        if keyword == "END":
            break
        if card[8:10] == "= ":
            values[keyword] = _value(card[10:])
            last = keyword
        elif keyword == "CONTINUE":
            _continue(values, last, card[8:])
        elif keyword in ("HISTORY", "COMMENT"):
            values.setdefault(keyword, []).append(card[8:].rstrip())
        elif keyword == "HIERARCH" and "=" in card:
            name, _, rest = card[9:].partition("=")
            values[name.strip()] = _value(rest)
    return values


def _continue(values: dict[str, Any], keyword: str, rest: str) -> None:
    value = values.get(keyword)
    found = _TEXT.match(rest)
    if isinstance(value, str) and value.endswith("&") and found:
        values[keyword] = value[:-1] + _unquoted(found)


def _unquoted(found: re.Match[str]) -> str:
    return found[1].rstrip().replace("''", "'")


def _value(field: str) -> Any:
    found = _TEXT.match(field)
    if found:
        return _unquoted(found)
    word = field.partition("/")[0].strip()
    if word in ("T", "F"):
        return word == "T"
    if not word:
        return None
    return int(word) if _INTEGER.match(word) else _float(word)


def _float(word: str) -> Any:
    try:
        if word.startswith("("):
            real, _, imaginary = word.strip("()").partition(",")
            return complex(float(real), float(imaginary))
        return float(word.upper().replace("D", "E"))
    except ValueError:
        return word


def plain(value: Any) -> Any:
    """``value`` without numpy scalars; numbers that FITS cannot hold (NaN, infinity) become ``None``."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def format_card(keyword: str, value: Any, comment: str = "") -> Iterator[str]:
    """The cards of one keyword: one, or more where a text needs ``CONTINUE`` or there are many lines."""
    if keyword in ("HISTORY", "COMMENT"):
        lines = [value] if isinstance(value, str) else value
        for line in lines:
            yield from _commentary(keyword, str(line))
        return
    head = (
        f"{keyword:8}= " if len(keyword) <= 8 and " " not in keyword else f"HIERARCH {keyword} = "
    )
    if isinstance(value, str):
        yield from _text_cards(head, _printable(value), comment)
        return
    yield _with_comment(f"{head}{_number(value):>20}", comment)


def _commentary(keyword: str, line: str) -> Iterator[str]:
    text = _printable(line)
    for start in range(0, max(len(text), 1), 72):
        yield f"{keyword:8}{text[start : start + 72]}".ljust(CARD)


def _number(value: Any) -> str:
    if isinstance(value, bool):
        return "T" if value else "F"
    if isinstance(value, float):
        return repr(value).upper()
    if isinstance(value, complex):
        return f"({value.real!r}, {value.imag!r})".upper()
    return str(value)


def _printable(text: str) -> str:
    ascii_text = text.encode("ascii", "replace").decode("ascii")
    return "".join(character if " " <= character <= "~" else " " for character in ascii_text)


def _with_comment(card: str, comment: str) -> str:
    if comment and len(card) < CARD - 4:
        card = f"{card} / {comment}"
    return card[:CARD].ljust(CARD)


def _text_cards(head: str, text: str, comment: str) -> Iterator[str]:
    quoted = text.replace("'", "''")
    whole = f"{head}'{quoted:8}'"
    if len(whole) <= CARD:
        yield _with_comment(f"{whole:30}", comment)
        return
    for piece, last in _pieces(quoted, CARD - len(head) - 3):
        if not last:
            yield f"{head}'{piece}&'".ljust(CARD)
        elif len(head) + len(piece) + len(comment) + 5 <= CARD:
            yield _with_comment(f"{head}'{piece}'", comment)
        else:
            yield f"{head}'{piece}&'".ljust(CARD)
            yield _with_comment("CONTINUE  ''", comment)
        head = "CONTINUE  "


def _pieces(quoted: str, room: int) -> Iterator[tuple[str, bool]]:
    """Parts of a text that fit into a card, and whether each is the last."""
    while quoted:
        piece = quoted[:room]
        if piece.count("'") % 2:  # never part the two quotes that stand for one
            piece = piece[:-1]
        quoted = quoted[len(piece) :]
        yield piece, not quoted


def title_cards(title: str) -> Iterator[str]:
    """Blank cards with ``title``, which head a group of keywords."""
    yield " " * CARD
    yield f"        {title}"[:CARD].ljust(CARD)
    yield " " * CARD


def header_block(cards: Iterable[str]) -> bytes:
    """``cards``, the END card, and blanks up to a whole number of blocks."""
    block = "".join(cards).encode("ascii") + END
    return block.ljust(padded(len(block)), b" ")


def padded(size: int) -> int:
    """``size`` bytes rounded up to whole FITS blocks."""
    return -(-size // BLOCK) * BLOCK
