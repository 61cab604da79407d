"""The pipelines on single exposures: which steps an exposure gets, and which products come out.

Pipelines that combine exposures are in ``mosaic.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import xarray as xr

from jwpipe.engine.hooks import apply_hooks
from jwpipe.engine.interleaved import is_interleaved
from jwpipe.engine.pipeline import Keep, run_steps, split
from jwpipe.engine.preparing import Planned, Prepared, Settings, prepare
from jwpipe.exposure import CUBE, RAMP_VARIABLES, ExposureError, Header, header
from jwpipe.exptypes import (
    CORONAGRAPHY,
    DARKS,
    GUIDER,
    IMAGES,
    exposure_type,
    is_time_series,
    stage1_pipeline,
)
from jwpipe.io.segments import segments_of
from jwpipe.provenance import COMPLETE, SKIPPED, record
from jwpipe.series import whole_products
from jwpipe.stage1.not_finite import not_finite
from jwpipe.stage1.persistence import STATE, state_of
from jwpipe.stage1.refpix_irs2 import is_irs2
from jwpipe.stage1.superstripes import unstack
from jwpipe.step import AnyStep, ExposureStep, Params, Step

Products = dict[str, xr.Dataset]


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
    kind, taken = exposure_type(keywords), stage1_pipeline(keywords)
    if taken != "detector1":
        raise ExposureError(
            f"{keywords.filename}: {kind} is not processed by detector1; run {taken} on it"
        )
    return _ramp_steps(keywords)


def _ramp_steps(keywords: Header) -> tuple[AnyStep, ...]:
    from jwpipe.stage1 import INTERLEAVED, MIRI, NEAR_INFRARED, STRIPED

    if keywords["INSTRUME"] == "MIRI":
        return MIRI
    if is_irs2(keywords):
        return INTERLEAVED
    return NEAR_INFRARED if keywords.get("MSTR_RD1") is None else STRIPED


def dark_steps(keywords: Header) -> tuple[AnyStep, ...]:
    """The steps of a dark exposure: those of stage 1 before a dark is subtracted.

    Raises
    ------
    ExposureError
        For guide stars.
    """
    from jwpipe.stage1 import before_dark

    if exposure_type(keywords) in GUIDER:
        raise ExposureError(
            f"{keywords.filename}: {exposure_type(keywords)} is not processed by dark; run guider on it"
        )
    return before_dark(_ramp_steps(keywords))


def guider_steps(keywords: Header) -> tuple[AnyStep, ...]:
    """The steps of a guide-star exposure.

    Raises
    ------
    ExposureError
        For all other exposures.
    """
    from jwpipe.stage1 import GUIDER as FIRST
    from jwpipe.stage2.flat_field_guider import flat_field_guider

    kind = exposure_type(keywords)
    if kind not in GUIDER:
        raise ExposureError(
            f"{keywords.filename}: EXP_TYPE {kind} is no guide-star exposure ({', '.join(sorted(GUIDER))}); "
            f"run {'dark' if kind in DARKS else 'detector1'} on it"
        )
    return (*FIRST, flat_field_guider)


def _safe(prepared: Prepared) -> Prepared:
    """``prepared``, samples that are not finite left out of account."""
    raw = prepared.exposure
    if raw["sci"].dtype.kind == "f" and raw.attrs.get("product") == "uncal":
        steps = (Planned(not_finite, Params(), ""), *prepared.steps)
        return Prepared(raw, steps, prepared.references)
    return prepared


def dark_products(prepared: Prepared, keep: Keep | None = None) -> Products:
    """``dark``: the ramp as it is before a dark is subtracted."""
    return {"dark": as_stored(run_steps(_safe(prepared), keep)).assign_attrs(product="dark")}


def guider_products(prepared: Prepared, keep: Keep | None = None) -> Products:
    """``cal``: the count rates of guide stars."""
    return {"cal": run_steps(prepared, keep).assign_attrs(product="cal")}


def detector1_products(prepared: Prepared, keep: Keep | None = None) -> Products:
    """``rate`` and ``rateints``, or ``ramp`` where ramp_fit does not run; segments go one by one (`jwpipe.series`)."""
    exposure = prepared.exposure
    parts: list[Products] = []
    result = xr.Dataset()
    for part in segments_of(exposure):
        # What persists is handed from segment to segment.
        left = {STATE: result[STATE]} if STATE in result else {}
        segment = _safe(replace(prepared, exposure=part.assign(left)))
        result = run_steps(replace(segment, steps=_saved_whole(segment.steps)), keep)
        rates = rate_products(result)
        parts.append(rates or {"ramp": as_stored(result).assign_attrs(product="ramp")})
    if keep is not None and (state := state_of(result)) is not None:
        keep(state.attrs["product"], state)
    products = whole_products(parts, exposure) if len(parts) > 1 else parts[0]
    return _named(products, prepared)


def _named(products: Products, prepared: Prepared) -> Products:
    """The products, that of integrations with the name that ``int_name`` of ramp_fit gives it."""
    given = [each.params.own().get("int_name") for each in prepared.steps if each.runs]
    name = next(filter(None, given), None)
    if name is None or "rateints" not in products:
        return products
    named = products["rateints"].assign_attrs(saved_as={"rateints": name})
    return {**products, "rateints": named}


def _saved_whole(steps: tuple[Planned, ...]) -> tuple[Planned, ...]:
    """The steps, with what superstripes make together saved where that, or the result of refpix, is wanted."""
    named = {each.step.name: each for each in steps}
    if "superstripes" not in named or not named["superstripes"].runs:
        return steps
    wanted = any(named[name].params.save_results for name in ("refpix", "superstripes"))
    saves = {"refpix": False, "superstripes": wanted}
    return tuple(
        replace(each, params=each.params.model_copy(update={"save_results": saves[each.step.name]}))
        if each.step.name in saves
        else each
        for each in steps
    )


def rate_products(exposure: xr.Dataset) -> Products:
    """``rate`` and ``rateints`` of an exposure that went through ramp_fit; none of another."""
    if not any(str(name).startswith("rate.") for name in exposure):
        return {}
    return {product: split(exposure, product) for product in ("rate", "rateints")}


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
    place = [planned.step.name for planned in prepared.steps].index("resample")
    calibrate, (resample, *after) = prepared.steps[:place], prepared.steps[place:]
    _keep_background(prepared, keep)
    result = run_steps(Prepared(prepared.exposure, calibrate, prepared.references), keep)
    suffix = "calints" if "integration" in result["sci"].dims else "cal"
    result = result.assign_attrs(product=suffix)
    reason = resample.reason
    if not reason and suffix == "calints":
        reason = "integrations are not resampled"
    if reason:
        return {suffix: record(result, "resample", SKIPPED, reason=reason)}
    assert isinstance(resample.step, ExposureStep)
    image = apply_hooks(result, resample.params.pre_hooks)
    quick_look = resample.step.function(image, prepared.references, resample.params)
    quick_look = record(quick_look, "resample", COMPLETE, parameters=resample.params.own())
    quick_look = apply_hooks(quick_look, resample.params.post_hooks)
    return {
        suffix: result,
        "i2d": run_steps(Prepared(quick_look, tuple(after), prepared.references)),
    }


def _keep_background(prepared: Prepared, keep: Keep | None) -> None:
    """Give the combined background to ``keep`` where ``save_combined_background`` asks for it."""
    from jwpipe.stage2.bkg_subtract import BackgroundParams, combined_background

    params = prepared.steps[0].params
    assert isinstance(params, BackgroundParams)
    if keep is not None and prepared.steps[0].runs and params.save_combined_background:
        keep("combinedbackground", combined_background(prepared.exposure, params))


def check_input(pipeline: str, exposure: xr.Dataset) -> None:
    """Refuse what a pipeline does not take.

    Raises
    ------
    ExposureError
        Saying what the exposure is and what is expected.
    """
    check_axes(pipeline, exposure)
    if pipeline != "guider":
        _check_readout(exposure)
    keywords = header(exposure)
    calibrated = keywords.get("S_PHOTOM") == COMPLETE or "Jy" in str(keywords.get("BUNIT"))
    if pipeline == "image2" and calibrated:
        raise ExposureError(_not_taken(pipeline, exposure, "is calibrated already"))


def _check_readout(exposure: xr.Dataset) -> None:
    """Refuse times, counts and sizes that no readout has; keywords that are missing are told by the steps."""
    keywords = header(exposure)
    for name, least, expected in (
        ("TFRAME", 0.0, "a positive number of seconds"),
        ("TGROUP", 0.0, "a positive number of seconds"),
        ("NFRAMES", 0, "a positive number"),
        ("GROUPGAP", -1, "no less than 0"),
    ):
        value = keywords.get(name)
        if value is not None and not (isinstance(value, int | float) and value > least):
            raise ExposureError(
                f"{keywords.filename}: {name} is {value!r}, expected {expected}; correct the keyword"
            )
    for name, axis in (("SUBSIZE1", "x"), ("SUBSIZE2", "y")):
        size = exposure["sci"].sizes[axis]
        if axis == "y" and is_interleaved(exposure):
            size = 2048
        if keywords.get(name, size) != size:
            raise ExposureError(
                f"{keywords.filename}: {name} is {keywords.get(name)!r}, but SCI has {size} pixels in {axis}; "
                "correct the keyword or fetch the file again"
            )


def check_axes(pipeline: str, exposure: xr.Dataset) -> None:
    """Refuse images where ramps are worked on, and ramps where images are.

    Raises
    ------
    ExposureError
        Saying what the exposure is and what is expected.
    """
    axes = tuple(map(str, exposure["sci"].dims))
    if pipeline != "guider" and ("group" in axes) != (pipeline in RAMP_PIPELINES):
        raise ExposureError(_not_taken(pipeline, exposure, f"has dimensions {', '.join(axes)}"))


def _not_taken(pipeline: str, exposure: xr.Dataset, what: str) -> str:
    product = exposure.attrs.get("product") or "exposure"
    expected = " or ".join(f"_{suffix}" for suffix in PIPELINES[pipeline].inputs)
    origin = "the archive has" if pipeline in RAMP_PIPELINES else "detector1 makes"
    return (
        f"{header(exposure).filename}: {pipeline}: this {product} {what}; "
        f"expected {expected}, which {origin}"
    )


def next_input(products: Products) -> xr.Dataset:
    """What the pipeline after takes: integrations where they must stay apart, else the average."""
    main = next(iter(products.values()))
    keywords = header(main)
    apart = is_time_series(keywords) or exposure_type(keywords) in CORONAGRAPHY | {"NIS_AMI"}
    return products["rateints"] if apart and "rateints" in products else main


RAMP_PIPELINES = frozenset({"detector1", "dark"})

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
    "dark": Pipeline(
        "dark",
        ("uncal", "ramp"),
        dark_steps,
        dark_products,
        "raw dark exposures to ramps that references are made of (dark)",
    ),
    "guider": Pipeline(
        "guider",
        ("uncal", "cal"),
        guider_steps,
        guider_products,
        "raw guide-star exposures to count rates (cal)",
    ),
}


def prepare_alone(step: AnyStep, exposure: xr.Dataset, settings: Settings) -> Prepared:
    """One step that was asked for by name: ``skip`` does not count, nor whether it was done before.

    A step that works on the products of ramp_fit takes a rate or rateints exposure.
    """
    layers = (*settings.layers, {step.name: {"skip": False}})
    asked = replace(settings, layers=layers, inserted=())
    product = exposure.attrs.get("product", "")
    reads = step.reads if isinstance(step, Step) else ()
    if any(name.startswith(f"{product}.") for name in reads):
        exposure = exposure.assign({f"{product}.{name}": exposure[name] for name in exposure})
    return prepare("", (step,), exposure, asked)


def run_alone(prepared: Prepared) -> Products:
    """The lazy results of a step alone, by suffix, the main one first; of ramp_fit the rates."""
    more: Products = {}
    result = run_steps(prepared, lambda name, kept: more.update(results_of(name, kept)))
    step, product = prepared.steps[0].step.name, prepared.exposure.attrs.get("product", "")
    if product in ("rate", "rateints") and any(str(n).startswith(f"{product}.") for n in result):
        return {step: split(result, product).assign_attrs(product=step)}
    state = state_of(result)
    left = {} if state is None else {state.attrs["product"]: state}
    main = rate_products(result) or results_of(step, result)
    return main | left | {suffix: more[suffix] for suffix in more if suffix not in main}


def results_of(step: str, exposure: xr.Dataset) -> Products:
    """What a step leaves as products of its own, by suffix; names are those of the JWST calibration pipeline."""
    rates = list(rate_products(exposure).values())
    if rates:
        names = ("0_ramp_fit", "1_ramp_fit") if step == "ramp_fit" else (step, f"{step}ints")
        return {
            name: rate.assign_attrs(product=name) for name, rate in zip(names, rates, strict=True)
        }
    suffix = {"bkg_subtract": "bsub", "resample": "i2d", "superstripes": "refpix"}.get(step, step)
    if suffix == "bsub" and exposure["sci"].dims == CUBE:
        suffix = "bsubints"
    return {suffix: as_stored(exposure).assign_attrs(product=suffix)}


def as_stored(exposure: xr.Dataset) -> xr.Dataset:
    """A ramp with all its flags, its pixels in the type that they have after stage 1."""
    if "sci" not in exposure or "group" not in exposure["sci"].dims:
        return exposure
    exposure = exposure.drop_vars(STATE, errors="ignore")
    exposure = unstack(exposure)
    for name in ("pixeldq", "groupdq"):
        if name not in exposure:
            like = exposure["sci"] if name == "groupdq" else exposure["sci"][0, 0]
            kind = RAMP_VARIABLES[name].dtype
            exposure = exposure.assign({name: xr.zeros_like(like, kind).assign_attrs({})})
    wanted = {n: RAMP_VARIABLES[str(n)].dtype for n in exposure if n in RAMP_VARIABLES}
    return exposure.assign({n: exposure[n].astype(kind, copy=False) for n, kind in wanted.items()})
