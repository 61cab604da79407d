"""Remove the drifts of the readout electronics with the reference pixels at the detector's edges.

Near-infrared detectors carry four rows and columns of light-blind pixels on each side. In every
group of a frame read out in four outputs of 512 columns: the clipped means of the reference rows at
both ends of an output, odd and even columns apart; then for each row the running median of the
reference columns at both ends. Subarrays read out in one output have the clipped mean of all their
reference pixels. All of it needs the frame's edges alone: ``reference_levels`` reduces them to one
value for each column and row, which ``subtract_reference`` takes off. With ``refpix_algorithm = "sirs"`` full
frames have a value for each row and output instead of the running median (`jwpipe.stage1.refpix_sirs`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import Field

from jwpipe.dq import Pixel
from jwpipe.exposure import ExposureError, Header
from jwpipe.numerics.levels import clipped_means, running_medians, subtract_levels
from jwpipe.refs import References
from jwpipe.stage1.refpix_sirs import sirs_kernels, sirs_levels
from jwpipe.step import Border, Params, Step, carries_zeroframe

DETECTOR = 2048
WIDTH = 4
OUTPUT = 512
UNUSABLE = np.uint32(Pixel.DO_NOT_USE)
REFERENCE = np.uint32(Pixel.REFERENCE_PIXEL)
EDGELESS = ("SUB512", "SUB512S", "SUB32")

Sides = Mapping[str, Mapping[str, np.ndarray]]


class RefpixParams(Params):
    """Parameters of the refpix step."""

    odd_even_columns: bool = Field(
        True, description="take the levels of odd and even columns apart (near infrared)"
    )
    use_side_ref_pixels: bool = Field(
        True, description="correct each row with the reference columns at its ends"
    )
    side_smoothing_length: int = Field(
        11, ge=1, description="rows in the running median of the reference columns"
    )
    side_gain: float = Field(1.0, description="factor on the level of the reference columns")
    odd_even_rows: bool = Field(True, description="take odd and even rows apart (MIRI)")
    ovr_corr_mitigation_ftr: float = Field(
        3.0, description="rejection limit for bad reference pixels, in standard deviations (IRS2)"
    )
    preserve_irs2_refpix: bool = Field(
        False, description="keep the interleaved reference pixels in the result (IRS2)"
    )
    irs2_mean_subtraction: bool = Field(
        False, description="subtract the mean levels before the IRS2 correction"
    )
    refpix_algorithm: Literal["median", "sirs"] = Field(
        "median", description="how the reference columns of full frames are smoothed"
    )
    sigreject: float = Field(
        4.0, description="rejection limit for reference columns, in standard deviations (sirs)"
    )
    gaussmooth: float = Field(1.0, description="width of the Gaussian low-pass filter (sirs)")
    halfwidth: int = Field(30, description="half width of the convolution kernel (sirs)")
    siglimit: float = Field(
        3.0, gt=0, description="clipping limit for the mean levels, in standard deviations"
    )


@dataclass(frozen=True)
class Readout:
    """How the pixels were read out, and how to reduce them.

    ``fast`` and ``slow`` are FASTAXIS and SLOWAXIS; ``column`` and ``row`` are the place of the first
    pixel on the detector, counted along these axes. ``outputs`` is true where the frame is split
    into outputs of 512 columns, ``edgeless`` where edge columns stand in for reference pixels.
    """

    fast: int
    slow: int
    column: int
    row: int
    outputs: bool
    edgeless: bool
    odd_even_columns: bool
    use_side_ref_pixels: bool
    side_smoothing_length: int
    side_gain: float
    siglimit: float
    sigreject: float


def subtract_reference(
    sci: np.ndarray,
    pixeldq: np.ndarray,
    zeroframe: np.ndarray | None,
    sirs: np.ndarray | None,
    along_x: np.ndarray,
    along_y: np.ndarray,
    zero_x: np.ndarray,
    zero_y: np.ndarray,
    part_of_x: np.ndarray,
    part_of_y: np.ndarray,
    *,
    readout: Readout,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Subtract the level of each column and each row.

    Parameters
    ----------
    sci
        Counts (i, g, y, x), DN.
    pixeldq
        Flags (y, x); they are for ``reference_levels``, and so are the kernels ``sirs``.
    zeroframe
        First frames (i, y, x), DN; pixels of 0 hold no data and stay 0.
    along_x, along_y
        Levels (i, g, part, x) and (i, g, part, y) of ``reference_levels``, DN.
    zero_x, zero_y
        Levels (i, part, x) and (i, part, y) of the zero frame, DN.
    part_of_x, part_of_y
        The part of ``along_y`` that each column has, and that of ``along_x`` that each row has.
    """
    parts = part_of_x, part_of_y
    if zeroframe is not None:
        levels = zero_x[:, np.newaxis], zero_y[:, np.newaxis]
        corrected = subtract_levels(zeroframe[:, np.newaxis], *levels, *parts)[:, 0]
        zeroframe = np.where(zeroframe == 0, zeroframe, corrected)
    return subtract_levels(sci, along_x, along_y, *parts), zeroframe


