"""From a prepared exposure and its list of steps to lazy products. Editing a pipeline is editing a list."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import xarray as xr

from jwpipe.engine.chain import Bound
from jwpipe.engine.frames import PIXELDQ, with_found_flags
from jwpipe.engine.graph import run_chain
from jwpipe.engine.hooks import apply_hooks
from jwpipe.engine.interleaved import is_interleaved, run_parts
from jwpipe.engine.preparing import DONE, Planned, Prepared, bind, named, reference_types
from jwpipe.engine.state import bare
from jwpipe.exposure import ExposureError, header
from jwpipe.provenance import COMPLETE, SKIPPED, record
from jwpipe.refs import References
from jwpipe.step import ExposureStep, Step

Keep = Callable[[str, xr.Dataset], None]


def run_steps(prepared: Prepared, keep: Keep | None = None) -> xr.Dataset:
    """The lazy exposure after all steps.

    ``keep(step name, exposure)`` is called after each step that has ``save_results``.
    Products of ramp_fit stand beside the ramp as ``rate.sci``, ``rateints.sci`` and so on; see ``split``.
    """
    exposure, references = prepared.exposure, prepared.references
    for segment in _segments(prepared.steps):
        exposure = _hooked(exposure, segment[0].params.pre_hooks)
        running = [p for p in segment if p.runs]
        if running and isinstance(running[0].step, Step):
            _check_reads(exposure, running)
            _keep_further(exposure, running[0], references, keep)
            run = partial(_run_pixel_steps, references)
            if is_interleaved(exposure):
                exposure = run_parts(exposure, running, references, run)
            else:
                exposure = run(exposure, running)
        elif running:
            step = running[0].step
            assert isinstance(step, ExposureStep)
            exposure = _run_exposure_step(exposure, running[0], references, keep)
            if step.becomes is not None:
                references = references.placed(header(exposure))
        for p in segment:
            if p.reason != DONE:
                exposure = _recorded(exposure, p, references)
        exposure = _hooked(exposure, segment[-1].params.post_hooks)
        if keep is not None and segment[-1].params.save_results and segment[-1].runs:
            keep(segment[-1].step.name, exposure)
    return exposure


def _run_exposure_step(
    exposure: xr.Dataset, planned: Planned, references: References, keep: Keep | None
) -> xr.Dataset:
    """The exposure after a step on whole exposures; ``keep`` gets the step's further products."""
    step, params = planned.step, planned.params
    assert isinstance(step, ExposureStep)
    if step.draft is not None and "group" in exposure["sci"].dims:
        draft = Planned(step.draft, step.draft.params(), "")
        exposure = _run_pixel_steps(references, exposure, [draft])
    if keep is not None:
        for suffix, product in step.extras(exposure, references, params).items():
            keep(suffix, product)
    exposure = step.function(exposure, references, params)
    drafts = [name for name in exposure if "." in str(name)] if step.draft is not None else []
    return exposure.drop_vars(drafts)


def _keep_further(
    exposure: xr.Dataset, planned: Planned, references: References, keep: Keep | None
) -> None:
    """Give ``keep`` the further products of a pixel step."""
    assert isinstance(planned.step, Step)
    make = planned.step.further(planned.params)
    if make is not None and keep is not None:
        for suffix, product in make(exposure, references).items():
            keep(suffix, product)


def _as_bound(planned: Planned, bound: Bound) -> Bound:
    return bound


def _run_pixel_steps(
    references: References,
    exposure: xr.Dataset,
    running: Sequence[Planned],
    view: Callable[[Planned, Bound], Bound] = _as_bound,
) -> xr.Dataset:
    """The exposure after a run of pixel steps; ``view`` may change each once it is bound."""
    exposure, bound = _bound(exposure, running, references, view)
    exposure = exposure.assign(run_chain(exposure, bound, _live(exposure, bound)))
    return exposure.drop_vars(PIXELDQ, errors="ignore")


def _check_reads(exposure: xr.Dataset, running: Sequence[Planned]) -> None:
    """Refuse an exposure without the variables that pixel steps work on."""
    found = {str(name) for name in exposure}
    if "group" in exposure["sci"].dims:
        found |= {"groupdq", "pixeldq"}
    for step in (each.step for each in running if isinstance(each.step, Step)):
        absent = [name for name in step.reads if not name.endswith("?") and name not in found]
        if absent:
            raise ExposureError(
                f"{header(exposure).filename}: {step.name}: a {exposure.attrs.get('product')} with "
                f"{', '.join(sorted(found))} found, {', '.join(absent)} expected; {_takes(absent)}"
            )
        found |= {bare(name) for name in step.writes}


def _takes(absent: Sequence[str]) -> str:
    if "groupdq" in absent or "pixeldq" in absent:
        return "the step takes ramps (_uncal, _ramp)"
    if any("." in name for name in absent):
        return "the step takes what ramp_fit makes (_rate, _rateints)"
    return "the step takes count rates (_rate, _rateints)"


