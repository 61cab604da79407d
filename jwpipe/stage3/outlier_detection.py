"""Flag pixels that disagree with what the other exposures saw at the same place of the sky.

Each group of simultaneous exposures is drizzled onto a common grid; the median over groups is a picture
of the sky without cosmic rays and bad pixels; it is interpolated back onto the pixels of each exposure,
and pixels that differ by more than noise and pointing explain are flagged (``numerics/blot.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import xarray as xr
from pydantic import Field, field_validator

from jwpipe.dq import Pixel
from jwpipe.stage3.outlier_graph import Detection, Plain, Resampled
from jwpipe.stage3.tiles import fill_value
from jwpipe.step import CombiningStep, Params

ALL_BITS = 0xFFFFFFFF


class OutlierDetectionParams(Params):
    """Parameters of outlier_detection; some serve other modes than imaging, and are accepted here."""

    weight_type: Literal["ivm", "exptime"] = Field(
        "ivm", description="weights: inverse read-noise variance, or exposure time"
    )
    pixfrac: float = Field(
        1.0,
        ge=0.0,
        le=1.0,
        description="fraction to which input pixels shrink before they are dropped",
    )
    kernel: Literal["square", "point", "turbo"] = Field(
        "square", description="shape in which a pixel's flux is dropped"
    )
    fillval: str = Field("NAN", description="value of pixels that a group does not cover")
    maskpt: float = Field(
        0.7, ge=0.0, description="pixels with less weight than this fraction of the mean are masked"
    )
    snr: str = Field(
        "5.0 4.0", description="signal-to-noise thresholds of the first and the second pass"
    )
    scale: str = Field(
        "1.2 0.7", description="fraction of the local slope that is allowed for, in either pass"
    )
    backg: float = Field(
        0.0,
        description="level by which exposures lie above the median image; skymatch's comes first",
    )
    kernel_size: str = Field("7 7", description="for integral-field spectra; accepted")
    threshold_percent: float = Field(
        99.8, ge=0.0, le=100.0, description="for integral-field spectra; accepted"
    )
    rolling_window_width: int = Field(25, ge=1, description="for time series; accepted")
    ifu_second_check: bool = Field(False, description="for integral-field spectra; accepted")
    save_intermediate_results: bool = Field(
        False, description="write the resampled groups, their median, and the blotted median"
    )
    resample_data: bool = Field(
        True, description="resample before taking the median; without, exposures must be undithered"
    )
    good_bits: str = Field(
        "~DO_NOT_USE",
        description="DQ flags that do not exclude a pixel, by name or value, joined by + or commas; "
        "after ~ those that do",
    )
    search_output_file: bool = Field(False, description="accepted; has no meaning here")
    in_memory: bool = Field(
        True,
        description="keep the resampled groups for the median; without, they are made twice, and memory "
        "does not grow with the number of groups",
    )
    pixmap_stepsize: float = Field(
        1.0,
        ge=1.0,
        description="accepted; positions are always interpolated, with a checked error below 1e-4 pixel",
    )
    pixmap_order: Literal[1, 3] = Field(1, description="accepted, as pixmap_stepsize")

    @field_validator("fillval")
    @classmethod
    def _is_fill(cls, value: str) -> str:
        fill_value(value)
        return value

    @field_validator("snr", "scale")
    @classmethod
    def _is_pair(cls, value: str) -> str:
        if len([float(word) for word in value.split()]) != 2:
            raise ValueError("expected two numbers, for the first and the second pass")
        return value

    @field_validator("good_bits")
    @classmethod
    def _are_bits(cls, value: str) -> str:
        bad_bits(value)
        return value

    @property
    def bad(self) -> int:
        """The DQ bits that exclude a pixel."""
        return bad_bits(self.good_bits)

    @property
    def fill(self) -> float:
        """The fill value as a number."""
        return fill_value(self.fillval)


def bad_bits(good: str) -> int:
    """The DQ bits that exclude a pixel, from the ``good_bits`` parameter.

    Raises
    ------
    ValueError
        For a name that is no DQ flag.
    """
    text = good.strip().removeprefix("~")
    bits = 0
    for word in text.replace(",", "+").replace("|", "+").split("+"):
        name = word.strip().upper()
        if name.isdigit():
            bits |= int(name)
        elif name in Pixel.__members__:
            bits |= int(Pixel[name])
        else:
            raise ValueError(f"{word.strip()!r} is not a DQ flag: {', '.join(Pixel.__members__)}")
    return bits if good.strip().startswith("~") else ALL_BITS & ~bits


@dataclass(frozen=True, eq=False)
class Outliers:
    """The exposures with outliers flagged, or as they were, with the ``reason`` why the step was skipped.

    ``intermediate`` are the products of ``save_intermediate_results``: resampled groups
    (``outlier_i2d``), the ``median``, and a ``blot`` for each exposure.
    """

    exposures: list[xr.Dataset]
    reason: str = ""
    intermediate: tuple[xr.Dataset, ...] = ()


def mask_thresholds(
    exposures: Sequence[xr.Dataset], params: OutlierDetectionParams, *, side: int | None = None
) -> tuple[float, ...] | None:
    """The weights below which pixels of each resampled group are masked, computed now.

    Each is a statistic of its group's whole image. With them given, flagging a part of the sky needs only the pixels
    there. ``None`` where nothing is resampled.
    """
    if len(exposures) < 2 or not params.resample_data:
        return None
    detection = Resampled(exposures, params, side)
    detection.prepare()
    return detection.solved()


def detect_outliers(
    exposures: Sequence[xr.Dataset],
    params: OutlierDetectionParams,
    *,
    side: int | None = None,
    thresholds: Sequence[float] | None = None,
) -> Outliers:
    """Flag outliers in a set of overlapping images, lazily; ``thresholds`` are those of ``mask_thresholds``.

    DQ gets OUTLIER and DO_NOT_USE; where DO_NOT_USE is set, or any of SCI, ERR and the variances is
    NaN, all of them become NaN and DO_NOT_USE is set. Fewer than two exposures are left as they are.

    Raises
    ------
    ExposureError
        Where exposures are no images, have no WCS, or without resampling have different shapes.
    """
    if len(exposures) < 2:
        return Outliers(
            list(exposures), f"{len(exposures)} exposure; outliers need at least two to compare"
        )
    detection: Detection = (
        Resampled(exposures, params, side, thresholds)
        if params.resample_data
        else Plain(exposures, params, side)
    )
    detection.prepare()
    saved = detection.intermediate() if params.save_intermediate_results else ()
    return Outliers(detection.flagged(), "", saved)


outlier_detection = CombiningStep("outlier_detection", OutlierDetectionParams)
