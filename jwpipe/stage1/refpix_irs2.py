"""Remove the readout noise of NIRSpec's IRS2 frames with their interleaved reference reads, and cut the frames.

The steps before work on the reads as they are, those after on frames of 2048 x 2048 pixels. What the reads of a group
say about its noise is found group by group (`jwpipe.engine.interleaved`); here it is taken off the pixels. See
`jwpipe.numerics.irs2` for the frame, `jwpipe.stage1.irs2.noise` for the method and `jwpipe.stage1.irs2.repair` for bad
reference pixels.

Rows of pixels of the detector are never replaced, whatever the mask flags in them; jwst 3.0.0 overwrites a row of
pixels if a single one of them has the flag BAD_REF_PIXEL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from jwpipe.dq import Pixel
from jwpipe.exposure import ExposureError, Header
from jwpipe.numerics.irs2 import SAMPLES, Interleaving
from jwpipe.numerics.jit import kernel
from jwpipe.numerics.levels import clipped_means
from jwpipe.refs import References, RefFile
from jwpipe.refs.cache import CACHE
from jwpipe.refs.content import ReferenceRefused, Stamp
from jwpipe.stage1.irs2.noise import EDGE, hermitian
from jwpipe.stage1.irs2.repair import odd_columns
from jwpipe.stage1.refpix import RefpixParams
from jwpipe.step import Step

UNUSABLE = np.uint32(Pixel.DO_NOT_USE)
NAMES = tuple(f"{name}_{output}" for name in ("alpha", "beta") for output in range(4))


def subtract_noise(
    sci: np.ndarray,
    noise: np.ndarray,
    intercept: np.ndarray,
    slope: np.ndarray,
    level: np.ndarray,
    line: np.ndarray,
) -> tuple[np.ndarray]:
    """Subtract what the reference reads say.

    Parameters
    ----------
    sci
        Counts (i, g, y, x), DN, of all groups.
    noise
        Noise (i, g, y, x), DN.
    intercept, slope
        Straight line in time (i, g, y): DN at the first line, and DN a line. It is not subtracted from pixels that
        equal their mean over the groups.
    level
        Mean levels (i, g, y), DN, subtracted first.
    line
        The number of the line that each column (x) is read in.
    """
    return (_subtract(sci, noise, intercept, slope, level, line),)


@kernel
def _subtract(
    sci: np.ndarray,
    noise: np.ndarray,
    intercept: np.ndarray,
    slope: np.ndarray,
    level: np.ndarray,
    line: np.ndarray,
) -> np.ndarray:
    integrations, groups, rows, columns = sci.shape
    corrected = np.empty_like(sci)
    mean = np.empty(columns)
    for i in range(integrations):
        for y in range(rows):
            mean[:] = 0
            for g in range(groups):
                for x in range(columns):
                    mean[x] += sci[i, g, y, x] - level[i, g, y]
            for x in range(columns):
                mean[x] /= groups
            for g in range(groups):
                start, rise = intercept[i, g, y], slope[i, g, y]
                for x in range(columns):
                    above = np.float32((sci[i, g, y, x] - level[i, g, y]) - mean[x])
                    drift = np.float32(start + line[x] * rise) if above != 0 else np.float32(0)
                    corrected[i, g, y, x] = ((above - drift) - noise[i, g, y, x]) + mean[x]
    return corrected


@dataclass(frozen=True)
class Correction:
    """How the noise of an exposure is found: its layout, kernels, the reference's table of bad reads, parameters."""

    layout: Interleaving
    kernels: Kernels
    table: tuple[tuple[int, int, int], ...]
    params: RefpixParams

    def levels(self, output: int, edges: np.ndarray, flags: np.ndarray) -> np.ndarray:
        """The mean level (y) of each row of an output: the clipped means of its reads in the edge lines.

        ``edges`` are the 640 reads (y, x) in the four columns at either end, DN, ``flags`` theirs; reads with
        DO_NOT_USE do not count. Zero where one parity has none.
        """
        rows = self.layout.rows(output)
        parity = odd_columns()[self.layout.row_of_column(rows)]
        if not self.params.odd_even_columns:
            parity = np.zeros_like(parity)
        usable = (flags & UNUSABLE) == 0
        level = np.zeros(rows.size, np.float32)
        for odd in np.unique(parity):
            ends = [edges[:, :EDGE], edges[:, EDGE:]]
            good = [usable[:, :EDGE], usable[:, EDGE:]]
            means = [
                clipped_means(
                    np.ascontiguousarray(end[use & (parity == odd)[:, np.newaxis]][None, None]),
                    self.params.siglimit,
                )
                for end, use in zip(ends, good, strict=True)
            ]
            known = [mean for mean in np.ravel(means) if np.isfinite(mean)]
            if not known:
                return np.zeros_like(level)
            level[parity == odd] = np.mean(known)
        return level


