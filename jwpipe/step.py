"""What a step is.

A *pixel step* is a pure array kernel plus this declaration. The kernel knows numpy and numba only: it gets
C-contiguous arrays, never writes into them, and returns a tuple of new arrays, one for each name in ``writes``.
The declaration says what the graph must know; ``engine/chain.py`` turns runs of pixel steps into one task per chunk.

An *exposure step* takes a lazy Dataset and gives a lazy Dataset back (assign_wcs, resample).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from jwpipe.exposure import Header

if TYPE_CHECKING:
    import xarray as xr

    from jwpipe.refs import References

Further: TypeAlias = Callable[[Any, Any], dict[str, Any]]
"""Makes further products by suffix of a lazy exposure (Dataset) and its references (`References`)."""


PEER = "jwst 3.0.0"
"""Key, in a field's ``json_schema_extra``, of the value that gives the numbers of that version where it is wrong."""


class Params(BaseModel):
    """Parameters of a step; field names and defaults are those of the JWST calibration pipeline."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    skip: bool = Field(False, description="leave the step out")
    save_results: bool = Field(
        False, description="write the result of this step as a product of its own"
    )
    pre_hooks: tuple[Any, ...] = Field(
        (), description="functions Dataset -> Dataset applied before the step"
    )
    post_hooks: tuple[Any, ...] = Field(
        (), description="functions Dataset -> Dataset applied after the step"
    )

    def own(self) -> dict[str, Any]:
        """The parameters that are this step's alone."""
        return {
            name: getattr(self, name)
            for name in type(self).model_fields
            if name not in Params.model_fields
        }


def _no_reason(header: Header, params: Any) -> str:
    return ""


def _suits(references: References, header: Header, params: Any) -> str:
    return ""


def _no_marks(references: References, header: Header, params: Any) -> dict[str, Any]:
    return {}


def _nothing_supplied(params: Any) -> dict[str, str]:
    return {}


def _no_frames(header: Header, params: Any) -> Look | None:
    return None


def _no_survey(references: References, header: Header, params: Any) -> Survey | None:
    return None


def _settled(header: Header, params: Any) -> Step | None:
    return None


def _no_further(params: Any) -> Further | None:
    return None


def _no_keywords(header: Header, params: Any) -> dict[str, Any]:
    return {}


def _no_extras(exposure: Any, references: References, params: Any) -> dict[str, Any]:
    return {}


def _no_halo(params: Any) -> int:
    return 0


def _nothing_carried(header: Header, params: Any) -> tuple[str, ...]:
    return ()


def carries_zeroframe(header: Header, params: Any) -> tuple[str, ...]:
    """``Step.carries`` of steps that correct the zero frame beside the groups, for itself alone."""
    return ("zeroframe",)


@dataclass(frozen=True)
class Border:
    """What a step needs from the edges of the frame before any tile can be corrected (reference pixels).

    ``reduce(sides, *references, **keywords)`` gets ``sides[name][variable]`` for the names in ``sides``: arrays cut
    ``width`` pixels wide along that edge, as they are just before the step; references are not cut. It returns a
    tuple of small arrays with dimensions ``dims`` (one tuple of names each); the kernel receives them, cut to its
    rows, as its last positional arguments.
    """

    width: int
    reduce: Callable[..., tuple[np.ndarray, ...]]
    dims: tuple[tuple[str, ...], ...]
    sides: tuple[str, ...] = ("bottom", "top", "left", "right")


@dataclass(frozen=True)
class Round:
    """One look at all pixels of an exposure, strip by strip, wherever the strips are.

    ``part(found, *arrays, *references)`` makes something small of a strip, ``merge(one, other)`` joins neighbours,
    the upper rows first, and ``finish(found, merged)`` gives what the next round finds as ``found``. ``integrations``
    are the first one that is looked at, and the one after the last.
    """

    part: Callable[..., Any]
    merge: Callable[[Any, Any], Any]
    finish: Callable[[Any, Any], Any]
    integrations: tuple[int, int] | None = None


@dataclass(frozen=True)
class Survey:
    """What a step must know of all pixels of an exposure before any can be corrected: few numbers, found in rounds.

    ``found`` is ``()`` in the first round; the kernel receives that of the last as its last positional argument.
    ``reads`` names the arrays, as they are just before the step; ``references`` are as ``Step.prepare`` gives them.
    Steps named in ``without`` bear on nothing that is looked at, and do not run for it.
    """

    reads: tuple[str, ...]
    rounds: tuple[Round, ...]
    references: tuple[Any, ...] = ()
    without: tuple[str, ...] = ()


def _nothing_joined(flags: np.ndarray, left: np.ndarray) -> None:
    """Integrations leave nothing to the next."""


@dataclass(frozen=True)
class Look:
    """A look at whole frames of group flags, one integration after the other.

    ``find(flags)`` gets those of an integration (g, y, x), uint8, into which it may write, and returns new ones and
    what it leaves to the next integration: an array (y, x), uint8, or ``None``. ``join(flags, left)`` writes that
    into the flags (g, y, x) of the next integration, pixel by pixel.
    """

    find: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]]
    join: Callable[[np.ndarray, np.ndarray], None] = _nothing_joined


