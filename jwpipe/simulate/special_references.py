"""Reference files that only MIRI or the IRS2 readout of NIRSpec have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from jwpipe.dq import Pixel
from jwpipe.simulate import fitsfile
from jwpipe.simulate.detectors import MIRI_LINE_CLOCKS, MIRI_SKIPPED_LINE
from jwpipe.simulate.electronics import RESET_ANOMALY_GROUPS, reset_transient
from jwpipe.simulate.irs2 import BAD_READS, filters
from jwpipe.simulate.pixels import Pixels
from jwpipe.simulate.reference_kit import Kit
from jwpipe.simulate.shared_references import reference_meta

_DECAYED = (1, 3)
_PHASES = 500


def miri_references(kit: Kit, read: Pixels) -> dict[str, Path]:
    """Dark, reset, rscd and emicorr of a MIRI camera that reads the pixels ``read``; paths by type."""
    return {
        "dark": _dark(kit, read),
        "reset": _reset(kit, read),
        "rscd": _rscd(kit),
        "emicorr": _emicorr(kit),
    }


def _cube_words(kit: Kit, kind: str, model: str, groups: int) -> dict[str, Any]:
    """The primary header of a file for the exposure's own subarray and pattern, of two integrations."""
    timing, region = kit.camera.timing, kit.camera.region
    pattern = {"READPATT": timing.pattern, "NINTS": 2, "NGROUPS": groups}
    return kit.keywords(kind, model, pattern, kit.place(region) | {"SUBARRAY": region.name})


def _dark(kit: Kit, read: Pixels) -> Path:
    """The dark current of the first integration and of all later ones, group by group."""
    timing, knobs, region = kit.camera.timing, kit.camera.instrument, kit.camera.region
    words = _cube_words(kit, "dark", kit.dark_model, timing.ngroups)
    average = float((read.dark * read.gain)[read.sensitive].mean())
    words |= {"EXP_TYPE": kit.dark_type, "NFRAMES": 1, "GROUPGAP": 0, "AVDRKCUR": average}
    words |= {"TFRAME": timing.frame_time, "TGROUP": timing.frame_time}
    hot = np.broadcast_to(read.dq & np.uint32(Pixel.HOT | Pixel.WARM), (2, 1, *read.dq.shape))
    marks = fitsfile.flags(np.ascontiguousarray(hot), ("DO_NOT_USE", "HOT", "WARM"))
    planes = (
        read.dark * np.float32((group + 1) * timing.frame_time * growth)
        for growth in (1.0, 1.0 + knobs.dark_growth)
        for group in range(timing.ngroups)
    )
    shape = (2, timing.ngroups, region.ny, region.nx)
    head = fitsfile.primary(words)
    return fitsfile.write_cube(kit.path("dark"), head, "SCI", planes, shape, marks)


def _reset(kit: Kit, read: Pixels) -> Path:
    """What the reset leaves in the first groups of the first and of all later integrations."""
    groups = min(RESET_ANOMALY_GROUPS, kit.camera.timing.ngroups)
    levels = [
        [reset_transient(kit.camera, read, integration, group) for group in range(groups)]
        for integration in (0, 1)
    ]
    transient = np.array(levels, np.float32)
    none = np.zeros(read.dq.shape, np.uint32)
    marks, meaning = fitsfile.flags(none, ("DO_NOT_USE",))
    error = fitsfile.image("ERR", np.full(transient.shape, 0.1, np.float32))
    parts = [fitsfile.image("SCI", transient), marks, error, meaning]
    head = fitsfile.primary(_cube_words(kit, "reset", "ResetModel", groups))
    return fitsfile.write(kit.path("reset"), [head, *parts])


def _rscd(kit: Kit) -> Path:
    """How many groups to leave out in the first and in later integrations."""
    columns = [
        ("subarray", "S17"),
        ("readpatt", "S12"),
        ("group_skip1", "i4"),
        ("group_skip", "i4"),
    ]
    rows = [(name, pattern, *_DECAYED) for name in _names() for pattern in ("FASTR1", "SLOWR1")]
    head = fitsfile.primary(kit.keywords("rscd", "RSCDModel"))
    table = fitsfile.table("RSCD_GROUP_SKIP", np.array(rows, columns))
    return fitsfile.write(kit.path("rscd"), [head, table])


def _names() -> list[str]:
    return [name for name in MIRI_LINE_CLOCKS if name != "FULL_SLOW"]


def _emicorr(kit: Kit) -> Path:
    """The wave of the simulated interference, for all subarrays."""
    path = kit.path("emicorr", "asdf")
    name = "Hz10" if kit.camera.instrument.emi_hz < 100 else f"Hz{kit.camera.instrument.emi_hz:.0f}"
    phase = (np.arange(_PHASES) + 0.5) / _PHASES
    every = {
        "FAST": [name],
        "SLOW": {"MIRIMAGE": [name], "MIRIFUSHORT": [name], "MIRIFULONG": [name]},
    }
    cases = {
        label: _clocks(label) | {"freqs": every}
        for label in (*_names()[1:], "FULL_FAST", "FULL_SLOW")
    }
    wave = {
        "frequency": kit.camera.instrument.emi_hz,
        "phase_amplitudes": np.sin(2 * np.pi * phase),
    }
    meta = reference_meta(path, "emicorr", "EmiModel", "MIRI", kit.optics.filter.exp_type)
    meta["instrument"]["detector"] = kit.optics.detector.name
    tree = {"meta": meta, "frequencies": {name: wave}, "subarray_cases": cases}
    return fitsfile.write_asdf(path, tree)


def _clocks(label: str) -> dict[str, int]:
    """Clocks from a row to the next, and of a frame."""
    line = MIRI_LINE_CLOCKS["FULL" if label == "FULL_FAST" else label]
    rows = _ROWS.get(label, 1024)
    return {"rowclocks": line, "frameclocks": line * rows + (1024 - rows) * MIRI_SKIPPED_LINE}


_ROWS = {
    "BRIGHTSKY": 512, "SUB256": 256, "SUB128": 128, "SUB64": 64, "SLITLESSPRISM": 416,
    "MASK1065": 224, "MASK1140": 224, "MASK1550": 224, "MASKLYOT": 304,
}  # fmt: skip


def irs2_filters(kit: Kit) -> Path:
    """The filters of the reference output and the interleaved pixels, and the broken pair of these."""
    alpha, beta = filters(kit.camera)
    columns = [f"{letter}_{output}" for letter in ("alpha", "beta") for output in range(4)]
    rows = np.empty(2 * alpha.size, [(column, ">f4") for column in columns])
    for column in columns:
        rows[column] = (alpha if column.startswith("alpha") else beta).view(np.float32)
    pairs = [(output, parity, 0) for output in range(1, 5) for parity in (1, 2)]
    bad = np.array(pairs, [("OUTPUT", "u2"), ("ODD_EVEN", "u2"), ("MASK", "u4")])
    output, parity, place = BAD_READS
    bad["MASK"][(bad["OUTPUT"] == output) & (bad["ODD_EVEN"] == parity)] = 1 << place
    words = kit.keywords("refpix", "IRS2Model", {"READPATT": kit.camera.timing.pattern})
    tables = [fitsfile.table("IRS2", rows), fitsfile.table("DQ", bad)]
    return fitsfile.write(kit.path("refpix"), [fitsfile.primary(words), *tables])
