"""Fit a count rate to each ramp: by least squares on the segments between cosmic rays, or by likelihood."""

import warnings
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field

from jwpipe.dq import Group
from jwpipe.exposure import Header
from jwpipe.numerics.jit import kernel
from jwpipe.numerics.planes import usable_windows, whole_planes
from jwpipe.numerics.ramp_covariance import Cadence, cadence, even_times
from jwpipe.numerics.ramp_kinds import Model, Ramps
from jwpipe.numerics.ramp_slopes import Fit, fit_rows
from jwpipe.numerics.ramp_weighted import weight_by_covariance
from jwpipe.numerics.segments import weight_table
from jwpipe.numerics.views import read_only
from jwpipe.refs import References
from jwpipe.stage1.likelihood import Times, fit_likely
from jwpipe.stage1.void_groups import only_groups, void_groups, without_one_group_ramps
from jwpipe.step import Further, Params, Step, Survey

DO_NOT_USE = np.uint8(Group.DO_NOT_USE)
JUMP = np.uint8(Group.JUMP_DET)
# Below so many groups the likelihood fit falls back to least squares.
LIKELIHOOD_GROUPS = 4

Result = tuple[np.ndarray, ...]


class RampFitParams(Params):
    """Parameters of the ramp_fit step."""

    algorithm: Literal["OLS_C", "LIKELY"] = Field(
        "OLS_C",
        description="OLS_C: weighted least squares; LIKELY: maximum likelihood, with a search for jumps of its own, "
        "for ramps of four groups and more; it is taken wherever reads are not evenly spaced",
    )
    uncertainty: Literal["by_segment", "covariance"] = Field(
        "by_segment",
        description="how OLS_C weights and combines differences: by_segment, as the JWST calibration pipeline, weights "
        "segments and integrations by read noise alone; covariance takes photon noise, read noise and what ties "
        "neighbouring differences into account in weights and errors: less scatter, and errors that hold",
    )
    int_name: str = Field("", description="name of the product of integrations, before _rateints")
    save_opt: bool = Field(
        False,
        description="save the fits of all segments (_fitopt), or the chi^2 of a likelihood fit (_likely_chisq)",
    )
    opt_name: str = Field("", description="name of the product that save_opt makes, before _fitopt")
    suppress_one_group: bool = Field(
        True, description="leave out ramps with one good group, in exposures of more groups"
    )
    firstgroup: int | None = Field(
        None, description="ignore the groups before this one, counted from 0"
    )
    lastgroup: int | None = Field(
        None, description="ignore the groups after this one, counted from 0"
    )
    maximum_cores: str = Field("1", description="no effect: dask spreads the work over the cores")


def fit_ramps(
    sci: np.ndarray,
    groupdq: np.ndarray,
    pixeldq: np.ndarray,
    zeroframe: np.ndarray | None,
    avdrkcur: np.ndarray | None,
    gain: np.ndarray,
    readnoise: np.ndarray,
    void: np.ndarray | None = None,
    *,
    group_time: float,
    frame_time: float,
    nframes: int,
    suppress_one_group: bool,
    groups: tuple[int, int] | None = None,
    trim: bool = False,
    covariance: bool = False,
    medians: np.ndarray | None = None,
) -> Result:
    """Fit the ramps of all integrations, and combine them.

    Fixsen et al. 2000, PASP 112, 1350, as in the JWST calibration pipeline 3.0.0: the slopes of segments and of
    integrations are combined with the inverse of their read variance; the Poisson variance comes from the median
    rate of the pixel, averaged over integrations. The error of an integration is that of a combination weighted with
    both variances, the error of the exposure is the root of their sum. Where nothing can be fitted the slope is NaN,
    variances and errors are 0, and DO_NOT_USE is set.

    Parameters
    ----------
    sci
        Linear counts (i, g, y, x), DN.
    groupdq, pixeldq
        Flags (i, g, y, x) and (y, x).
    zeroframe
        First frames (i, y, x), DN, for ramps without a good group; 0 where there is none. Used unless one-group ramps
        are left out.
    avdrkcur
        Average dark current (y, x), which adds to the rate behind the Poisson variance.
    gain, readnoise
        Gain (y, x), electron/DN, and noise of a pair of frames (y, x), DN.
    void
        Groups that no pixel of the exposure can use, as ``void_groups`` finds them; told from the rows at hand if
        ``None``.
    groups
        First and last group to use.
    trim
        Drop leading groups and a last group that are unusable throughout (MIRI).
    covariance
        Combine differences with their full covariance instead (Brandt 2024, PASP 136, 045004), at the rate of all
        integrations together; slopes, errors and variances follow from it. Ramps of one group keep theirs.
    medians
        Median differences (i, y, x), DN, of ramps without flags, as the jump step found them; NaN of others. What is
        not known is found here.

    Returns
    -------
    tuple
        Slope (DN/s), error, flags, Poisson and read variance of the exposure (y, x), then those of the integrations
        (i, y, x).
    """
    setup = set_up(
        (sci, groupdq, zeroframe),
        (gain, readnoise),
        void,
        medians=medians,
        group_time=group_time,
        frame_time=frame_time,
        nframes=nframes,
        suppress_one_group=suppress_one_group,
        groups=groups,
        trim=trim,
    )
    rate, rate_dq = _empty(pixeldq.shape)
    ints, ints_dq = _empty((sci.shape[0], *pixeldq.shape))
    dark = np.zeros(pixeldq.shape, np.float32) if avdrkcur is None else avdrkcur
    planes = read_only(pixeldq, gain, setup.noise, dark)
    fit_rows(setup.ramps, setup.model, *planes, rate, rate_dq, ints, ints_dq)
    if covariance and setup.ramps.sci.shape[1] > 1:
        _weight_again(setup, nframes, (gain, readnoise, dark), rate, ints)
    return (rate.slope, rate.err, rate_dq, *rate[2:], ints.slope, ints.err, ints_dq, *ints[2:])


