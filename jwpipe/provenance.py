"""The history of a product, and the keywords that tell it.

``record`` is the only writer of ``attrs["history"]``: one plain dictionary a step, with its status, parameters and
reference files. The same facts stand in the headers under the names that JWST users know: ``S_*`` for the status of
a step, ``R_*`` for a reference file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr

from jwpipe import __version__
from jwpipe.refs import RefFile
from jwpipe.refs.content import sha256, stamp

STATUS_KEYWORDS = {
    "group_scale": "S_GRPSCL",
    "dq_init": "S_DQINIT",
    "emicorr": "S_MIREMI",
    "saturation": "S_SATURA",
    "ipc": "S_IPC",
    "superbias": "S_SUPERB",
    "refpix": "S_REFPIX",
    "firstframe": "S_FRSTFR",
    "lastframe": "S_LASTFR",
    "reset": "S_RESET",
    "linearity": "S_LINEAR",
    "rscd": "S_RSCD",
    "dark_current": "S_DARK",
    "charge_migration": "S_CHGMIG",
    "jump": "S_JUMP",
    "picture_frame": "S_PCTFRM",
    "clean_flicker_noise": "S_CLNFNS",
    "persistence": "S_PERSIS",
    "ramp_fit": "S_RAMP",
    "gain_scale": "S_GANSCL",
    "guider_cds": "S_GUICDS",
    "bkg_subtract": "S_BKDSUB",
    "assign_wcs": "S_WCS",
    "flat_field": "S_FLAT",
    "photom": "S_PHOTOM",
    "assign_mtwcs": "S_MTWCS",
    "tweakreg": "S_TWKREG",
    "skymatch": "S_SKYMAT",
    "outlier_detection": "S_OUTLIR",
    "resample": "S_RESAMP",
    "source_catalog": "S_SRCCAT",
}

REFERENCE_KEYWORDS = {
    "mask": "R_MASK",
    "emicorr": "R_MIREMI",
    "saturation": "R_SATURA",
    "ipc": "R_IPC",
    "superbias": "R_SUPERB",
    "refpix": "R_REFPIX",
    "sirskernel": "R_SIRSKL",
    "reset": "R_RESET",
    "linearity": "R_LINEAR",
    "rscd": "R_RSCD",
    "dark": "R_DARK",
    "gain": "R_GAIN",
    "readnoise": "R_READNO",
    "bkg": "R_BKG",
    "flat": "R_FLAT",
    "photom": "R_PHOTOM",
    "area": "R_AREA",
    "distortion": "R_DISTOR",
    "filteroffset": "R_FILOFF",
    "apcorr": "R_APCORR",
    "abvegaoffset": "R_ABVEGA",
}

COMPLETE = "COMPLETE"
SKIPPED = "SKIPPED"
FAILED = "FAILED"


def record(
    exposure: xr.Dataset,
    step: str,
    status: str,
    *,
    reason: str = "",
    parameters: Mapping[str, Any] | None = None,
    references: Mapping[str, RefFile | None] | None = None,
    sources: Mapping[str, str] | None = None,
) -> xr.Dataset:
    """``exposure`` with one more line of history, and the keywords that say the same."""
    files = {kind: file for kind, file in (references or {}).items() if file is not None}
    names = {kind: _name(file, sources or {}) for kind, file in files.items()}
    entry = {
        "step": step,
        "status": status,
        "reason": reason,
        "parameters": plain(parameters or {}),
        "references": {kind: {"name": names[kind], "path": files[kind].path} for kind in files},
    }
    keywords: dict[str, Any] = {"CAL_VER": f"jwpipe {__version__}"}
    if step in STATUS_KEYWORDS:
        keywords[STATUS_KEYWORDS[step]] = status
    for kind in references or {}:
        if kind in REFERENCE_KEYWORDS:
            keywords[REFERENCE_KEYWORDS[kind]] = names.get(kind, "N/A")
    contexts = {s.removeprefix("crds ") for s in (sources or {}).values() if s.startswith("crds ")}
    if contexts:
        keywords["CRDS_CTX"] = contexts.pop()
    return exposure.assign_attrs(
        history=[*exposure.attrs.get("history", ()), entry],
        primary={**exposure.attrs.get("primary", {}), **keywords},
    )


def _name(file: RefFile, sources: Mapping[str, str]) -> str:
    """A reference's name as the keywords have it: ``crds://`` marks those that CRDS chose."""
    chosen = sources.get(file.type, "").startswith("crds")
    return f"crds://{file.name}" if chosen else file.name


def sealed(exposure: xr.Dataset) -> xr.Dataset:
    """``exposure`` as it is written: each reference in its history with the SHA-256 of its file."""
    history = [_with_checksums(entry) for entry in exposure.attrs.get("history", ())]
    return exposure.assign_attrs(history=history)


def _with_checksums(entry: Mapping[str, Any]) -> dict[str, Any]:
    references = {
        kind: {**reference, "sha256": reference.get("sha256") or sha256(stamp(reference["path"]))}
        for kind, reference in entry.get("references", {}).items()
    }
    return {**entry, "references": references}


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as data that JSON can hold; functions and Datasets by their name."""
    return {name: _plain_value(value) for name, value in values.items()}


def _plain_value(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain_value(item) for item in value]
    if value is None or isinstance(value, str | bool | int | float):
        return value
    return getattr(value, "__name__", type(value).__name__)