@dataclass(frozen=True)
class Kernels:
    """The kernels of a ``refpix`` reference, read once in a process."""

    file: Stamp

    def read(self) -> np.ndarray:
        """``alpha`` and ``beta`` (2, output, k2, k1), complex64, as ``shared_noise`` takes them."""
        return CACHE.get(self, None, lambda: _kernels(self.file.path))


def _kernels(path: str) -> np.ndarray:
    from astropy.io import fits

    with fits.open(path) as hdus:
        table = hdus["IRS2"].data
        whole = [_kernel(np.asarray(table[name], np.float32)) for name in NAMES]
    stacked = np.stack(whole)
    return stacked.reshape(2, 4, *stacked.shape[1:])


def _kernel(parts: np.ndarray) -> np.ndarray:
    """A kernel whose real and imaginary parts follow one another."""
    return hermitian(parts[::2] + 1j * parts[1::2])


def correction(file: RefFile, header: Header, params: RefpixParams) -> Correction:
    """How the noise of an exposure is found with a ``refpix`` reference.

    Raises
    ------
    ReferenceRefused
        For a reference whose kernels have another length.
    """
    from astropy.io import fits

    with fits.open(file.path) as hdus:
        rows = len(hdus["IRS2"].data) if "IRS2" in hdus else 0
        bad = hdus["DQ"].data if "DQ" in hdus else []
        table = tuple((int(r["OUTPUT"]), int(r["ODD_EVEN"]), int(r["MASK"])) for r in bad)
    if rows != 2 * SAMPLES:
        raise ReferenceRefused(
            f"{header.filename}: refpix: {file.path}: {rows} rows in table IRS2, {2 * SAMPLES} expected; "
            "give a refpix reference of this readout pattern"
        )
    return Correction(layout_of(header), Kernels(file.stamp), table, params)


def is_irs2(header: Header) -> bool:
    """Whether the frames were read with interleaved reference reads."""
    return header.get("INSTRUME") == "NIRSPEC" and "IRS2" in str(header.get("READPATT", ""))


def layout_of(header: Header) -> Interleaving:
    """The layout of an exposure's frames.

    Raises
    ------
    ExposureError
        For another detector, or other numbers of reads between the reference reads.
    """
    found = header.get("DETECTOR"), header.get("NRS_NORM", 16), header.get("NRS_REF", 4)
    if found[0] not in ("NRS1", "NRS2") or found[1:] != (16, 4):
        raise ExposureError(
            f"{header.filename}: DETECTOR {found[0]}, NRS_NORM {found[1]}, NRS_REF {found[2]} found, "
            "NRS1 or NRS2, 16 and 4 expected of interleaved frames; correct the header"
        )
    return Interleaving(turned=found[0] == "NRS2")


def _prepare(references: References, header: Header, params: RefpixParams) -> tuple[Any, ...]:
    """The reference is for the noise, which `jwpipe.engine.interleaved` finds."""
    return ()


refpix_irs2 = Step(
    "refpix",
    subtract_noise,
    reads=("sci",),
    writes=("sci",),
    refs=("refpix.irs2",),
    params=RefpixParams,
    prepare=_prepare,
    apart=True,
)