def reference_levels(
    sides: Sides, sirs: np.ndarray | None = None, *, readout: Readout
) -> tuple[np.ndarray, ...]:
    """Reduce the frame's edges to the levels that ``subtract_reference`` takes off.

    Parameters
    ----------
    sides
        ``sci`` (i, g, y, x), ``pixeldq`` (y, x) and perhaps ``zeroframe`` (i, y, x) of the edges
        ``bottom top left right``, four pixels wide. Pixels with DO_NOT_USE and values of NaN do
        not count.
    sirs
        Kernels (side, output, row), where the reference columns are to be convolved with them.

    Returns
    -------
    along_x, along_y, zero_x, zero_y
        Levels (i, g, part, x), (i, g, part, y), and of the zero frame (i, part, x), (i, part, y), in DN, float64.
    part_of_x, part_of_y
        See ``subtract_reference``.
    """
    flags = {name: _flags(name, side, readout.edgeless) for name, side in sides.items()}
    science = {name: side["sci"] for name, side in sides.items()}
    along_x, along_y, *parts = _levels(science, flags, sirs, readout)
    if "zeroframe" not in sides["left"]:
        return along_x, along_y, np.zeros_like(along_x[:, 0]), np.zeros_like(along_y[:, 0]), *parts
    frames = {name: side["zeroframe"][:, np.newaxis] for name, side in sides.items()}
    zero_x, zero_y, *_ = _levels(frames, flags, sirs, readout)
    return along_x, along_y, zero_x[:, 0], zero_y[:, 0], *parts


def _flags(name: str, side: Mapping[str, np.ndarray], edgeless: bool) -> np.ndarray:
    """Give the pixel flags of a side; edgeless subarrays take their edge columns as reference."""
    given = side.get("pixeldq")
    flags = np.zeros(side["sci"].shape[-2:], np.uint32) if given is None else given.copy()
    if edgeless:
        columns = slice(None) if name in ("left", "right") else [*range(WIDTH), *range(-WIDTH, 0)]
        flags[:, columns] |= REFERENCE
    return flags


@dataclass(frozen=True)
class _Edge:
    """One edge in the detector's orientation: values (i, g, row, column), flags (row, column)."""

    values: np.ndarray
    flags: np.ndarray

    @property
    def usable(self) -> np.ndarray:
        """Pixels (row, column) without DO_NOT_USE."""
        return (self.flags & UNUSABLE) == 0

    @property
    def reference(self) -> np.ndarray:
        """Usable reference pixels (row, column)."""
        return self.usable & ((self.flags & REFERENCE) != 0)

    def above(self, columns: np.ndarray) -> np.ndarray:
        """Give the values above the levels (i, g, column) of their columns."""
        return self.values - columns[..., np.newaxis, :]


def _levels(
    values: Mapping[str, np.ndarray],
    flags: Mapping[str, np.ndarray],
    sirs: np.ndarray | None,
    readout: Readout,
) -> tuple[np.ndarray, ...]:
    """Reduce the edges of one cube to levels along x (i, g, part, x) and y (i, g, part, y), and their parts."""
    x_is_fast = abs(readout.fast) == 1
    across, along = ("bottom", "top"), ("left", "right")
    low, high = (across if x_is_fast else along)[:: np.sign(readout.slow)]
    left, right = (along if x_is_fast else across)[:: np.sign(readout.fast)]
    edges = {
        key: _Edge(_turned(values[name], readout), _turned(flags[name], readout))
        for key, name in (("low", low), ("high", high), ("left", left), ("right", right))
    }
    if readout.outputs:
        columns, rows = _output_levels(edges, sirs, readout)
    else:
        columns, rows = _common_levels(edges, readout)
    parts = np.arange(columns.shape[-1]) * rows.shape[2] // columns.shape[-1]
    forward = np.sign(readout.fast), np.sign(readout.slow)
    columns, parts, rows = (
        columns[..., :: forward[0]],
        parts[:: forward[0]],
        rows[..., :: forward[1]],
    )
    alike = np.zeros(rows.shape[-1], parts.dtype)
    result = (columns, rows, parts, alike) if x_is_fast else (rows, columns, alike, parts)
    return tuple(np.ascontiguousarray(array) for array in result)


