"""What a run is asked to do: the words of the command line, checked and resolved, before any file is opened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from jwpipe.engine.hooks import import_function
from jwpipe.engine.preparing import Settings
from jwpipe.engine.user_steps import Insertion, check_insertions, insertions, with_inserted
from jwpipe.exposure import Header
from jwpipe.exptypes import GUIDER as GUIDE_STARS
from jwpipe.io.save import Format
from jwpipe.params import (
    Layer,
    ParameterError,
    check_steps,
    from_file,
    from_settings,
    nearest,
    resolve,
)
from jwpipe.pipelines import PIPELINES
from jwpipe.refs.keywords import KNOWN_TYPES
from jwpipe.step import AnyStep

MOSAIC = "image3"
ORDER = ("detector1", "image2", MOSAIC)
ALSO_RATES = frozenset({"picture_frame", "clean_flicker_noise"})
"""Steps of stage 1 that take count rates as well as ramps."""
"""Pipelines that follow each other; the others stand alone."""


@dataclass(frozen=True)
class Request:
    """One run. ``single`` is the step's name where a step alone is run, and ``pipelines`` has its pipeline then.

    ``whole``: the files of an exposure in segments are worked on, and written, as one exposure.
    """

    pipelines: tuple[str, ...]
    single: str
    inputs: tuple[str, ...]
    output: Path
    settings: Settings
    save: frozenset[str] = frozenset()
    form: Format = "fits"
    resume: bool = False
    whole: bool = False

    @property
    def per_exposure(self) -> tuple[str, ...]:
        """The pipelines that work on single exposures."""
        return tuple(name for name in self.pipelines if name != MOSAIC)

    @property
    def combines(self) -> bool:
        """Whether exposures are worked on together."""
        return MOSAIC in self.pipelines and not self.lists_sources

    @property
    def lists_sources(self) -> bool:
        """Whether mosaics are given, to list their sources."""
        return self.single == "source_catalog"

    @property
    def takes(self) -> tuple[str, ...]:
        """The products that the run starts from, best first."""
        if self.lists_sources:
            return ("i2d",)
        if self.single == "gain_scale":
            return PIPELINES["image2"].inputs
        if self.single in ALSO_RATES:
            return (*PIPELINES["image2"].inputs, "ramp")
        first = self.pipelines[0]
        return ("cal",) if first == MOSAIC else PIPELINES[first].inputs


def all_steps() -> dict[str, tuple[AnyStep, ...]]:
    """The steps of each pipeline, in order; of stage 1 those of all detectors together."""
    from jwpipe.stage1 import GUIDER, MIRI, NEAR_INFRARED, STRIPED, before_dark
    from jwpipe.stage2 import IMAGE
    from jwpipe.stage2.flat_field_guider import flat_field_guider
    from jwpipe.stage3 import IMAGE3

    ramps = _merged(_merged(NEAR_INFRARED, STRIPED), MIRI)
    return {
        "detector1": ramps,
        "image2": IMAGE,
        MOSAIC: IMAGE3,
        "dark": before_dark(ramps),
        "guider": (*GUIDER, flat_field_guider),
    }


def _merged(steps: Sequence[AnyStep], more: Sequence[AnyStep]) -> tuple[AnyStep, ...]:
    """``steps``, and after its predecessor each of ``more`` whose name is not yet there."""
    merged = list(steps)
    for before, step in pairwise(more):
        names = [each.name for each in merged]
        if step.name not in names:
            merged.insert(names.index(before.name) + 1, step)
    return tuple(merged)


def step_names() -> dict[str, list[str]]:
    """The names of the steps of each pipeline, in order."""
    return {name: [step.name for step in steps] for name, steps in all_steps().items()}


def find_step(name: str, keywords: Header) -> AnyStep:
    """A step of the pipelines on single exposures, by its name: as it is for the exposure's detector.

    Raises
    ------
    ParameterError
        With the nearest valid name.
    """
    from jwpipe.stage1 import INTERLEAVED, MIRI, STRIPED
    from jwpipe.stage1.refpix_irs2 import is_irs2

    pipelines = all_steps()
    homes = ("guider", "dark", "image2", "detector1")
    if keywords.get("EXP_TYPE") in GUIDE_STARS:
        homes = homes[::-1]
    known = {step.name: step for home in homes for step in pipelines[home]}
    if keywords.get("INSTRUME") == "MIRI":
        known |= {step.name: step for step in MIRI}
    if is_irs2(keywords):
        known |= {step.name: step for step in INTERLEAVED}
    if keywords.get("MSTR_RD1") is not None:
        known |= {step.name: step for step in STRIPED}
    if name not in known:
        raise ParameterError(f"no step {name!r} to run alone; {nearest(name, known)}")
    return known[name]


def parse_pipelines(text: str) -> tuple[tuple[str, ...], str]:
    """The pipelines that ``text`` names, or the pipeline of one step and that step (``jump``, ``image3.resample``).

    A step that several pipelines have is the first one's, unless its pipeline is named.

    Raises
    ------
    ParameterError
        For unknown names and for pipelines out of order.
    """
    names = [part.strip().removeprefix("calwebb_") for part in text.split(",")]
    steps = {step: (home,) for home, own in reversed(step_names().items()) for step in own}
    for home, own in step_names().items():
        steps |= {f"{home}.{step}": (home,) for step in own}
    if len(names) == 1 and names[0] in steps:
        return steps[names[0]], names[0].rpartition(".")[2]
    known = [*ORDER, *(name for name in PIPELINES if name not in ORDER)]
    for name in names:
        if name not in known:
            hint = nearest(name, [*known, *(step for step in steps if "." not in step)])
            raise ParameterError(f"no pipeline or step {name!r}; {hint}")
    if len(names) == 1:
        return tuple(names), ""
    if alone := [name for name in names if name not in ORDER]:
        raise ParameterError(f"pipelines {text!r}: {alone[0]} stands alone; run it by itself")
    places = [ORDER.index(name) for name in names]
    if places != list(range(places[0], places[0] + len(places))):
        raise ParameterError(
            f"pipelines {text!r} do not follow each other; the order is {', '.join(ORDER)}"
        )
    return tuple(names), ""


def _overrides(texts: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        kind, equals, path = text.partition("=")
        if not (kind and equals and path):
            raise ParameterError(f"--override {text!r}: expected TYPE=FILE or TYPE=N/A")
        kind = kind.strip().lower()
        if kind not in KNOWN_TYPES and not kind.startswith("pars-"):
            raise ParameterError(
                f"--override {text!r}: no such reference type; {nearest(kind, KNOWN_TYPES)}"
            )
        if path.upper() != "N/A" and not Path(path).is_file():
            raise ParameterError(
                f"--override {text!r}: no such file; check the name, or N/A to do without"
            )
        pairs[kind] = path
    return pairs


def _folders(names: Sequence[str | Path]) -> tuple[Path, ...]:
    for name in names:
        if not Path(name).is_dir():
            raise ParameterError(
                f"--refs {name}: no such folder; give one that holds reference files"
            )
    return tuple(Path(name) for name in names)


def _check_parameters(
    pipelines: Sequence[str], single: str, layers: Sequence[Layer], inserted: Sequence[Insertion]
) -> None:
    """Refuse what no exposure could be run with: unknown parameters, forbidden values, hooks that are not there."""
    steps = all_steps()
    for name in pipelines:
        own = [step for step in steps[name] if not single or step.name == single]
        own = with_inserted(own, inserted)
        for params in resolve("" if single else name, own, layers).values():
            for hook in (*params.pre_hooks, *params.post_hooks):
                if isinstance(hook, str):
                    import_function(hook)


def request_of(
    pipeline: str,
    inputs: Sequence[str],
    *,
    output: str | Path = ".",
    refs: Sequence[str | Path] = (),
    overrides: Sequence[str] = (),
    sets: Sequence[str] = (),
    skip: Sequence[str] = (),
    params: Sequence[str | Path] = (),
    save: Sequence[str] = (),
    form: Format = "fits",
    steps: Layer | None = None,
    resume: bool = False,
    insert: Mapping[str, Any] | Sequence[str] = (),
    like_peer: bool = False,
    whole: bool = False,
) -> Request:
    """The request that these words stand for.

    Raises
    ------
    ParameterError
        For anything that cannot be meant, with the nearest valid word.
    """
    pipelines, single = parse_pipelines(pipeline)
    known = _known_steps(pipelines, single)
    inserted = insertions(insert)
    check_insertions(inserted, sorted(known))
    known |= {each.step.name for each in inserted}
    layers = [_of_this_run(from_file(Path(path)), known, path) for path in params]
    layers.append(from_settings(sets))
    layers.append({name: {"skip": True} for name in skip})
    layers.append(steps or {})
    check_steps(layers, known)
    check_steps([{name: {} for name in save}], known if single else {*known, *pipelines})
    _check_parameters(pipelines, single, layers, inserted)
    if "://" in str(output):
        raise ParameterError(f"-o {output}: products are written to local or shared folders")
    if Path(output).exists() and not Path(output).is_dir():
        raise ParameterError(f"-o {output}: a file; expected a folder for the products")
    settings = Settings(
        _folders(refs),
        _overrides(overrides),
        tuple(layers),
        inserted=inserted,
        like_peer=like_peer,
    )
    kept = frozenset(save)
    place = Path(output)
    return Request(pipelines, single, tuple(inputs), place, settings, kept, form, resume, whole)


def _of_this_run(layer: Layer, known: set[str], path: str | Path) -> Layer:
    """A CRDS parameter file names steps of all instruments: those that this run has."""
    if Path(path).suffix != ".asdf":
        return layer
    return {step: values for step, values in layer.items() if step in known}


def _known_steps(pipelines: Sequence[str], single: str) -> set[str]:
    if single:
        return {single}
    names = step_names()
    plain = {step for pipeline in pipelines for step in names[pipeline]}
    return plain | {f"{pipeline}.{step}" for pipeline in pipelines for step in names[pipeline]}
