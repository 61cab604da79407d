"""Remove electromagnetic interference from MIRI ramps: waves of known frequencies, locked to the readout.

Two algorithms. *joint* fits wave and straight ramps together (``emi_fit.py``) and needs a reference wave;
*sequential* finds the wave in what straight ramps leave (``emi_phase.py``) and can do without. Both need all pixels of
the exposure to find few numbers, which then give each pixel its correction.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import dask.array as da
import numpy as np
import xarray as xr
from dask import delayed
from pydantic import Field

from jwpipe.exposure import Header, header
from jwpipe.io.waves_file import WAVES_PRODUCT, Waves
from jwpipe.refs import References
from jwpipe.stage1.emi.fit import Fit, Wave, rounds_of_fits, subtracted
from jwpipe.stage1.emi.phase import (
    Search,
    bin_count,
    integrations_to_phase,
    measured,
    rounds_of_tables,
    subtracted_tables,
)
from jwpipe.stage1.emi.readout import FULL_ROWS, Readout
from jwpipe.step import Params, Step, Survey

READ_PATTERNS = ("FAST", "FASTR1", "SLOW", "SLOWR1")
FEWEST_GROUPS = 3
OUTPUTS = 4
FULL_COLUMNS = 1032
# Samples of a reference pixel, and the offset that the JWST calibration pipeline adds to them.
REFERENCE_DELAY = 3 + 2**32

CLOCKS = {
    "SLITLESSPRISM": (28, 15904),
    "MASKLYOT": (90, 32400),
    "SUB64": (28, 8512),
    "SUB128": (44, 11904),
    "MASK1140": (82, 23968),
    "MASK1550": (82, 23968),
    "MASK1065": (82, 23968),
    "FULL_FAST": (271, 277504),
    "FULL_SLOW": (2333, 2388992),
    "BRIGHTSKY": (162, 86528),
    "SUB256": (96, 29952),
}
"""Clocks of 10 microseconds from a row to the next, and of a frame that only resets, by subarray."""


class EmiCorrParams(Params):
    """Parameters of the emicorr step."""

    algorithm: Literal["sequential", "joint"] = Field(
        "joint",
        description="joint: fit waves and ramps together; sequential: look for waves in what straight "
        "ramps leave, for ten groups and more",
    )
    nints_to_phase: int | None = Field(
        None, ge=1, description="integrations in which a wave is looked for (sequential)"
    )
    nbins: int | None = Field(
        None,
        ge=1,
        description="bins of phase, 500 at most; default: one for two clocks (sequential)",
    )
    scale_reference: bool = Field(
        True, description="give the reference wave the amplitude found (sequential)"
    )
    onthefly_corr_freq: tuple[float, ...] | None = Field(
        None,
        description="frequencies in Hz to correct without a reference; makes the algorithm sequential",
    )
    use_n_cycles: int | None = Field(
        3,
        ge=1,
        description="cycles in which a wave is looked for; None: in all integrations (sequential)",
    )
    fit_ints_separately: bool = Field(
        False, description="fit each integration by itself, not all together (joint)"
    )
    user_supplied_reffile: str | None = Field(
        None, description="reference file; the same as an override of emicorr"
    )
    save_intermediate_results: bool = Field(
        False,
        description="write the waves found for onthefly_corr_freq as a reference file (_emi_ref_waves.asdf)",
    )
    skip: bool = Field(True, description="leave the step out")


def subtract_waves(
    sci: np.ndarray, clock: np.ndarray, found: Any, *, first: int = 0
) -> tuple[np.ndarray]:
    """Subtract the waves found.

    Parameters
    ----------
    sci
        Counts (i, g, y, x), DN.
    clock
        Clocks (y, x) since the frame began.
    found
        Waves of the survey: ``emi_fit.Fit`` or ``emi_phase.Table``.
    first
        Place of the first integration at hand among those of the exposure, counted from 0.
    """
    joint = not found or isinstance(found[0], Fit)
    return ((subtracted if joint else subtracted_tables)(found, sci, clock, first),)


def _case(references: References, header: Header) -> Any:
    """The reference's entry for the exposure's subarray, or ``None``."""
    file = references["emicorr"]
    speed = _speed(header)
    name = str(header["SUBARRAY"])
    if "FULL" in name:
        name = f"{name}_{speed}"
    return None if file is None else file.tree().get("subarray_cases", {}).get(name)


def _speed(header: Header) -> str:
    return "SLOW" if "SLOW" in str(header["READPATT"]).upper() else "FAST"


def waves_of(references: References, header: Header, params: EmiCorrParams) -> tuple[Wave, ...]:
    """The waves to correct: those of the reference for this readout, or frequencies without samples."""
    if params.onthefly_corr_freq is not None:
        return tuple(Wave(each, np.zeros(0)) for each in params.onthefly_corr_freq)
    case, file = _case(references, header), references["emicorr"]
    if case is None or file is None:
        return ()
    names = case.get("freqs", {}).get(_speed(header), [])
    if _speed(header) == "SLOW":
        names = names.get(header["DETECTOR"], []) if names else []
    known = file.tree()["frequencies"]
    return tuple(
        Wave(
            float(known[name]["frequency"]),
            np.array(known[name]["phase_amplitudes"], np.float64),
        )
        for name in names
    )


def _clocks(
    references: References, header: Header, params: EmiCorrParams
) -> tuple[int, int] | None:
    """Clocks of a row and of a reset frame, from the reference or the table above."""
    if params.onthefly_corr_freq is None:
        case = _case(references, header)
        return None if case is None else (int(case["rowclocks"]), int(case["frameclocks"]))
    name = str(header["SUBARRAY"])
    return CLOCKS.get(f"FULL_{_speed(header)}" if name == "FULL" else name)


def readout_of(references: References, header: Header, params: EmiCorrParams) -> Readout:
    """How the exposure was read out."""
    clocks = _clocks(references, header, params)
    assert clocks is not None, "the step runs with known clocks only"
    columns, start = int(header["SUBSIZE1"]), int(header["SUBSTRT1"])
    # Only then are there reference pixels at the right end.
    reaches = int(columns / OUTPUTS + start - 1) == FULL_COLUMNS // OUTPUTS
    # NINTS counts the integrations of all segments.
    last = header.get("INTEND") or header["NINTS"]
    return Readout(
        integrations=int(last) - int(header.get("INTSTART") or 1) + 1,
        groups=int(header["NGROUPS"]),
        rows=int(header["SUBSIZE2"]),
        columns=columns,
        samples=int(header["NSAMPLES"]),
        row=clocks[0],
        reset=clocks[1],
        resets=str(header["READPATT"]).upper().endswith("R1"),
        delay=REFERENCE_DELAY if reaches else 0,
    )


def _is_joint(params: EmiCorrParams) -> bool:
    return params.algorithm == "joint" and params.onthefly_corr_freq is None


def _search(params: EmiCorrParams) -> Search:
    return Search(params.nints_to_phase, params.use_n_cycles, params.nbins, params.scale_reference)


def _survey(references: References, header: Header, params: EmiCorrParams) -> Survey:
    readout = readout_of(references, header, params)
    waves = waves_of(references, header, params)
    if _is_joint(params):
        rounds = rounds_of_fits(readout, waves, params.fit_ints_separately)
    else:
        rounds = rounds_of_tables(readout, waves, _search(params))
    return Survey(("sci", "pixeldq"), rounds, _prepare(references, header, params))


def _prepare(references: References, header: Header, params: EmiCorrParams) -> tuple[Any, ...]:
    readout = readout_of(references, header, params)
    return (readout.clocks(delayed=not _is_joint(params)),)


def _further(params: EmiCorrParams) -> Callable[..., dict[str, xr.Dataset]] | None:
    wanted = params.save_intermediate_results and params.onthefly_corr_freq is not None
    return partial(_waves_found, params) if wanted else None


def _waves_found(
    params: EmiCorrParams, exposure: xr.Dataset, references: References
) -> dict[str, xr.Dataset]:
    """The waves found on the fly, as a reference file for exposures read out alike."""
    keywords = header(exposure)
    readout, search = readout_of(references, keywords, params), _search(params)
    waves = waves_of(references, keywords, params)
    first = slice(integrations_to_phase(readout, waves[0], search))
    ramps = da.asarray(exposure["sci"].data)[first].astype(np.float32)
    shape = len(waves), max(bin_count(wave, search) for wave in waves)
    found = delayed(measured)(ramps, readout, waves, search)
    case = str(keywords["SUBARRAY"])
    names = [repr(wave.frequency) for wave in waves]
    speed = _speed(keywords)
    waves_file = Waves(
        tuple(wave.frequency for wave in waves),
        tuple(bin_count(wave, search) for wave in waves),
        f"FULL_{speed}" if case == "FULL" else case,
        readout.row,
        readout.reset,
        {speed: names if speed == "FAST" else {str(keywords["DETECTOR"]): names}},
    )
    values = da.from_delayed(found, shape, np.float64)
    attrs = {**exposure.attrs, "product": WAVES_PRODUCT, "waves": waves_file}
    return {WAVES_PRODUCT: xr.Dataset({"sci": (("wave", "bin"), values)}, attrs=attrs)}


def _applies(header: Header, params: EmiCorrParams) -> str:
    if header["INSTRUME"] != "MIRI":
        return "only MIRI suffers from this interference"
    if str(header["READPATT"]).upper() not in READ_PATTERNS:
        return f"READPATT {header['READPATT']} is none of {', '.join(READ_PATTERNS)}"
    groups = int(header["NGROUPS"])
    if groups < FEWEST_GROUPS:
        return f"{groups} groups are too few to tell waves from ramps"
    if int(header["SUBSIZE1"]) % OUTPUTS or int(header["SUBSIZE2"]) > FULL_ROWS:
        return "the subarray does not fit the readout of four outputs"
    return ""


def _unsuitable(references: References, header: Header, params: EmiCorrParams) -> str:
    if params.onthefly_corr_freq is None and references["emicorr"] is None:
        return "reference emicorr is N/A"
    if _clocks(references, header, params) is None or not waves_of(references, header, params):
        return f"no correction is known for SUBARRAY {header['SUBARRAY']}, READPATT {header['READPATT']}"
    return ""


def _supplied(params: EmiCorrParams) -> dict[str, str]:
    if params.onthefly_corr_freq is not None:
        return {"emicorr": "N/A"}
    return {"emicorr": params.user_supplied_reffile} if params.user_supplied_reffile else {}


emicorr = Step(
    "emicorr",
    subtract_waves,
    reads=("sci",),
    writes=("sci",),
    refs=("emicorr.tree?",),
    params=EmiCorrParams,
    applies=_applies,
    unsuitable=_unsuitable,
    supplied=_supplied,
    prepare=_prepare,
    survey=_survey,
    apart=True,
    numbered=True,
    further=_further,
)