class Setup(NamedTuple):
    """What is fitted and how; ``noise`` of a group (y, x), in electrons."""

    ramps: Ramps
    model: Model
    noise: np.ndarray


def _weight_again(
    setup: Setup, nframes: int, planes: tuple[np.ndarray, ...], rate: Fit, ints: Fit
) -> None:
    """Replace the results by those of differences weighted with their full covariance; ``planes`` as `fit_ramps`."""
    gain, readnoise, dark = planes
    model, ramps = setup.model, setup.ramps
    times = _even_cadence(ramps.sci.shape[1], model.group_time, model.frame_time, nframes)
    variance = readnoise.astype(np.float64) ** 2 / 2
    weight_by_covariance(*ramps[:2], times, *read_only(gain, variance, dark), rate, ints)


def set_up(
    arrays: tuple[np.ndarray, np.ndarray, np.ndarray | None],
    references: tuple[np.ndarray, np.ndarray],
    void: np.ndarray | None,
    *,
    group_time: float,
    frame_time: float,
    nframes: int,
    suppress_one_group: bool,
    groups: tuple[int, int] | None,
    trim: bool,
    medians: np.ndarray | None = None,
) -> Setup:
    """The ramps to fit, of ``arrays`` sci, groupdq and zeroframe; the rest as for `fit_ramps`."""
    sci, groupdq, zeroframe = arrays
    gain, readnoise = references
    suppress = suppress_one_group and sci.shape[1] > 1
    rescue = not suppress
    flags = groupdq if groups is None else only_groups(groupdq, *groups)
    if trim:
        # Trimming forgets jumps; which ramps have one good group is settled before.
        planes = None if void is None else void[int(suppress)]
        sci, flags = trimmed(sci, without_one_group_ramps(flags) if suppress else flags, planes)
        suppress = False
    # The header's times are single precision to the JWST calibration pipeline.
    seconds, frame = float(np.float32(group_time)), float(np.float32(frame_time))
    table, starts = weight_table(sci.shape[1])
    model = Model(seconds, (nframes + 1) * frame / 2, frame, suppress, rescue, table, starts)
    noise = group_noise(*read_only(gain, readnoise), nframes)
    first_frames = np.empty((0, 0, 0), np.float32) if zeroframe is None else zeroframe
    known = np.empty((0, 0, 0)) if medians is None or groups is not None else medians
    ramps = Ramps(*read_only(sci, flags, first_frames, usable_windows(flags), known))
    return Setup(ramps, model, noise)


@kernel
def group_noise(gain: np.ndarray, readnoise: np.ndarray, nframes: int) -> np.ndarray:
    """Noise of a group (y, x), in electrons, from the noise of a pair of frames (y, x), in DN."""
    noise, scale = np.empty_like(readnoise), np.sqrt(2.0 * nframes)
    for y in range(noise.shape[0]):
        for x in range(noise.shape[1]):
            noise[y, x] = readnoise[y, x] * (gain[y, x] / scale)
    return noise


def fit_exposure(*arrays: Any, times: Times = (), **rules: Any) -> Result:
    """Fit ramps by likelihood where there are ``times`` of reads, else by least squares; see `fit_ramps`."""
    ramps, medians, planes = arrays[:5], arrays[5], arrays[6:]
    if not times:
        return fit_ramps(*ramps, *planes, medians=medians, **rules)
    sci, groupdq, *others = ramps
    groups = rules["groups"]
    flags = groupdq if groups is None else only_groups(groupdq, *groups)
    rate, ints = fit_likely(sci, flags, *others, *planes[:2], times=times)
    return (*rate[:5], *ints[:5])


