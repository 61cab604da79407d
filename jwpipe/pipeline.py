"""From an exposure and a list of steps to lazy products.

``prepare`` decides everything before anything runs: which steps apply and why not, their parameters and reference
files. ``run_steps`` then builds the lazy result. Editing a pipeline is editing a list.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import xarray as xr

from jwpipe.chain import Bound
from jwpipe.exposure import ExposureError, Header, MissingKeyword, header
from jwpipe.frames import PIXELDQ, with_found_flags
from jwpipe.graph import run_chain
from jwpipe.hooks import apply_hooks, steps_among, without_steps
from jwpipe.interleaved import is_interleaved, run_parts
from jwpipe.params import Layer, peer_layer, resolve
from jwpipe.provenance import COMPLETE, SKIPPED, STATUS_KEYWORDS, record
from jwpipe.refs import References, select
from jwpipe.stage1.superstripes import stack
from jwpipe.state import bare
from jwpipe.step import AnyStep, CombiningStep, ExposureStep, Params, Step
from jwpipe.user_steps import Insertion, with_inserted

Keep = Callable[[str, xr.Dataset], None]
DONE = "done before"


@dataclass(frozen=True)
class Planned:
    """A step of a run: its parameters, and the reason to leave it out (``""`` if it runs)."""

    step: AnyStep
    params: Params
    reason: str

    @property
    def runs(self) -> bool:
        """Whether the step runs."""
        return not self.reason

    @property
    def is_missed(self) -> bool:
        """Whether it was switched on, being left out by default, and is left out nevertheless."""
        usual = type(self.params).model_fields["skip"].default
        return bool(usual) and not self.params.skip and self.reason not in ("", DONE)


@dataclass(frozen=True)
class Settings:
    """Where references come from, what parameters are set (lowest precedence first in ``layers``), steps put in.

    ``like_peer``: where a step differs by default from jwst 3.0.0, it does as that.
    """

    refs: tuple[Path, ...] = ()
    overrides: Mapping[str, str] = field(default_factory=dict)
    layers: tuple[Layer, ...] = ()
    crds: bool = True
    inserted: tuple[Insertion, ...] = ()
    like_peer: bool = False


@dataclass(frozen=True)
class Prepared:
    """An exposure with its planned steps and references: ready to become a graph."""

    exposure: xr.Dataset
    steps: tuple[Planned, ...]
    references: References


def prepare(
    pipeline: str, steps: Sequence[AnyStep], exposure: xr.Dataset, settings: Settings
) -> Prepared:
    """Choose parameters, references and the steps that run, from the header alone.

    Steps that the exposure has been through are left out, so that a pipeline goes on where a saved result stopped;
    a step alone (``pipeline`` is ``""``) runs since it was asked for. Steps given as hooks join the list.

    Raises
    ------
    ParameterError
        For unknown or forbidden parameters.
    jwpipe.refs.MissingReferences
        Listing every reference that no source has.
    """
    keywords = header(exposure)
    steps = with_inserted(steps, settings.inserted)
    archived = [peer_layer(steps)] if settings.like_peer else []
    found = crds_parameters(pipeline, steps, keywords, settings)
    layers = (*archived, *found, *settings.layers)
    parameters = resolve(pipeline, steps, layers)
    done = _done(exposure) if pipeline else set()
    planned = _plan(steps, parameters, keywords, done)
    needs = [(p, reference_types(p, at)) for p, at in planned]
    types = list(dict.fromkeys(t for _, wanted in needs for t in wanted))
    required = {t for p, wanted in needs for t in wanted if t not in p.step.optional_types}
    references = select(
        keywords,
        types,
        overrides={**settings.overrides, **_supplied([p for p, _ in planned])},
        folders=settings.refs,
        crds=settings.crds,
        optional=frozenset(types) - required,
    )
    final = tuple(
        _with_references(p, references if at is keywords else references.placed(at), at)
        for p, at in planned
    )
    return Prepared(stack(exposure), final, references)


def _plan(
    steps: Sequence[AnyStep],
    parameters: Mapping[str, Params],
    keywords: Header,
    done: AbstractSet[str],
) -> list[tuple[Planned, Header]]:
    """The steps with those among their hooks, each with the header that it will find."""
    planned = []
    for step in steps:
        here = list(_with_hooked_steps(step, parameters[step.name], keywords, done))
        planned += [(each, keywords) for each in here]
        if isinstance(step, ExposureStep) and step.becomes is not None:
            runs = any(each.runs for each in here if each.step is step)
            keywords = step.becomes(keywords) if runs else keywords
    return planned


def crds_parameters(
    pipeline: str, steps: Sequence[AnyStep], keywords: Header, settings: Settings
) -> list[Layer]:
    """The layers of the CRDS parameter files for an exposure, lowest precedence first."""
    from jwpipe.refs.pars import find_pars

    return find_pars(
        pipeline, [s.name for s in steps], keywords, folders=settings.refs, crds=settings.crds
    )


def _done(exposure: xr.Dataset) -> set[str]:
    """The steps that an exposure, not raw any more, has been through by its keywords."""
    keywords = header(exposure)
    raw = exposure.attrs.get("product") == "uncal"
    done = {step for step, word in STATUS_KEYWORDS.items() if keywords.get(word) == COMPLETE}
    kept = set() if "wcs" in exposure.attrs else {"assign_wcs"}
    return set() if raw else done - kept


def _with_hooked_steps(
    step: AnyStep, params: Params, keywords: Header, done: AbstractSet[str]
) -> Iterator[Planned]:
    """A step, before and after it the steps among its hooks."""
    yield from (_planned(each, each.params(), keywords) for each in steps_among(params.pre_hooks))
    own = without_steps(params)
    if step.name in done and not params.skip:
        yield Planned(step, own, DONE)
    else:
        yield _planned(step, own, keywords)
    yield from (_planned(each, each.params(), keywords) for each in steps_among(params.post_hooks))


def _planned(step: AnyStep, params: Params, keywords: Header) -> Planned:
    with _named(step):
        reason = "skip = true" if params.skip else step.applies(keywords, params)
    return Planned(step, params, reason)


@contextmanager
def _named(step: AnyStep) -> Iterator[None]:
    """Say which step it is that misses a keyword."""
    try:
        yield
    except MissingKeyword as error:
        raise MissingKeyword(error.filename, error.keyword, step.name) from None


def _supplied(planned: Sequence[Planned]) -> dict[str, str]:
    """Reference files that parameters of the steps name."""
    files: dict[str, str] = {}
    for each in planned:
        if each.runs and not isinstance(each.step, CombiningStep):
            files |= each.step.supplied(each.params)
    return files


def _with_references(planned: Planned, references: References, keywords: Header) -> Planned:
    """Leave a step out where a reference that it cannot do without is N/A or does not suit."""
    step, params = planned.step, planned.params
    if not planned.runs or isinstance(step, CombiningStep):
        return planned
    for kind in reference_types(planned, keywords):
        if kind not in step.optional_types and references[kind] is None:
            return Planned(step, params, f"reference {kind} is N/A")
    with _named(step):
        reason = step.unsuitable(references, keywords, params)
    return Planned(step, params, reason)


def reference_types(planned: Planned, keywords: Header) -> tuple[str, ...]:
    """The reference types that a planned step needs for an exposure: none where it does not run."""
    if not planned.runs:
        return ()
    if not isinstance(planned.step, CombiningStep) and planned.step.needs is not None:
        return planned.step.needs(keywords, planned.params)
    return planned.step.reference_types


def bind(planned: Planned, references: References, keywords: Header) -> Bound:
    """A pixel step with its keyword arguments and reference arrays for one exposure."""
    step = planned.step
    assert isinstance(step, Step)
    with _named(step):
        if step.prepare is not None:
            arrays = step.prepare(references, keywords, planned.params)
        else:
            arrays = tuple(_reference(references, ref) for ref in step.refs)
        values = step.keywords(keywords, planned.params)
        survey = step.survey(references, keywords, planned.params)
    return Bound(step, values, arrays, step.halo(planned.params), survey)


def _reference(references: References, ref: str) -> Any:
    kind, _, name = bare(ref).partition(".")
    file = references[kind]
    return None if file is None else file.array(name)


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
    with _named(planned.step):
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
