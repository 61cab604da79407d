"""Subtract the dark current that gathered up to each group.

The reference holds single frames. They are averaged and spaced as the exposure's groups are, once
for a detector and read pattern. MIRI's dark differs from integration to integration: its reference
holds the first few, the last of which stands for all that follow.
"""

from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from jwpipe.exposure import ExposureError, Header
from jwpipe.numerics.jit import kernel
from jwpipe.refs import RefArray, References, RefFile
from jwpipe.step import PEER, Params, Step

BLOCK = 256


class DarkCurrentParams(Params):
    """Parameters of the dark_current step."""

    dark_output: str | None = Field(
        None, description="file to write the dark to, averaged to the exposure's read pattern"
    )
    average_dark_current: float | None = Field(
        None, description="average dark current in electron/s; default: that of the reference"
    )
    average_of_pixels: bool = Field(
        True,
        description="the average dark current of each pixel counts, where the reference has it",
        json_schema_extra={PEER: False},
    )


def subtract_dark(
    sci: np.ndarray,
    pixeldq: np.ndarray,
    dark: np.ndarray,
    dark_dq: np.ndarray | None,
    average: float | np.ndarray = 0.0,
    *,
    first: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Subtract the dark of each group, and leave its average to ramp_fit, for the Poisson variance.

    Parameters
    ----------
    sci
        Counts (i, g, y, x), DN.
    pixeldq
        Flags (y, x).
    dark, dark_dq
        Dark counts (g, y, x) in the exposure's groups, DN, and flags (y, x); with one axis more in
        front (d, g, y, x) for each of the first integrations, the last for all that follow.
    average
        Average dark current, electron/s, of all pixels or each (y, x).
    first
        Place of the first integration at hand among those of the exposure, counted from 0.
    """
    flags = pixeldq if dark_dq is None else pixeldq | dark_dq
    corrected = _subtract(sci, dark if dark.ndim == 4 else dark[np.newaxis], first)
    everywhere = np.array(np.broadcast_to(average, pixeldq.shape), np.float32)
    return corrected, flags, everywhere


@kernel
def _subtract(sci: np.ndarray, dark: np.ndarray, first: int) -> np.ndarray:
    integrations, groups, rows, columns = sci.shape
    corrected = np.empty_like(sci)
    for i in range(integrations):
        level = dark[min(first + i, dark.shape[0] - 1)]
        for g in range(groups):
            for y in range(rows):
                for x in range(columns):
                    corrected[i, g, y, x] = sci[i, g, y, x] - level[g, y, x]
    return corrected


def dark_of_groups(references: References, header: Header) -> tuple[RefArray, RefArray | None]:
    """Give the dark in the exposure's groups, (g, y, x) or (integration, g, y, x), and its flags (y, x).

    Too short a dark is continued with the difference of its last two groups; NaN counts as zero. Of
    integrations that the exposure does not have, and of all but the last where it begins later than
    with its first, there is no dark.

    Raises
    ------
    ExposureError
        Where the dark cannot be averaged to the exposure's groups.
    """
    file = _file(references)
    frames = file.array("sci")
    if frames is None or frames.ndim not in (3, 4):
        found = "none" if frames is None else f"shape {frames.shape}"
        expected = "SCI (group, y, x) or (integration, group, y, x) expected"
        raise _refusal(header, file, f"{expected}, found {found}")
    ngroups, known = int(header["NGROUPS"]), frames.shape[-3]
    nframes, gap = _frames_and_gap(header, file)
    missing = ngroups * nframes + (ngroups - 1) * gap - known
    if missing > 0 and known < 2:
        raise _refusal(header, file, f"one group cannot be continued to {ngroups} groups")
    pattern = ngroups, nframes, nframes + gap, max(missing, 0)
    shape = (ngroups, *frames.shape[-2:])
    if frames.ndim == 3:
        return frames.map(average_frames, *pattern, shape=shape), file.array("dq")
    first, stop = _integrations(header, frames.shape[0])
    shape = (stop - first, *shape)
    dark = frames.map(average_integrations, first, stop, *pattern, shape=shape)
    return dark, _flags_of_all(file)


def _integrations(header: Header, known: int) -> tuple[int, int]:
    """Give the first of the ``known`` dark integrations that the exposure needs, and the one after the last."""
    if int(header.get("INTSTART") or 1) != 1:
        return known - 1, known
    return 0, min(known, int(header["NINTS"]))


def _flags_of_all(file: RefFile) -> RefArray | None:
    """Give the flags (y, x) that any integration of a dark (integration, 1, y, x) has."""
    flags = file.array("dq")
    if flags is None or flags.ndim == 2:
        return flags
    return flags.map(_any_flags, shape=flags.shape[-2:])


def _any_flags(flags: np.ndarray) -> np.ndarray:
    return np.bitwise_or.reduce(flags[:, 0], axis=0)


def _frames_and_gap(header: Header, file: RefFile) -> tuple[int, int]:
    """Give how many of the dark's groups make one of the exposure, and how many lie between."""
    wanted = int(header["NFRAMES"]), int(header["GROUPGAP"])
    found = _pattern(file)
    if found == wanted:
        return 1, 0
    if found != (1, 0):
        raise _refusal(
            header,
            file,
            f"single frames (NFRAMES 1, GROUPGAP 0) or groups as the exposure's {wanted} expected, "
            f"found NFRAMES {found[0]}, GROUPGAP {found[1]}",
        )
    return wanted


def _refusal(header: Header, file: RefFile, why: str) -> ExposureError:
    return ExposureError(
        f"{header.filename}: dark_current: {file.path}: {why}; give another dark reference"
    )


def average_frames(
    frames: np.ndarray, ngroups: int, nframes: int, spacing: int, missing: int
) -> np.ndarray:
    """Average ``frames`` (f, y, x) to groups (g, y, x): ``nframes`` each, every ``spacing`` frames.

    ``missing`` frames are first continued with the difference of the last two.
    """
    if missing:
        last, rise = frames[-1], frames[-1] - frames[-2]
        further = np.arange(1, missing + 1)[:, np.newaxis, np.newaxis] * rise + last
        frames = np.concatenate((frames, further))
    return _average(np.ascontiguousarray(frames), ngroups, nframes, spacing)


def average_integrations(frames: np.ndarray, first: int, stop: int, *pattern: int) -> np.ndarray:
    """Average the frames (integration, f, y, x) of some integrations as ``average_frames`` does."""
    return np.stack([average_frames(each, *pattern) for each in frames[first:stop]])


@kernel
def _average(frames: np.ndarray, ngroups: int, nframes: int, spacing: int) -> np.ndarray:
    _, rows, columns = frames.shape
    groups = np.empty((ngroups, rows, columns), np.float32)
    total = np.empty(columns, frames.dtype)
    for g in range(ngroups):
        for y in range(rows):
            total[:] = 0
            for f in range(g * spacing, g * spacing + nframes):
                for x in range(columns):
                    value = frames[f, y, x]
                    total[x] += value if value == value else 0
            for x in range(columns):
                groups[g, y, x] = total[x] / nframes
    return groups


def _unsuitable(references: References, header: Header, params: DarkCurrentParams) -> str:
    nframes, groupgap = _pattern(_file(references))
    if nframes > header["NFRAMES"] or groupgap > header["GROUPGAP"]:
        return (
            f"the dark's NFRAMES {nframes} or GROUPGAP {groupgap} is greater than the exposure's "
            f"{header['NFRAMES']} and {header['GROUPGAP']}"
        )
    return ""


def save_dark(references: References, header: Header, path: Path) -> None:
    """Write the dark in the exposure's groups as a reference file (``dark_output``)."""
    from astropy.io import fits

    dark, flags = dark_of_groups(references, header)
    pixels = np.empty(dark.shape, np.float32)
    for start in range(0, dark.shape[-2], BLOCK):
        rows = slice(start, start + BLOCK)
        pixels[..., rows, :] = dark.read(rows)
    primary = fits.PrimaryHDU(header=fits.getheader(_file(references).path))
    primary.header["FILENAME"] = path.name
    for keyword in ("NGROUPS", "NFRAMES", "GROUPGAP"):
        primary.header[keyword] = header[keyword]
    hdus = [primary, fits.ImageHDU(pixels, name="SCI")]
    if flags is not None:
        hdus.append(fits.ImageHDU(flags.read(), name="DQ"))
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.part")
    fits.HDUList(hdus).writeto(unfinished, overwrite=True)
    unfinished.replace(path)


def average_dark_current(references: References, params: DarkCurrentParams) -> float | RefArray:
    """Give the average dark current in electron/s: the user's, else that of the reference.

    The reference has one of each pixel (y, x) or, where it has none or zeros, a keyword. Without
    ``average_of_pixels`` the pixels count as zero: jwst 3.0.0 finds that their shape is not the exposure's.
    """
    if params.average_dark_current is not None:
        return params.average_dark_current
    file = references["dark"]
    if file is None:
        return 0.0
    pixels = file.array("avdrkcur")
    if pixels is not None and pixels.ndim == 2 and pixels.read().any():
        return pixels if params.average_of_pixels else 0.0
    return float(file.header.get("AVDRKCUR") or 0.0)


def _file(references: References) -> RefFile:
    file = references["dark"]
    assert file is not None, "the step runs with a dark reference only"
    return file


def _pattern(file: RefFile) -> tuple[int, int]:
    """Give NFRAMES and GROUPGAP of a dark."""
    return int(file.header.get("NFRAMES", 1)), int(file.header.get("GROUPGAP", 0))


def _prepare(references: References, header: Header, params: DarkCurrentParams) -> tuple[Any, ...]:
    return (*dark_of_groups(references, header), average_dark_current(references, params))


dark_current = Step(
    "dark_current",
    subtract_dark,
    reads=("sci", "pixeldq"),
    writes=("sci", "pixeldq", "avdrkcur"),
    refs=("dark.sci", "dark.dq"),
    params=DarkCurrentParams,
    unsuitable=_unsuitable,
    prepare=_prepare,
    apart=True,
    numbered=True,
)
