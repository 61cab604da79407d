"""The data-quality planes of reference files.

A reference numbers its DQ bits as it likes; its DQ_DEF table says which value stands for which flag. The flags are
known by name, so a translation is a list of pairs (value in the file, standard bit).
"""

import warnings
from collections.abc import Iterable

import numpy as np

from jwpipe.dq import Pixel

Translation = tuple[tuple[int, int], ...]

_RENAMED = {"RESERVED": Pixel.RESERVED_4}


def translation(definitions: Iterable[tuple[int, str]], filename: str) -> Translation:
    """Pairs (value in the file, standard bit) from the rows (VALUE, NAME) of DQ_DEF.

    Flags with unknown names are dropped with one warning, as are all bits that DQ_DEF does not define.
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
            f"{filename}: DQ_DEF names flags that do not exist and are ignored: {', '.join(unknown)}",
            stacklevel=2,
        )
    return tuple(known)


def translate(flags: np.ndarray, pairs: Translation) -> np.ndarray:
    """Standard uint32 flags from those of a file: four tables of 256 entries, one for each byte of the value."""
    values = np.arange(256, dtype=np.uint32)
    standard = np.zeros(flags.shape, np.uint32)
    for shift in (0, 8, 16, 24):
        table = np.zeros(256, np.uint32)
        for value, bit in pairs:
            table[(values & np.uint32((value >> shift) & 0xFF)) != 0] |= np.uint32(bit)
        if table.any():
            standard |= table[(flags >> np.uint32(shift)) & np.uint32(0xFF)]
    return standard
