"""Flag groups in which the afterglow of a bright source may still be seen.

From its first saturated group on, and where wanted from its first group above a threshold, a pixel stays suspect for a
given time: through the integration, the integrations after it, and the exposures after that. The state, the time at
which each pixel is clean again, is handed from integration to integration and from segment to segment; a file carries
it from one exposure to the next. All integrations are therefore looked at in order, each block of rows by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from operator import getitem
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from dask.base import tokenize
from dask.highlevelgraph import HighLevelGraph
from pydantic import Field

from jwpipe.dq import Group
from jwpipe.exposure import Header, header
from jwpipe.io.persistence_file import STATE_PRODUCT, Windows, read_windows
from jwpipe.numerics.jit import kernel
from jwpipe.numerics.views import read_only
from jwpipe.refs import References
from jwpipe.step import ExposureStep, Params

SATURATED = np.uint8(Group.SATURATED)
PERSISTENCE = np.uint8(Group.PERSISTENCE)
UNUSABLE = np.uint8(Group.PERSISTENCE | Group.DO_NOT_USE)
UNIX_EPOCH = 40587.0
"""1 January 1970 as a modified Julian date."""
SECONDS_PER_DAY = 86400.0
Job = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
STATE = "persistence"
"""The variable with the times at which the pixels are clean again, after the exposure at hand."""


class PersistenceParams(Params):
    """Parameters of the persistence step."""

    skip: bool = Field(True, description="leave the step out")
    persistence_time: int | None = Field(
        None, description="seconds for which a pixel stays suspect; without it the step is left out"
    )
    dn_threshold: float | None = Field(
        None, description="counts (DN) above which a pixel is suspect as well, saturated or not"
    )
    persistence_dnu: bool = Field(
        False, description="flag DO_NOT_USE as well: leave suspect groups out of the fit"
    )
    persistence_array_file: str | None = Field(
        None,
        description="ASDF file with the state that earlier exposures left, by detector; one that is not there is no "
        "error: all pixels are clean then",
    )
    save_persistence: str | None = Field(
        None,
        description="ASDF file that the state is written to. Name the same file here and in persistence_array_file "
        "to carry the state through a run: its exposures are then taken in the order of time",
    )


def flag_persistence(
    sci: np.ndarray,
    groupdq: np.ndarray,
    until: np.ndarray,
    times: np.ndarray,
    *,
    seconds: float,
    threshold: float | None,
    unusable: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Flag the groups of suspect pixels.

    Parameters
    ----------
    sci
        Linear counts (i, g, y, x), DN; looked at where there is a ``threshold``.
    groupdq
        Flags (i, g, y, x).
    until
        When each pixel (y, x) is clean again, seconds since 1970, float64; 0 for clean pixels. A time further ahead
        than ``seconds`` cannot be true, and counts as 0.
    times
        End of each group (i, g), seconds since 1970.
    seconds
        How long a pixel stays suspect.
    threshold
        DN above which a clean pixel becomes suspect; ``None``: only saturation counts.
    unusable
        Flag DO_NOT_USE as well.

    Returns
    -------
    groupdq, until
        With PERSISTENCE added, and the state after the last group.
    """
    flag = UNUSABLE if unusable else PERSISTENCE
    limit = np.float32(np.inf if threshold is None else threshold)
    arrays = read_only(sci, groupdq, until, times)
    flags, state = _flag(*arrays, float(seconds), limit, flag)
    return flags, state


@kernel
def _flag(
    sci: np.ndarray,
    groupdq: np.ndarray,
    until: np.ndarray,
    times: np.ndarray,
    seconds: float,
    threshold: np.float32,
    flag: np.uint8,
) -> tuple[np.ndarray, np.ndarray]:
    integrations, groups, rows, columns = groupdq.shape
    flags, state = np.empty_like(groupdq), until.copy()
    count = np.empty(columns, np.uint16)
    for i in range(integrations):
        for y in range(rows):
            count[:] = 0
            row = state[y]
            for g in range(groups):
                values, given, result = sci[i, g, y], groupdq[i, g, y], flags[i, g, y]
                now = times[i, g]
                end = now + seconds
                for x in range(columns):
                    count[x] += np.uint16((given[x] & SATURATED) != 0)
                    ahead = 0.0 if row[x] < now else row[x]
                    # Up to the second saturated group, each group opens the window anew.
                    ahead = end if count[x] == 1 else ahead
                    ahead = end if (values[x] > threshold) & (ahead <= 0.0) else ahead
                    ahead = 0.0 if ahead > end else ahead
                    row[x] = ahead
                    result[x] = given[x] | (flag if ahead > 0.0 else np.uint8(0))
    return flags, state


def group_times(
    keywords: Header, tables: Mapping[str, np.ndarray], integrations: int, groups: int
) -> np.ndarray:
    """End of each group (i, g), seconds since 1970.

    Integrations start as the table INT_TIMES says, those that it does not list one after another from EXPSTART.
    """
    table = tables.get("INT_TIMES")
    known = [] if table is None else [float(row["int_start_MJD_UTC"]) for row in table]
    length = float(keywords["TGROUP"])
    times = np.empty((integrations, groups))
    for i in range(integrations):
        if i < len(known):
            now = _seconds(known[i])
        else:
            now = _seconds(float(keywords["EXPSTART"])) + i * float(keywords["EFFINTTM"])
        for g in range(groups):
            now = now + length
            times[i, g] = now
    return times