def _turned(array: np.ndarray, readout: Readout) -> np.ndarray:
    """Turn (..., y, x) to (..., row, column): rows along the slow axis, columns along the fast one."""
    fast, slow = np.sign(readout.fast), np.sign(readout.slow)
    if abs(readout.fast) == 1:
        return array[..., ::slow, ::fast]
    return np.swapaxes(array[..., ::fast, ::slow], -2, -1)


def _common_levels(edges: Mapping[str, _Edge], readout: Readout) -> tuple[np.ndarray, np.ndarray]:
    """Give the clipped means of all reference pixels of a frame read out in one output."""
    nrows, ncolumns = edges["left"].flags.shape[0], edges["low"].flags.shape[1]
    parity = (readout.column + np.arange(ncolumns)) % 2
    # Each pixel counts once: what lies at both ends, or at an end and a side, is the low end's.
    row = np.arange(nrows)[:, np.newaxis]
    inner = (row >= WIDTH) & (row < nrows - WIDTH)
    parts = (
        (edges["low"], np.array(True), parity),
        (edges["high"], row[-WIDTH:] >= WIDTH, parity),
        (edges["left"], inner, parity[:WIDTH]),
        (edges["right"], inner, parity[-WIDTH:]),
    )
    columns = np.zeros((*edges["low"].values.shape[:2], ncolumns))
    for these in ((0,), (1,)) if readout.odd_even_columns else ((0, 1),):
        samples = [
            edge.values[..., edge.reference & counted & np.isin(odd, these)]
            for edge, counted, odd in parts
        ]
        mean = clipped_means(np.concatenate(samples, axis=-1), readout.siglimit)
        columns[..., np.isin(parity, these)] = np.nan_to_num(mean)[..., np.newaxis]
    return columns[:, :, np.newaxis], np.zeros((*columns.shape[:2], 1, nrows))


def _output_levels(
    edges: Mapping[str, _Edge], sirs: np.ndarray | None, readout: Readout
) -> tuple[np.ndarray, np.ndarray]:
    """Give the clipped means of each output, then the smoothed level of each row, or row and output."""
    nrows, ncolumns = edges["left"].flags.shape[0], edges["low"].flags.shape[1]
    row = (readout.row + np.arange(nrows))[:, np.newaxis]
    column = readout.column + np.arange(ncolumns)
    ends = (
        (edges["low"].values, edges["low"].usable & (row[:WIDTH] < WIDTH)),
        (edges["high"].values, edges["high"].usable & (row[-WIDTH:] >= DETECTOR - WIDTH)),
    )
    columns = np.zeros((*edges["low"].values.shape[:2], ncolumns))
    for start in range(0, DETECTOR, OUTPUT):
        output = (column >= start) & (column < start + OUTPUT)
        odd = column % 2 == 1
        parts = (output & odd, output & ~odd) if readout.odd_even_columns else (output,)
        signals = [
            _average(*(clipped_means(v[..., good & part], readout.siglimit) for v, good in ends))
            for part in parts
        ]
        known = np.isfinite(signals).all(axis=0)
        for part, signal in zip(parts, signals, strict=True):
            columns[..., part] = np.where(known, signal, 0.0)[..., np.newaxis]
    if sirs is not None and readout.use_side_ref_pixels:
        left = edges["left"].above(columns[..., :WIDTH]).astype(np.float32)
        right = edges["right"].above(columns[..., -WIDTH:]).astype(np.float32)
        rows = sirs_levels(left, right, sirs, readout.sigreject)
    else:
        rows = _row_levels(edges, columns, column, readout)[:, :, np.newaxis]
    return columns[:, :, np.newaxis], rows


