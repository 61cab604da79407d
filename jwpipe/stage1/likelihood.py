"""The likelihood fit of ramps: what ``algorithm = LIKELY`` of ramp_fit does."""

import numpy as np

from jwpipe.numerics.ramp_covariance import cadence
from jwpipe.numerics.ramp_likelihood import Likely, Readout, fit_likely_rows, merge_integrations
from jwpipe.numerics.views import read_only

Times = tuple[tuple[float, ...], ...]


def fit_likely(
    sci: np.ndarray,
    groupdq: np.ndarray,
    pixeldq: np.ndarray,
    zeroframe: np.ndarray | None,
    avdrkcur: np.ndarray | None,
    gain: np.ndarray,
    readnoise: np.ndarray,
    *,
    times: Times,
) -> tuple[Likely, Likely]:
    """Fit the ramps of all integrations with the greatest likelihood, and combine them.

    Brandt 2024, PASP 136, 045004 and 045005, as in the JWST calibration pipeline 3.0.0: only differences between groups
    without any flag are used; those that chi^2 is better without by 20.25 (two neighbours: 23.8) are left out and
    the integration flagged JUMP_DET. A first frame of a group of several reads is a group of its own. Where no
    difference is left slope, error and variances are NaN.

    Parameters
    ----------
    sci
        Linear counts (i, g, y, x), DN.
    groupdq, pixeldq
        Flags (i, g, y, x) and (y, x).
    zeroframe
        First frames (i, y, x), DN, if there are any.
    avdrkcur
        Average dark current (y, x), which adds to the rate behind the photon noise.
    gain, readnoise
        Gain (y, x), electron/DN, and noise of a pair of frames (y, x), DN.
    times
        Seconds at which the frames of each group are read.

    Returns
    -------
    tuple
        Fits of the exposure (y, x) and of the integrations (i, y, x).
    """
    reads = [np.asarray(group, np.float64) for group in times]
    apart = zeroframe is not None and reads[0].size > 1
    if apart:
        reads = [reads[0][:1], reads[0][1:], *reads[1:]]
    first = zeroframe if apart and zeroframe is not None else np.empty((0, 0, 0), np.float32)
    arrays = read_only(sci, groupdq, first)
    ramps = Readout(arrays[0], arrays[1], arrays[2], np.float32(len(times[0])))
    noise = readnoise.astype(np.float64) ** 2 / 2
    dark = np.zeros(pixeldq.shape, np.float32) if avdrkcur is None else avdrkcur
    ints = _empty((sci.shape[0], *pixeldq.shape))
    fit_likely_rows(ramps, cadence(reads), *read_only(pixeldq, gain, noise, dark), ints)
    if sci.shape[0] == 1:
        return Likely(*(plane[0] for plane in ints)), ints
    rate = _empty(pixeldq.shape)
    merge_integrations(ints, rate)
    return rate, ints


def _empty(shape: tuple[int, ...]) -> Likely:
    types = (np.uint32 if name == "dq" else np.float32 for name in Likely._fields)
    return Likely(*(np.empty(shape, dtype) for dtype in types))