def _seconds(mjd: float) -> float:
    return (mjd - UNIX_EPOCH) * SECONDS_PER_DAY


def apply_persistence(
    exposure: xr.Dataset, references: References, params: PersistenceParams
) -> xr.Dataset:
    """The lazy exposure with the flags, and with the state that it leaves as its variable ``persistence`` (y, x).

    That of a segment before, if the exposure carries one, goes before the one in the file.
    """
    keywords = header(exposure)
    assert params.persistence_time is not None, "the step runs with a time only"
    sci = exposure["sci"]
    groupdq = exposure["groupdq"] if "groupdq" in exposure else xr.zeros_like(sci, np.uint8)
    times = group_times(keywords, exposure.attrs.get("tables", {}), *sci.shape[:2])
    seconds, start = float(params.persistence_time), float(times[0, 0])
    windows = Windows.of(keywords, sci.shape[2:], seconds, start)
    before = exposure.get(STATE)
    if before is None and params.persistence_array_file is not None:
        windows = read_windows(params.persistence_array_file, windows)
    job = partial(
        flag_persistence,
        seconds=windows.seconds,
        threshold=params.dn_threshold,
        unusable=params.persistence_dnu,
    )
    pixels = da.asarray(sci.data).astype(np.float32), da.asarray(groupdq.data).astype(np.uint8)
    known = None if before is None else da.asarray(before.data)
    flags, state = _by_blocks(job, *pixels, times, windows, known)
    start = windows.start if before is None else before.attrs["start"]
    attrs = {"file": params.save_persistence, "seconds": windows.seconds, "start": start}
    return exposure.assign(
        {
            "groupdq": xr.DataArray(flags, dims=sci.dims, attrs={"units": ""}),
            STATE: xr.DataArray(state, dims=sci.dims[2:], attrs=attrs),
        }
    )


def state_of(exposure: xr.Dataset) -> xr.Dataset | None:
    """The state that an exposure leaves and wants saved, as a product of its own."""
    state = exposure.get(STATE)
    if state is None or state.attrs["file"] is None:
        return None
    own = {"product": STATE_PRODUCT, "file": str(Path(state.attrs["file"]).with_suffix(".asdf"))}
    shared = {k: v for k, v in exposure.attrs.items() if k in ("primary", "filename")}
    return xr.Dataset({"sci": state}, attrs=shared | own)


def _by_blocks(
    job: Job,
    sci: da.Array,
    groupdq: da.Array,
    times: np.ndarray,
    windows: Windows,
    known: da.Array | None = None,
) -> tuple[da.Array, da.Array]:
    """Flags and state as lazy arrays: for each block of rows a chain of tasks along the integrations."""
    chunks = (sci.chunks[0], sci.shape[1:2], sci.chunks[2], sci.shape[3:])
    sources = [sci.rechunk(chunks), groupdq.rechunk(chunks)]
    if known is not None:
        sources.append(known.rechunk(chunks[2:]))
    name = tokenize([each.name for each in sources], job, times, windows)
    work, flags, until = (f"{each}-{name}" for each in ("persistence", "flags", "until"))
    tasks: dict[Any, Any] = {}
    for y, rows in enumerate(_slices(chunks[2])):
        first = (windows.part(rows).plane,) if known is None else (_same, (sources[2].name, y, 0))
        tasks[work, "state", 0, y] = first
        for i, span in enumerate(_slices(chunks[0])):
            pixels = ((each.name, i, 0, y, 0) for each in sources[:2])
            tasks[work, i, y] = (job, *pixels, (work, "state", i, y), times[span])
            tasks[work, "state", i + 1, y] = (getitem, (work, i, y), 1)
    blocks = [(i, y) for i in range(len(chunks[0])) for y in range(len(chunks[2]))]
    last = len(chunks[0])
    graph = HighLevelGraph.from_collections(work, tasks, sources)
    layers = dict(graph.layers) | {
        flags: {(flags, i, 0, y, 0): (getitem, (work, i, y), 0) for i, y in blocks},
        until: {(until, y, 0): (_same, (work, "state", last, y)) for y in range(len(chunks[2]))},
    }
    links = dict(graph.dependencies) | {flags: {work}, until: {work}}
    graph = HighLevelGraph(layers, links)
    return da.Array(graph, flags, chunks, np.uint8), da.Array(graph, until, chunks[2:], np.float64)


def _slices(sizes: tuple[int, ...]) -> list[slice]:
    stops = np.cumsum(sizes).tolist()
    return [slice(stop - size, stop) for stop, size in zip(stops, sizes, strict=True)]


def _same(value: np.ndarray) -> np.ndarray:
    return value


def _applies(keywords: Header, params: PersistenceParams) -> str:
    if params.persistence_time is None or params.persistence_time <= 0:
        return "persistence_time is not given: set the seconds for which pixels stay suspect"
    return ""


persistence = ExposureStep(
    "persistence", apply_persistence, params=PersistenceParams, applies=_applies
)
