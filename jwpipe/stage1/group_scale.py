"""Rescale groups that were averaged on board with the wrong divisor.

The on-board averaging shifts bits, so it divides the sum of NFRAMES frames by FRMDIVSR, the next
power of two.
"""

from typing import Any

import numpy as np

from jwpipe.exposure import Header
from jwpipe.step import Params, Step


class GroupScaleParams(Params):
    """Parameters of the group_scale step: none of its own."""


def scale_groups(sci: np.ndarray, *, scale: float) -> tuple[np.ndarray]:
    """Multiply all groups ``sci`` (i, g, y, x), DN, by ``scale``."""
    return (sci * np.float32(scale),)


def _keywords(header: Header, params: GroupScaleParams) -> dict[str, Any]:
    return {"scale": float(header["FRMDIVSR"]) / header["NFRAMES"]}


def _applies(header: Header, params: GroupScaleParams) -> str:
    nframes, divisor = header.get("NFRAMES"), header.get("FRMDIVSR")
    if nframes is None or divisor is None:
        return f"NFRAMES is {nframes} and FRMDIVSR is {divisor}: nothing to scale by"
    return "NFRAMES and FRMDIVSR are equal" if nframes == divisor else ""


group_scale = Step(
    "group_scale",
    scale_groups,
    reads=("sci",),
    writes=("sci",),
    params=GroupScaleParams,
    keywords=_keywords,
    applies=_applies,
    apart=True,
)
