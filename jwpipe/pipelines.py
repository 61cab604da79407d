"""The pipelines on single exposures: which steps an exposure gets, and which products come out.

Pipelines that combine exposures are in ``mosaic.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import xarray as xr

from jwpipe.exposure import ExposureError, Header, header
from jwpipe.exptypes import CORONAGRAPHY, DARKS, GUIDER, IMAGES, exposure_type, is_time_series
from jwpipe.pipeline import Prepared, run_steps, split
from jwpipe.provenance import COMPLETE, SKIPPED, record
from jwpipe.step import AnyStep, ExposureStep

Products = dict[str, xr.Dataset]
Keep = Callable[[str, xr.Dataset], None]


@dataclass(frozen=True)
class Pipeline:
    """A pipeline on one exposure.

    ``inputs`` are the products that it takes, best first; ``steps(header)`` its list for an exposure;
    ``build(prepared, keep)`` its lazy products by suffix, the main one first.
    """

    name: str
    inputs: tuple[str, ...]
    steps: Callable[[Header], tuple[AnyStep, ...]]
    build: Callable[[Prepared, Keep | None], Products]
    doc: str


def detector1_steps(keywords: Header) -> tuple[AnyStep, ...]:
    """The steps of stage 1 for an exposure.

    Raises
    ------
    ExposureError
        For exposure types and detectors that this list does not serve.
    """
    from jwpipe.stage1 import MIRI, NEAR_INFRARED

    kind = exposure_type(keywords)
    if kind in DARKS | GUIDER:
        other = "calwebb_dark" if kind in DARKS else "calwebb_guider"
        raise ExposureError(
            f"{keywords.filename}: {kind} is not processed by detector1 but by {other}"
        )
    return MIRI if keywords["INSTRUME"] == "MIRI" else NEAR_INFRARED


def detector1_products(prepared: Prepared, keep: Keep | None = None) -> Products:
    """``rate`` and ``rateints``, or ``ramp`` where ramp_fit does not run."""
    if keep is not None:
        _keep_dark(prepared)
    result = run_steps(prepared, keep)
    return rate_products(result) or {"ramp": result.assign_attrs(product="ramp")}


def rate_products(exposure: xr.Dataset) -> Products:
    """``rate`` and ``rateints`` of an exposure that went through ramp_fit; none of another."""
    if not any(str(name).startswith("rate.") for name in exposure):
        return {}
    return {product: split(exposure, product) for product in ("rate", "rateints")}


def _keep_dark(prepared: Prepared) -> None:
    """Write the dark in the exposure's groups where ``dark_output`` asks for it."""
    from jwpipe.stage1.dark_current import save_dark

    for planned in prepared.steps:
        path = planned.params.own().get("dark_output") if planned.runs else None
        if path:
            save_dark(prepared.references, header(prepared.exposure), Path(path))


def image2_steps(keywords: Header) -> tuple[AnyStep, ...]:
    """The steps of image2 for an exposure.

    Raises
    ------
    ExposureError
        For exposures that are no images.
    """
    from jwpipe.stage2 import IMAGE

    kind = exposure_type(keywords)
    if kind not in IMAGES:
        raise ExposureError(
            f"{keywords.filename}: EXP_TYPE {kind} is not an image; image2 calibrates images"
        )
    return IMAGE


def image2_products(prepared: Prepared, keep: Keep | None = None) -> Products:
    """``cal`` and, for single images of the sky, a quick-look ``i2d``; ``calints`` for integrations."""
    *calibrate, resample = prepared.steps
    _keep_background(prepared, keep)
    result = run_steps(Prepared(prepared.exposure, tuple(calibrate), prepared.references), keep)
    suffix = "calints" if "integration" in result["sci"].dims else "cal"
    result = result.assign_attrs(product=suffix)
    reason = resample.reason
    if not reason and suffix == "calints":
        reason = "integrations are not resampled"
    if reason:
        return {suffix: record(result, "resample", SKIPPED, reason=reason)}
    assert isinstance(resample.step, ExposureStep)
    quick_look = resample.step.function(result, prepared.references, resample.params)
    quick_look = record(quick_look, "resample", COMPLETE, parameters=resample.params.own())
    return {suffix: result, "i2d": quick_look}


def _keep_background(prepared: Prepared, keep: Keep | None) -> None:
    """Give the combined background to ``keep`` where ``save_combined_background`` asks for it."""
    from jwpipe.stage2.bkg_subtract import BackgroundParams, combined_background

    params = prepared.steps[0].params
    assert isinstance(params, BackgroundParams)
    if keep is not None and prepared.steps[0].runs and params.save_combined_background:
        keep("combinedbackground", combined_background(prepared.exposure, params))


def next_input(products: Products) -> xr.Dataset:
    """What the pipeline after takes: integrations where they must stay apart, else the average."""
    main = next(iter(products.values()))
    keywords = header(main)
    apart = is_time_series(keywords) or exposure_type(keywords) in CORONAGRAPHY | {"NIS_AMI"}
    return products["rateints"] if apart and "rateints" in products else main


PIPELINES = {
    "detector1": Pipeline(
        "detector1",
        ("uncal", "ramp"),
        detector1_steps,
        detector1_products,
        "raw ramps to count rates (rate, rateints)",
    ),
    "image2": Pipeline(
        "image2",
        ("rate", "rateints"),
        image2_steps,
        image2_products,
        "count rates to calibrated images (cal, calints, i2d)",
    ),
}
