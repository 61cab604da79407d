"""A user's own steps: plain numpy functions on one chunk of pixels, put before or after any step by its name.

    from jwpipe import chunk_step

    @chunk_step(whole_rows=True)
    def destripe(sci, groupdq, *, limit: float = 3.0):
        ...
        return sci - levels

    jwpipe.detector1(ramps, refs="refs", insert={"after:linearity": destripe})
    # jwpipe run detector1 ramps --insert after:linearity=destripe.py:destripe --set destripe.limit=5

The function runs within the tasks of the steps around it, on every machine of a cluster: it travels there with its
globals, so that its file need be nowhere but here. Its positional arguments name variables, its keyword-only
arguments with defaults are the step's parameters.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
from pydantic import create_model

from jwpipe.exposure import RAMP_VARIABLES, RATE_VARIABLES, ExposureError, Header
from jwpipe.params import ParameterError, nearest
from jwpipe.refs import References
from jwpipe.refs.files import RefFile
from jwpipe.refs.placement import science_placement
from jwpipe.step import AnyStep, ExposureStep, Params, Step

SIDES = ("before", "after")
Function = Callable[..., Any]


@dataclass(frozen=True)
class Insertion:
    """A step to put ``before`` or ``after`` (``side``) the one named ``anchor``."""

    side: str
    anchor: str
    step: Step | ExposureStep


def chunk_step(
    function: Function | None = None,
    *,
    reads: Sequence[str] | None = None,
    writes: Sequence[str] = ("sci",),
    planes: Mapping[str, str | Path] | None = None,
    halo: int = 0,
    apart: bool = False,
    whole_rows: bool = False,
    name: str = "",
) -> Any:
    """Make a step of a function on numpy arrays; also a decorator.

    Parameters
    ----------
    function
        Gets the variables ``reads``, then the ``planes``, and its parameters as keywords; returns one new array for
        each of ``writes``, of the same shape. It must not write into what it gets. Ramps are (integration, group, y,
        x), rates of integrations (integration, y, x), images and flags of pixels (y, x).
    reads
        Variables of the exposure (``sci``, ``groupdq``, ``pixeldq`` of ramps; ``sci``, ``err``, ``dq`` ... of rates);
        default: the positional arguments of the function that are no planes. A trailing ``?`` marks one that may be
        absent, and is ``None`` then.
    planes
        FITS files by argument: their SCI images of the whole detector (or the exposure's subarray) are cut to the
        chunk.
    halo
        Neighbouring pixels that the function looks at; as many are in its arrays on each side, but at the frame's
        edges, and are cut off from what it returns.
    apart
        The function treats each integration by itself, so that it may get some of them at a time.
    whole_rows
        The function needs all columns of a row, also in series so long that chunks are cut along the columns.
    """
    if function is None:
        return partial(
            chunk_step, reads=reads, writes=writes, planes=planes, halo=halo, apart=apart,
            whole_rows=whole_rows, name=name,
        )  # fmt: skip
    positional, keywords = _arguments(function)
    files = {key: str(path) for key, path in (planes or {}).items()}
    names = tuple(reads) if reads else tuple(each for each in positional if each not in files)
    own = name or function.__name__
    kernel = ChunkFunction(own, function, names, tuple(writes))
    return ChunkStep(
        own,
        kernel,
        names,
        tuple(writes),
        params=create_model(f"{own}_params", __base__=Params, **keywords),
        keywords=_own_parameters,
        halo=lambda params: halo,
        prepare=partial(_planes, own, tuple(files.values())),
        apart=apart,
        whole_rows=whole_rows,
    )


@dataclass(frozen=True, eq=False)
class ChunkStep(Step):
    """A step made of a user's function. To other machines goes what the tasks need of it."""

    def __reduce__(self) -> tuple[Any, ...]:
        needed = partial(Step, apart=self.apart, whole_rows=self.whole_rows)
        return needed, (self.name, self.kernel, self.reads, self.writes)


def _arguments(function: Function) -> tuple[list[str], dict[str, Any]]:
    """The positional arguments of a function, and type and default of those that are keywords only."""
    found = inspect.signature(function, eval_str=True).parameters.values()
    positional = [p.name for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    keywords = {}
    for each in found:
        if each.kind is not each.KEYWORD_ONLY:
            continue
        if each.default is each.empty:
            raise ParameterError(f"{function.__name__}: {each.name} needs a default value")
        kind = type(each.default) if each.annotation is each.empty else each.annotation
        keywords[each.name] = (kind, each.default)
    return positional, keywords


def _own_parameters(header: Header, params: Params) -> dict[str, Any]:
    return params.own()


def _planes(
    name: str, files: tuple[str, ...], references: References, header: Header, params: Params
) -> tuple[Any, ...]:
    """The images of files, cut to the exposure."""
    found = []
    for path in files:
        image = RefFile(path, "flat", "user", science_placement(header)).array("sci")
        if image is None:
            raise ExposureError(f"{header.filename}: {name}: {path}: no SCI image; give one")
        found.append(image)
    return tuple(found)


@dataclass(frozen=True, eq=False)
class ChunkFunction:
    """The kernel that a user's function makes: it checks what comes back, and travels with all that it needs."""

    name: str
    function: Function
    reads: tuple[str, ...]
    writes: tuple[str, ...]

    def __call__(self, *operands: Any, **keywords: Any) -> tuple[np.ndarray, ...]:
        """Call the function on read-only arrays.

        Raises
        ------
        ExposureError
            Where it returns something else than new arrays of the same shapes.
        """
        seen = [_guarded(operand) for operand in operands]
        returned = self.function(*seen, **keywords)
        results = returned if isinstance(returned, tuple) else (returned,)
        if len(results) != len(self.writes):
            raise ExposureError(
                f"{self.name}: {len(results)} arrays returned, expected {len(self.writes)}: {', '.join(self.writes)}"
            )
        given = {key.rstrip("?"): each for key, each in zip(self.reads, seen, strict=False)}
        return tuple(
            self._checked(key, result, given.get(key.rstrip("?")))
            for key, result in zip(self.writes, results, strict=True)
        )

    def _checked(self, name: str, result: Any, like: np.ndarray | None) -> np.ndarray:
        if like is not None and np.shape(result) != like.shape:
            raise ExposureError(
                f"{self.name}: {name} came back with shape {np.shape(result)}, expected {like.shape}"
            )
        if like is not None:
            return np.array(result, like.dtype, order="C")
        known = RAMP_VARIABLES.get(name) or RATE_VARIABLES.get(name)
        return np.array(result, known.dtype if known else None, order="C")

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (self.name, pickled(self.function), self.reads, self.writes)

    def __dask_tokenize__(self) -> tuple[Any, ...]:
        return "ChunkFunction", pickled(self.function), self.reads, self.writes


def _unpickled(name: str, function: bytes, *names: tuple[str, ...]) -> ChunkFunction:
    return ChunkFunction(name, cloudpickle.loads(function), *names)


def _guarded(operand: Any) -> Any:
    if not isinstance(operand, np.ndarray):
        return operand
    view = operand.view()
    view.flags.writeable = False
    return view


def pickled(function: Function) -> bytes:
    """The function with the globals that it uses, whether or not its module can be imported elsewhere."""
    module = inspect.getmodule(function)
    if module is None or module.__name__ == "__main__" or not _is_users(module):
        return cloudpickle.dumps(function)
    cloudpickle.register_pickle_by_value(module)
    try:
        return cloudpickle.dumps(function)
    finally:
        cloudpickle.unregister_pickle_by_value(module)


def _is_users(module: Any) -> bool:
    """Whether a module is one of the user's own, not an installed package."""
    path = str(getattr(module, "__file__", None) or "")
    return module.__name__ in sys.modules and "site-packages" not in path


def insertions(given: Mapping[str, Any] | Sequence[str]) -> tuple[Insertion, ...]:
    """The steps that are to be put in: ``{"after:linearity": function}``, or ``after:linearity=file.py:function``.

    Values are functions, steps, ``file.py:function`` or ``module:function``, or lists of these.

    Raises
    ------
    ParameterError
        For what cannot be meant.
    """
    if not isinstance(given, Mapping):
        pairs = [text.partition("=") for text in given]
        for text, (place, equals, what) in zip(given, pairs, strict=True):
            if not (place and equals and what):
                raise ParameterError(f"--insert {text!r}: expected after:STEP=FILE.py:FUNCTION")
        items: list[tuple[str, Any]] = [(place, what) for place, _, what in pairs]
    else:
        items = [
            (place, each)
            for place, what in given.items()
            for each in (what if isinstance(what, list | tuple) else [what])
        ]
    return tuple(_insertion(place, what) for place, what in items)


def _insertion(place: str, what: Any) -> Insertion:
    side, colon, anchor = place.partition(":")
    if side not in SIDES or not colon or not anchor:
        raise ParameterError(f"{place!r}: expected before:STEP or after:STEP")
    found = _loaded(what) if isinstance(what, str) else what
    step = found if isinstance(found, Step | ExposureStep) else chunk_step(found)
    return Insertion(side, anchor, step)


def _loaded(text: str) -> Any:
    """The function or step of ``file.py:function`` or ``module:function``."""
    origin, colon, attribute = text.rpartition(":")
    if not colon:
        raise ParameterError(f"{text!r}: expected FILE.py:FUNCTION or MODULE:FUNCTION")
    try:
        module = (
            _of_file(Path(origin)) if origin.endswith(".py") else importlib.import_module(origin)
        )
        return getattr(module, attribute)
    except (ImportError, AttributeError, OSError, SyntaxError) as error:
        raise ParameterError(
            f"{text!r}: {error}; expected FILE.py:FUNCTION or MODULE:FUNCTION"
        ) from None


def _of_file(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def with_inserted(steps: Sequence[AnyStep], inserted: Sequence[Insertion]) -> list[AnyStep]:
    """The steps with those put in that name one of them; several at one place stay in their order."""
    result: list[AnyStep] = []
    for step in steps:
        here = [each for each in inserted if each.anchor == step.name]
        result += [each.step for each in here if each.side == "before"]
        result.append(step)
        result += [each.step for each in here if each.side == "after"]
    return result


def check_insertions(inserted: Sequence[Insertion], known: Sequence[str]) -> None:
    """Refuse places that no pipeline of the run has, and names that are taken.

    Raises
    ------
    ParameterError
        Naming the nearest step.
    """
    for each in inserted:
        if each.anchor not in known:
            hint = nearest(each.anchor, known)
            raise ParameterError(f"{each.side}:{each.anchor}: no such step in this run; {hint}")
        if each.step.name in known:
            raise ParameterError(f"{each.step.name}: a step of this name is there; rename yours")