def _row_levels(
    edges: Mapping[str, _Edge], columns: np.ndarray, column: np.ndarray, readout: Readout
) -> np.ndarray:
    """Give the level of each row: the smoothed reference columns less their column's level."""
    left, right = edges["left"], edges["right"]
    if not readout.use_side_ref_pixels:
        return np.zeros((*columns.shape[:2], left.flags.shape[0]))
    at_left, at_right = column[:WIDTH] < WIDTH, column[-WIDTH:] >= DETECTOR - WIDTH
    where = readout.row, readout.side_smoothing_length, DETECTOR
    levels = _average(
        running_medians(left.above(columns[..., :WIDTH]), left.usable & at_left, *where),
        running_medians(right.above(columns[..., -WIDTH:]), right.usable & at_right, *where),
    )
    return readout.side_gain * np.nan_to_num(levels)


def _average(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Average two levels; where one is unknown (NaN) the other."""
    return np.where(np.isnan(a), b, np.where(np.isnan(b), a, 0.5 * (a + b)))


def _keywords(header: Header, params: RefpixParams) -> dict[str, Any]:
    """Describe the readout, or refuse one whose reference pixels lie elsewhere.

    Raises
    ------
    ExposureError
        For axes that make no sense.
    """
    fast, slow = int(header["FASTAXIS"]), int(header["SLOWAXIS"])
    if {abs(fast), abs(slow)} != {1, 2}:
        raise ExposureError(
            f"{header.filename}: refpix: FASTAXIS {fast} and SLOWAXIS {slow} found, one of +1 or -1 and "
            "one of +2 or -2 expected; correct the header"
        )
    sizes = int(header["SUBSIZE1"]), int(header["SUBSIZE2"])
    starts = int(header["SUBSTRT1"]) - 1, int(header["SUBSTRT2"]) - 1
    full = min(sizes) >= DETECTOR
    readout = Readout(
        fast,
        slow,
        place(fast, starts, sizes),
        place(slow, starts, sizes),
        outputs=full or header.get("NOUTPUTS") == 4,
        edgeless=not full and header.get("SUBARRAY") in EDGELESS,
        odd_even_columns=params.odd_even_columns,
        use_side_ref_pixels=params.use_side_ref_pixels,
        side_smoothing_length=params.side_smoothing_length,
        side_gain=params.side_gain,
        siglimit=params.siglimit,
        sigreject=params.sigreject,
    )
    return {"readout": readout}


def place(axis: int, starts: tuple[int, int], sizes: tuple[int, int]) -> int:
    """Give the first pixel's place on the detector along ``axis`` (1 x, 2 y; negative: backwards)."""
    start, size = starts[abs(axis) - 1], sizes[abs(axis) - 1]
    return start if axis > 0 else DETECTOR - start - size


def _needs(header: Header, params: RefpixParams) -> tuple[str, ...]:
    wanted = params.refpix_algorithm == "sirs" and "FULL" in str(header.get("SUBARRAY", ""))
    return ("sirskernel",) if wanted else ()


def _prepare(references: References, header: Header, params: RefpixParams) -> tuple[Any, ...]:
    """Give the kernels for this detector, ``None`` where the running median is to be taken."""
    file = references["sirskernel"] if _needs(header, params) else None
    if file is None:
        return (None,)
    detector = str(header["DETECTOR"])
    return (sirs_kernels(file.tree(), detector, params.gaussmooth, params.halfwidth),)


def _applies(header: Header, params: RefpixParams) -> str:
    spans = [
        (int(header.get(f"SUBSTRT{k}", 1)) - 1, int(header.get(f"SUBSIZE{k}", DETECTOR)))
        for k in (1, 2)
    ]
    if any(start < 0 or start + size > DETECTOR for start, size in spans):
        return "the subarray does not fit on the detector"
    inside = all(start >= WIDTH and start + size <= DETECTOR - WIDTH for start, size in spans)
    if inside and header.get("SUBARRAY") not in EDGELESS:
        return "the subarray has no reference pixels"
    return ""


RAMP_LEVELS = (("integration", "group", "part", "x"), ("integration", "group", "part", "y"))
ZEROFRAME_LEVELS = (("integration", "part", "x"), ("integration", "part", "y"))
PARTS = (("x",), ("y",))

refpix = Step(
    "refpix",
    subtract_reference,
    reads=("sci", "pixeldq", "zeroframe?"),
    writes=("sci", "zeroframe?"),
    refs=("sirskernel.tree?",),
    params=RefpixParams,
    keywords=_keywords,
    applies=_applies,
    needs=_needs,
    prepare=_prepare,
    border=Border(WIDTH, reference_levels, (*RAMP_LEVELS, *ZEROFRAME_LEVELS, *PARTS)),
    carries=carries_zeroframe,
    apart=True,
)
