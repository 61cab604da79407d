"""Scale count rates that were read out with a gain other than the detector's standard one."""

from typing import Any

import numpy as np

from jwpipe.exposure import Header
from jwpipe.refs import References
from jwpipe.step import Params, Step

VARIABLES = tuple(
    f"{product}.{name}?"
    for product in ("rate", "rateints")
    for name in ("sci", "err", "var_poisson", "var_rnoise")
)


class GainScaleParams(Params):
    """Parameters of the gain_scale step: none of its own."""


def scale_gain(*operands: Any) -> tuple[np.ndarray | None, ...]:
    """Multiply rates and errors by the gain factor, the last operand, and variances by its square.

    The other operands are sci and err (DN/s), var_poisson and var_rnoise ((DN/s)^2) of each
    product, ``None`` where there is none.
    """
    *arrays, factor = operands
    scales = np.array([factor, factor, factor**2, factor**2] * 2, np.float32)
    return tuple(
        None if array is None else array * scale
        for array, scale in zip(arrays, scales, strict=True)
    )


def gain_factor(references: References, header: Header) -> float | None:
    """GAINFACT of the exposure, else of its gain reference, else ``None``."""
    factor = header.get("GAINFACT")
    file = references["gain"] if factor is None else None
    if file is not None:
        factor = file.header.get("GAINFACT")
    return None if factor is None else float(factor)


def _unsuitable(references: References, header: Header, params: GainScaleParams) -> str:
    missing = gain_factor(references, header) is None
    return "neither the exposure nor its gain reference has GAINFACT" if missing else ""


def _prepare(references: References, header: Header, params: GainScaleParams) -> tuple[Any, ...]:
    return (gain_factor(references, header),)


def _marks(references: References, header: Header, params: GainScaleParams) -> dict[str, Any]:
    return {"GAINFACT": gain_factor(references, header)}


gain_scale = Step(
    "gain_scale",
    scale_gain,
    reads=VARIABLES,
    writes=VARIABLES,
    refs=("gain.sci?",),
    params=GainScaleParams,
    unsuitable=_unsuitable,
    marks=_marks,
    prepare=_prepare,
)