def _even_cadence(groups: int, group_time: float, frame_time: float, nframes: int) -> Cadence:
    frames = frame_time * np.arange(1, nframes + 1)
    return cadence([group * group_time + frames for group in range(groups)])


def _empty(shape: tuple[int, ...]) -> tuple[Fit, np.ndarray]:
    return Fit(*(np.empty(shape, np.float32) for _ in Fit._fields)), np.empty(shape, np.uint32)


def trimmed(
    sci: np.ndarray, groupdq: np.ndarray, known: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Ramps without leading groups, and without a last group, that are unusable in all pixels and integrations.

    ``known`` (i, g) says which groups are; else the rows at hand do. Jumps from a dropped group are forgotten. Of
    fewer than two groups nothing is usable.
    """
    planes = whole_planes(*read_only(groupdq), DO_NOT_USE) if known is None else known
    void: np.ndarray = np.all(planes, axis=0)
    start = int(np.argmin(void)) if not void.all() else void.size
    stop = void.size - int(void[-1])
    if stop - start < 2:
        return sci, groupdq | DO_NOT_USE
    if start == 0 and stop == void.size:
        return sci, groupdq
    flags = np.ascontiguousarray(groupdq[:, start:stop])
    if start > 0:
        flags[:, 0] &= ~JUMP
    return np.ascontiguousarray(sci[:, start:stop]), flags


def kernel_keywords(header: Header, params: RampFitParams) -> dict[str, Any]:
    """The keyword arguments of `fit_exposure`."""
    groups = int(header["NGROUPS"])
    times = read_times(header, params)
    if times:
        return {"times": times, "groups": _selected(params, groups)}
    return {
        "group_time": float(header["TGROUP"]),
        "frame_time": float(header["TFRAME"]),
        "nframes": int(header["NFRAMES"]),
        "suppress_one_group": params.suppress_one_group,
        "groups": _selected(params, groups),
        "trim": header["INSTRUME"] == "MIRI" and groups > 1,
        "covariance": params.uncertainty == "covariance",
    }


def read_times(header: Header, params: RampFitParams) -> Times:
    """Times of the reads of each group for the likelihood fit; none where least squares are to be used."""
    groups = int(header["NGROUPS"])
    if groups < LIKELIHOOD_GROUPS or (params.algorithm != "LIKELY" and not header.read_times):
        return ()
    if header.read_times:
        return header.read_times
    frames = int(header["NFRAMES"]), int(header.get("GROUPGAP") or 0)
    even = even_times(groups, *frames, float(header["TFRAME"]))
    return tuple(tuple(group.tolist()) for group in even)


def survey_of(references: References, header: Header, params: RampFitParams) -> Survey | None:
    """What least squares must know of the whole exposure: the groups that no pixel can use."""
    groups = int(header["NGROUPS"])
    if groups == 1 or read_times(header, params):
        return None
    return void_groups(header, _selected(params, groups))


def _carries(header: Header, params: RampFitParams) -> tuple[str, ...]:
    """The zero frame, where no ramp can fall back on it."""
    least_squares = not read_times(header, params)
    idle = least_squares and params.suppress_one_group and int(header["NGROUPS"]) > 1
    return ("zeroframe",) if idle else ()


def _further(params: RampFitParams) -> Further | None:
    if not params.save_opt:
        return None
    from jwpipe.stage1.optional_fits import further_products

    return partial(further_products, params=params)


def _selected(params: RampFitParams, ngroups: int) -> tuple[int, int] | None:
    """First and last group to use; ``None``: all, also where the selection makes no sense."""
    first = max(params.firstgroup or 0, 0)
    last = ngroups - 1 if params.lastgroup is None else min(params.lastgroup, ngroups - 1)
    if first >= last:
        warnings.warn(
            f"ramp_fit: firstgroup {first} and lastgroup {last} leave nothing of {ngroups} groups: all are fitted",
            stacklevel=2,
        )
        return None
    return None if (first, last) == (0, ngroups - 1) else (first, last)


ramp_fit = Step(
    "ramp_fit",
    fit_exposure,
    reads=("sci", "groupdq", "pixeldq", "zeroframe?", "avdrkcur?", "median_step?"),
    writes=tuple(
        f"{product}.{name}"
        for product in ("rate", "rateints")
        for name in ("sci", "err", "dq", "var_poisson", "var_rnoise")
    ),
    refs=("gain.sci", "readnoise.sci"),
    params=RampFitParams,
    keywords=kernel_keywords,
    survey=survey_of,
    carries=_carries,
    further=_further,
)