@dataclass(frozen=True, eq=False)
class Step:
    """A pixel step: ``kernel(*reads, *references, *border, **keywords) -> tuple of writes``.

    ``reads`` and ``writes`` are variable names; a trailing ``?`` marks one that may be absent (the kernel gets
    ``None`` for it and returns ``None``). Missing ``groupdq`` and ``pixeldq`` arrive as zeros.
    ``refs`` are ``"type.variable"``: arrays of reference files, cut to the rows at hand; ``?`` as above.
    ``keywords(header, params)`` gives the kernel's keyword arguments: scalars, resolved once per exposure.
    ``applies(header, params)`` gives the reason to skip the step for this exposure, or ``""``;
    ``unsuitable(references, header, params)`` likewise, once the references are chosen.
    ``needs(header, params)`` gives those reference types that an exposure needs, where that depends on what it is.
    ``halo(params)`` is the number of neighbouring rows that the kernel looks at.
    ``supplied(params)`` names reference files that parameters stand for, by type (``user_supplied_flat``).
    ``marks(references, header, params)`` gives keywords that the step leaves in the primary header, where later
    steps and users find them.
    ``prepare(references, header, params)`` replaces ``refs`` by arguments of its own making, where
    a reference must be transformed first (the dark averaged to the read pattern); pixel arrays
    among them are ``RefArray``.
    ``frames(header, params)`` gives a look at whole frames of the group flags that the kernel made (events larger
    than any halo); ``None`` where there is none.
    ``settle(header, params)`` gives a step that takes the place of this one after that look, where flags of whole
    frames need the pixels once more; it is bound with this step's parameters and references.
    ``survey(references, header, params)`` says what the kernel must know of the whole exposure, or ``None``.
    ``carries(header, params)`` names optional variables that bear on nothing else that the kernel gives: where nobody
    has a use for them in the end the kernel gets ``None``, and they are not even read.
    ``apart``: the kernel treats each integration by itself, so that it may get some of them at a time. Arrays
    without integrations (``pixeldq``) must come out alike whichever they are, or be flags, which are joined.
    ``numbered``: the kernel takes the keyword ``first``, to which the place of the first integration at hand among
    those of the exposure is added (0 where ``keywords`` does not give it).
    ``cuts``: the kernel takes the keyword ``rows``, a slice of the rows at hand, and gives these alone: rows of a halo
    that nobody looks at any more are left out while it copies.
    ``whole_rows``: the kernel needs all columns of a row, also in series so long that blocks are cut along columns.
    ``further(params)`` gives a function (exposure just before the step, references) -> further products by suffix, or
    ``None`` where none are asked for.
    """

    name: str
    kernel: Callable[..., tuple[np.ndarray | None, ...]]
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    refs: tuple[str, ...] = ()
    params: type[Params] = Params
    keywords: Callable[[Header, Any], dict[str, Any]] = _no_keywords
    applies: Callable[[Header, Any], str] = _no_reason
    halo: Callable[[Any], int] = _no_halo
    needs: Callable[[Header, Any], tuple[str, ...]] | None = None
    unsuitable: Callable[[References, Header, Any], str] = _suits
    supplied: Callable[[Any], dict[str, str]] = _nothing_supplied
    marks: Callable[[References, Header, Any], dict[str, Any]] = _no_marks
    prepare: Callable[[References, Header, Any], tuple[Any, ...]] | None = None
    border: Border | None = None
    frames: Callable[[Header, Any], Look | None] = _no_frames
    settle: Callable[[Header, Any], Step | None] = _settled
    survey: Callable[[References, Header, Any], Survey | None] = _no_survey
    carries: Callable[[Header, Any], tuple[str, ...]] = _nothing_carried
    apart: bool = False
    numbered: bool = False
    cuts: bool = False
    whole_rows: bool = False
    further: Callable[[Any], Further | None] = _no_further

    @property
    def reference_types(self) -> tuple[str, ...]:
        """The reference types of this step, each once, in order."""
        return tuple(dict.fromkeys(ref.split(".")[0] for ref in self.refs))

    @property
    def optional_types(self) -> frozenset[str]:
        """Reference types without which the step still runs."""
        required = {ref.split(".")[0] for ref in self.refs if not ref.endswith("?")}
        return frozenset(self.reference_types) - required


@dataclass(frozen=True, eq=False)
class ExposureStep:
    """A step on whole lazy exposures: ``function(exposure, references, params) -> exposure``.

    ``needs(header, params)`` gives those of ``refs`` that an exposure needs, where that depends on what it is.
    ``unsuitable`` and ``supplied`` are as those of a `Step`.
    ``becomes(header)`` gives the header after the step, where it changes what later steps go by (the place on the
    detector, the number of groups).
    ``draft``: with a ramp, ``function`` also gets the products of this pixel step run with its defaults
    (``rate.sci``), which are gone afterwards.
    ``extras(exposure, references, params)``, which gets the same, makes further products by suffix, where the
    parameters ask for them.
    """

    name: str
    function: Callable[[xr.Dataset, References, Any], xr.Dataset]
    refs: tuple[str, ...] = ()
    params: type[Params] = Params
    applies: Callable[[Header, Any], str] = _no_reason
    optional_types: frozenset[str] = field(default_factory=frozenset)
    needs: Callable[[Header, Any], tuple[str, ...]] | None = None
    unsuitable: Callable[[References, Header, Any], str] = _suits
    supplied: Callable[[Any], dict[str, str]] = _nothing_supplied
    becomes: Callable[[Header], Header] | None = None
    draft: Step | None = None
    extras: Callable[[xr.Dataset, References, Any], dict[str, xr.Dataset]] = _no_extras

    @property
    def reference_types(self) -> tuple[str, ...]:
        """The reference types of this step."""
        return self.refs


@dataclass(frozen=True, eq=False)
class CombiningStep:
    """A step on many exposures together; ``mosaic.py`` calls its functions, here is what users see of it."""

    name: str
    params: type[Params]
    reference_types: tuple[str, ...] = ()
    optional_types: frozenset[str] = frozenset()
    applies: Callable[[Header, Any], str] = _no_reason


AnyStep = Step | ExposureStep | CombiningStep
