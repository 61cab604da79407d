"""Correct the counts for the detector's non-linear response: one polynomial for each pixel.

``F_c = c_0 + c_1 F + c_2 F^2 + ...`` with the coefficients of the reference. A group that averages
several frames is the average of non-linear values: where the reference holds the inverse polynomial
as well, the frames inside each group are predicted, corrected one by one, and averaged.
"""

from typing import Any

import numpy as np

from jwpipe.dq import Group, Pixel
from jwpipe.exposure import ExposureError, Header
from jwpipe.numerics.jit import kernel
from jwpipe.refs import References
from jwpipe.step import Params, Step, carries_zeroframe

SATURATED = np.uint8(Group.SATURATED)
NO_CORRECTION = np.uint32(Pixel.NO_LIN_CORR)
SEGMENT = 512


class LinearityParams(Params):
    """Parameters of the linearity step: none of its own."""


def linearize(
    sci: np.ndarray,
    groupdq: np.ndarray,
    pixeldq: np.ndarray,
    zeroframe: np.ndarray | None,
    coefficients: np.ndarray,
    coefficient_dq: np.ndarray,
    inverse: np.ndarray | None,
    *,
    nframes: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Correct all groups that are not saturated.

    Pixels with ``NO_LIN_CORR``, with a coefficient of NaN or a linear coefficient of 0 stay as they are.

    Parameters
    ----------
    sci
        Counts without bias (i, g, y, x), DN.
    groupdq, pixeldq
        Flags (i, g, y, x) and (y, x).
    zeroframe
        First frames (i, y, x), DN; pixels of 0 hold no data and stay 0.
    coefficients, coefficient_dq
        Polynomials (order, y, x) and their flags (y, x).
    inverse
        Polynomials (order, y, x) from linear to measured counts, or ``None`` to correct whole groups.
    nframes
        Frames averaged into a group, for ``inverse``.

    Returns
    -------
    sci, pixeldq, zeroframe
        Corrected, with NO_LIN_CORR and the reference's flags added.
    """
    kept = _uncorrectable(coefficients, coefficient_dq)
    if inverse is None or sci.shape[1] < 2:
        corrected, flagged = _linearize_groups(sci, groupdq, coefficients, kept), kept
    else:
        kept_inverse = _uncorrectable(inverse, coefficient_dq)
        corrected = _linearize_frames(
            sci, groupdq, coefficients, kept, inverse, kept_inverse, nframes
        )
        flagged = kept | kept_inverse
    if zeroframe is not None:
        no_data = np.where(zeroframe == 0, SATURATED, np.uint8(0))[:, np.newaxis]
        frames = _linearize_groups(zeroframe[:, np.newaxis], no_data, coefficients, kept)
        zeroframe = frames[:, 0]
    return corrected, _flag(pixeldq, coefficient_dq, flagged), zeroframe


@kernel
def _uncorrectable(coefficients: np.ndarray, flags: np.ndarray) -> np.ndarray:
    """Mark the pixels (y, x) that have no usable polynomial."""
    kept = (flags & NO_CORRECTION) != 0
    for k in range(coefficients.shape[0]):
        for y in range(kept.shape[0]):
            for x in range(kept.shape[1]):
                value = coefficients[k, y, x]
                kept[y, x] |= (value != value) | ((k == 1) & (value == 0))
    return kept


@kernel
def _flag(pixeldq: np.ndarray, more: np.ndarray, uncorrected: np.ndarray) -> np.ndarray:
    """Combine the flags of the exposure and the reference, and those of pixels not corrected."""
    flags = np.empty_like(pixeldq)
    for y in range(flags.shape[0]):
        for x in range(flags.shape[1]):
            missing = NO_CORRECTION if uncorrected[y, x] else np.uint32(0)
            flags[y, x] = pixeldq[y, x] | more[y, x] | missing
    return flags


@kernel
def _evaluate(
    values: np.ndarray, coefficients: np.ndarray, y: int, start: int, result: np.ndarray
) -> None:
    """Evaluate polynomials by Horner's scheme; ``values`` are pixels of row ``y`` from ``start``."""
    top, end = coefficients.shape[0] - 1, start + values.size
    high, low = coefficients[top, y, start:end], coefficients[top - 1, y, start:end]
    for x in range(values.size):
        result[x] = high[x] * values[x] + low[x]
    # Two orders at a time: half the passes over the row.
    for k in range(top - 2, 0, -2):
        high, low = coefficients[k, y, start:end], coefficients[k - 1, y, start:end]
        for x in range(values.size):
            value = values[x]
            result[x] = (result[x] * value + high[x]) * value + low[x]
    if top % 2 == 0:
        low = coefficients[0, y, start:end]
        for x in range(values.size):
            result[x] = result[x] * values[x] + low[x]


@kernel
def _linearize_groups(
    sci: np.ndarray, groupdq: np.ndarray, coefficients: np.ndarray, kept: np.ndarray
) -> np.ndarray:
    integrations, groups, rows, columns = sci.shape
    corrected = np.empty_like(sci)
    for y in range(rows):
        # The coefficients of a segment stay in the innermost cache while all groups pass by.
        for x in range(0, columns, SEGMENT):
            end = min(x + SEGMENT, columns)
            for i in range(integrations):
                for g in range(groups):
                    values, result = sci[i, g, y, x:end], corrected[i, g, y, x:end]
                    _evaluate(values, coefficients, y, x, result)
                    _keep_saturated(values, groupdq[i, g, y, x:end], kept[y, x:end], result)
    return corrected


@kernel
def _keep_saturated(
    values: np.ndarray, flags: np.ndarray, kept: np.ndarray, result: np.ndarray
) -> None:
    """Put the given values back where the group is saturated or the pixel has no polynomial."""
    for x in range(values.size):
        before, after = values[x], result[x]
        unchanged = ((flags[x] & SATURATED) != 0) | kept[x]
        result[x] = before if unchanged else after


@kernel
def _keep(values: np.ndarray, kept: np.ndarray, result: np.ndarray) -> None:
    """Put the given values back where ``kept`` is true."""
    for x in range(values.size):
        before, after = values[x], result[x]
        result[x] = before if kept[x] else after


@kernel
def _linearize_frames(
    sci: np.ndarray,
    groupdq: np.ndarray,
    coefficients: np.ndarray,
    kept: np.ndarray,
    inverse: np.ndarray,
    kept_inverse: np.ndarray,
    nframes: int,
) -> np.ndarray:
    """Correct group averages frame by frame.

    The count rate between the first and the last clean group, both corrected as they are, predicts
    the frames; un-linearised and shifted so that their average is the group, they are corrected.
    """
    integrations, groups, rows, columns = sci.shape
    corrected = np.empty_like(sci)
    frames = np.empty((nframes, columns), np.float64)
    scratch = np.empty(columns, np.float64)
    for i in range(integrations):
        for y in range(rows):
            start, rate = _predicted_ramp(sci[i], groupdq[i], coefficients, kept[y], y, nframes)
            for g in range(groups):
                _predict_frames(start, rate, g, inverse, kept_inverse[y], y, frames, scratch)
                _shift_to(sci[i, g, y], frames, scratch)
                _mean_of_linearized(frames, coefficients, kept[y], y, scratch, corrected[i, g, y])
                saturated = (groupdq[i, g, y] & SATURATED) != 0
                _keep(sci[i, g, y], saturated, corrected[i, g, y])
    return corrected


@kernel
def _predicted_ramp(
    sci: np.ndarray,
    groupdq: np.ndarray,
    coefficients: np.ndarray,
    kept: np.ndarray,
    y: int,
    nframes: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Give the corrected first group of a row (x) and its rate in counts per frame.

    The last clean group is the one before the last that is not saturated, the second at least.
    """
    groups, _, columns = sci.shape
    last = np.empty(columns, np.int64)
    values, saturated = np.empty(columns, np.float32), np.empty(columns, np.bool_)
    for x in range(columns):
        clean = 0
        for g in range(groups):
            clean += (groupdq[g, y, x] & SATURATED) == 0
        last[x] = max(clean - 2, 1)
        values[x] = sci[last[x], y, x]
        saturated[x] = (groupdq[last[x], y, x] & SATURATED) != 0
    start, end = np.empty(columns, np.float32), np.empty(columns, np.float32)
    _evaluate(sci[0, y], coefficients, y, 0, start)
    _keep(sci[0, y], kept | ((groupdq[0, y] & SATURATED) != 0), start)
    _evaluate(values, coefficients, y, 0, end)
    _keep(values, kept | saturated, end)
    return start, (end - start) / (last * np.float64(nframes))


@kernel
def _predict_frames(
    start: np.ndarray,
    rate: np.ndarray,
    group: int,
    inverse: np.ndarray,
    kept: np.ndarray,
    y: int,
    frames: np.ndarray,
    scratch: np.ndarray,
) -> None:
    """Predict the measured frames (f, x) of a group; frame numbers run on without GROUPGAP."""
    nframes, columns = frames.shape
    for f in range(nframes):
        since = group * nframes + f + 1 - (nframes + 1) / 2
        for x in range(columns):
            scratch[x] = start[x] + rate[x] * since
        _evaluate(scratch, inverse, y, 0, frames[f])
        _keep(scratch, kept, frames[f])


@kernel
def _shift_to(values: np.ndarray, frames: np.ndarray, offset: np.ndarray) -> None:
    """Shift the frames (f, x) so that their average is ``values``."""
    nframes, columns = frames.shape
    offset[:] = 0.0
    for f in range(nframes):
        for x in range(columns):
            offset[x] += frames[f, x]
    for x in range(columns):
        offset[x] = values[x] - offset[x] / nframes
    for f in range(nframes):
        for x in range(columns):
            frames[f, x] += offset[x]


@kernel
def _mean_of_linearized(
    frames: np.ndarray,
    coefficients: np.ndarray,
    kept: np.ndarray,
    y: int,
    scratch: np.ndarray,
    mean: np.ndarray,
) -> None:
    """Correct the frames (f, x) one by one and put their average into ``mean`` (x)."""
    nframes, columns = frames.shape
    total = np.zeros(columns, np.float64)
    for f in range(nframes):
        _evaluate(frames[f], coefficients, y, 0, scratch)
        _keep(frames[f], kept, scratch)
        for x in range(columns):
            total[x] += scratch[x]
    for x in range(columns):
        mean[x] = total[x] / nframes


def _prepare(references: References, header: Header, params: LinearityParams) -> tuple[Any, ...]:
    file = references["linearity"]
    if file is None:
        return None, None, None
    coefficients = file.array("coeffs")
    if coefficients is None or coefficients.ndim != 3 or coefficients.shape[0] < 2:
        found = "none" if coefficients is None else f"shape {coefficients.shape}"
        raise ExposureError(
            f"{header.filename}: linearity: {file.path}: COEFFS (order, y, x) of two orders at least "
            f"expected, found {found}; give a valid linearity reference"
        )
    averaged = int(header["NFRAMES"]) > 1 and not header.read_times
    return coefficients, file.array("dq"), file.array("inv_coeffs") if averaged else None


def _keywords(header: Header, params: LinearityParams) -> dict[str, Any]:
    return {"nframes": int(header["NFRAMES"])}


linearity = Step(
    "linearity",
    linearize,
    reads=("sci", "groupdq", "pixeldq", "zeroframe?"),
    writes=("sci", "pixeldq", "zeroframe?"),
    refs=("linearity.coeffs", "linearity.dq", "linearity.inv_coeffs?"),
    params=LinearityParams,
    keywords=_keywords,
    prepare=_prepare,
    carries=carries_zeroframe,
    apart=True,
)
