"""What a run will do, decided before anything runs, from headers alone.

``prepare`` says which steps apply and why not, with which parameters and reference files; ``bind`` gives a pixel step
its arguments for one exposure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import xarray as xr

from jwpipe.engine.chain import Bound
from jwpipe.engine.hooks import steps_among, without_steps
from jwpipe.engine.state import bare
from jwpipe.engine.user_steps import Insertion, with_inserted
from jwpipe.exposure import Header, MissingKeyword, header
from jwpipe.params import Layer, peer_layer, resolve
from jwpipe.provenance import COMPLETE, STATUS_KEYWORDS
from jwpipe.refs import References, select
from jwpipe.stage1.superstripes import stack
from jwpipe.step import AnyStep, CombiningStep, ExposureStep, Params, Step

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
    with named(step):
        reason = "skip = true" if params.skip else step.applies(keywords, params)
    return Planned(step, params, reason)


@contextmanager
def named(step: AnyStep) -> Iterator[None]:
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
    with named(step):
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
    with named(step):
        if step.prepare is not None:
            arrays = step.prepare(references, keywords, planned.params)
        else:
            arrays = tuple(_reference(references, ref) for ref in step.refs)
        values = step.keywords(keywords, planned.params)
        survey = step.survey(references, keywords, planned.params)
        carried = step.carries(keywords, planned.params)
    return Bound(step, values, arrays, step.halo(planned.params), survey, carried=carried)


def _reference(references: References, ref: str) -> Any:
    kind, _, name = bare(ref).partition(".")
    file = references[kind]
    return None if file is None else file.array(name)
