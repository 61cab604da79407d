"""The data-quality planes of reference files.

A reference numbers its DQ bits as it likes; its DQ_DEF table says which value stands for which
flag. The flags are known by name, so a translation is a list of pairs (value in the file, standard
bit).
"""

import warnings
from collections.abc import Iterable
from functools import lru_cache

import numpy as np

from jwpipe.dq import Pixel

Translation = tuple[tuple[int, int], ...]

_RENAMED = {"RESERVED": Pixel.RESERVED_4}


def translation(definitions: Iterable[tuple[int, str]], filename: str) -> Translation:
    """Pairs (value in the file, standard bit) from the rows (VALUE, NAME) of DQ_DEF.

    Flags with unknown names are dropped with one warning, as are all bits that DQ_DEF does not
    define.
    """
    known, unknown = [], []
    for value, name in definitions:
        standard = Pixel.__members__.get(name) or _RENAMED.get(name)
        if standard is not None:
            known.append((int(value), int(standard)))
        elif name != "GOOD":
            unknown.append(name)
    if unknown:
        warnings.warn(
            f"{filename}: DQ_DEF names unknown flags, which are ignored: {', '.join(unknown)}",
            stacklevel=2,
        )
    return tuple(known)


def translate(flags: np.ndarray, pairs: Translation) -> np.ndarray:
    """Standard uint32 flags of any shape, from flags as the file numbers them.

    Few pixels carry flags, so only these are looked up: four tables of 256 entries, one for each
    byte of the value.
    """
    standard = np.zeros(flags.shape, np.uint32)
    flagged = np.flatnonzero(flags != 0)
    values = flags.reshape(-1)[flagged]
    found = np.zeros(values.shape, np.uint32)
    for shift, table in _tables(pairs):
        found |= table[(values >> np.uint32(shift)) & np.uint32(0xFF)]
    standard.reshape(-1)[flagged] = found
    return standard


@lru_cache(maxsize=256)
def _tables(pairs: Translation) -> tuple[tuple[int, np.ndarray], ...]:
    """Standard flags of the 256 values of each byte (its shift, the table) that can be set."""
    byte = np.arange(256, dtype=np.uint32)
    tables = []
    for shift in (0, 8, 16, 24):
        table = np.zeros(256, np.uint32)
        for value, standard in pairs:
            table[(byte & np.uint32((value >> shift) & 0xFF)) != 0] |= np.uint32(standard)
        if table.any():
            tables.append((shift, table))
    return tuple(tables)