def _bound(
    exposure: xr.Dataset,
    running: Sequence[Planned],
    references: References,
    view: Callable[[Planned, Bound], Bound],
) -> tuple[xr.Dataset, list[Bound]]:
    """The steps bound to the exposure, and the exposure with the keywords that they leave."""
    bound: list[Bound] = []
    for planned in running:
        keywords = header(exposure)
        bound.append(view(planned, bind(planned, references, keywords)))
        exposure = _marked(exposure, planned, references)
        exposure = _looked(exposure, planned, bound, references, view)
    return exposure, bound


def _looked(
    exposure: xr.Dataset,
    planned: Planned,
    bound: list[Bound],
    references: References,
    view: Callable[[Planned, Bound], Bound],
) -> xr.Dataset:
    """The exposure with the flags of looks at whole frames; ``bound`` ends with what the step leaves to do after."""
    keywords = header(exposure)
    assert isinstance(planned.step, Step)
    step: Step | None = planned.step
    while step is not None and (look := step.frames(keywords, planned.params)) is not None:
        exposure, bound[-1] = with_found_flags(exposure, bound, look)
        step = step.settle(keywords, planned.params)
        if step is not None:
            settled = Planned(step, planned.params, "")
            bound.append(view(settled, bind(settled, references, keywords)))
    return exposure


def _segments(planned: Sequence[Planned]) -> Iterator[list[Planned]]:
    """Maximal runs of pixel steps; other steps, hooks and saved results stand alone."""
    run: list[Planned] = []
    for p in planned:
        alone = p.runs and not isinstance(p.step, Step)
        further = p.runs and isinstance(p.step, Step) and p.step.further(p.params) is not None
        if run and (alone or further or p.params.pre_hooks):
            yield run
            run = []
        run.append(p)
        if alone or p.params.post_hooks or p.params.save_results:
            yield run
            run = []
    if run:
        yield run


def _live(exposure: xr.Dataset, bound: Sequence[Bound]) -> list[str]:
    """What a run of steps must give back: all it wrote; after ramp_fit only the products."""
    names = {str(name) for name in exposure}
    if "group" in exposure["sci"].dims:
        names |= {"groupdq", "pixeldq"}
    written: dict[str, None] = {}
    for name in (name for b in bound for name in b.step.writes):
        if not name.endswith("?") or bare(name) in names | set(written):
            written[bare(name)] = None
    products = [name for name in written if "." in name]
    if products:
        return products
    flags = [name for name in ("groupdq", "pixeldq") if name in names]
    return list(dict.fromkeys([*written, *flags]))


def _marked(exposure: xr.Dataset, planned: Planned, references: References) -> xr.Dataset:
    assert isinstance(planned.step, Step)
    with named(planned.step):
        marks = planned.step.marks(references, header(exposure), planned.params)
    return exposure.assign_attrs(primary={**exposure.attrs["primary"], **marks})


def _recorded(exposure: xr.Dataset, planned: Planned, references: References) -> xr.Dataset:
    kinds = reference_types(planned, header(exposure))
    return record(
        exposure,
        planned.step.name,
        COMPLETE if planned.runs else SKIPPED,
        reason=planned.reason,
        parameters=planned.params.own(),
        references={kind: references[kind] for kind in kinds},
        sources=references.sources,
    )


def _hooked(exposure: xr.Dataset, hooks: Sequence[Any]) -> xr.Dataset:
    """``exposure`` after a user's functions, which get the products of ramp_fit one by one."""
    made = [product for product in ("rate", "rateints") if f"{product}.sci" in exposure]
    if not made or not hooks:
        return apply_hooks(exposure, hooks)
    for product in made:
        part = apply_hooks(split(exposure, product), hooks)
        named = {f"{product}.{name}": variable for name, variable in part.items()}
        keywords = {"primary": part.attrs["primary"], "sci": part.attrs["sci"]}
        exposure = exposure.assign(named).assign_attrs(keywords)
    return exposure


def split(exposure: xr.Dataset, product: str) -> xr.Dataset:
    """One product of ramp_fit (``rate`` or ``rateints``) as an exposure of its own.

    Raises
    ------
    ExposureError
        Where ramp_fit did not run.
    """
    prefix = f"{product}."
    names = {str(n): str(n).removeprefix(prefix) for n in exposure if str(n).startswith(prefix)}
    if not names:
        raise ExposureError(
            f"{header(exposure).filename}: no {product} was made, since ramp_fit did not run; "
            "the result is a ramp"
        )
    found = exposure[list(names)].rename(names)
    tables = exposure.attrs.get("tables", {}) if product == "rateints" else {}
    return found.assign_attrs({**exposure.attrs, "product": product, "tables": tables})
