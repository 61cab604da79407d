"""What ``save_opt`` of ramp_fit leaves beside the rates: the fits of all segments, or the likelihood fit's chi^2."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import dask
import dask.array as da
import numpy as np
import xarray as xr

from jwpipe.exposure import header
from jwpipe.io.names import without_segment
from jwpipe.numerics.ramp_optional import Segments, count_segments, list_segments
from jwpipe.numerics.views import read_only
from jwpipe.refs import RefArray, References
from jwpipe.stage1.likelihood import fit_likely
from jwpipe.stage1.ramp_fit import RampFitParams, fit_ramps, kernel_keywords, set_up, survey_of
from jwpipe.stage1.void_groups import only_groups

READS = ("sci", "groupdq", "pixeldq", "zeroframe", "avdrkcur")
ORDER = (
    "slope",
    "sigslope",
    "var_poisson",
    "var_rnoise",
    "yint",
    "sigyint",
    "pedestal",
    "weights",
    "crmag",
)
UNITS = {"slope": "DN/s", "var_poisson": "(DN/s)^2", "var_rnoise": "(DN/s)^2"}
# Keywords of the SCI header that belong to the exposure rather than to its pixels begin so.
TIMES = ("MJD-", "TDB-", "XPOSURE", "TELAPSE", "REFFRAME")


def further_products(
    exposure: xr.Dataset, references: References, params: RampFitParams
) -> dict[str, xr.Dataset]:
    """``fitopt`` or ``likely_chisq`` of a ramp, lazily, as it is just before the fit.

    ``fitopt`` holds the fits of segments (integration, segment, y, x), the steps of jumps (integration, jump, y, x)
    and pedestals (integration, y, x), with more segments and jumps than there are: ``lengths`` among its attributes
    says, once computed, how many of them to keep.
    """
    keywords = header(exposure)
    rules = kernel_keywords(keywords, params)
    planes = [_reference(references, kind) for kind in ("gain", "readnoise")]
    blocks = _Blocks(exposure, planes)
    if rules.get("times"):
        made: dict[str, xr.Dataset] = {"likely_chisq": _chi_squared(exposure, blocks, rules)}
    else:
        rules.pop("covariance")
        survey = survey_of(references, keywords, params)
        void = None
        if survey is not None:
            parts = [dask.delayed(survey.rounds[0].part)((), each) for each in blocks.flags]
            void = dask.delayed(np.logical_and.reduce)(parts)
        frames = int(keywords["NFRAMES"])
        first = (frames + 1) / 2 + int(keywords.get("DRPFRMS1") or 0)
        share = first / (frames + int(keywords.get("GROUPGAP") or 0))
        made = {"fitopt": _segments(exposure, blocks, rules, void, share)}
    # Segments that are calibrated together have fits of their own, each under its own name.
    own = str(exposure.attrs.get("filename", ""))
    name = params.opt_name or (own if without_segment(own) != own else "")
    return {
        suffix: each.assign_attrs(product=suffix, saved_as={suffix: name} if name else {})
        for suffix, each in made.items()
    }


def _reference(references: References, kind: str) -> RefArray:
    file = references[kind]
    pixels = None if file is None else file.array("sci")
    assert pixels is not None
    return pixels


class _Blocks:
    """The blocks of an exposure along y and x, all integrations and groups of a pixel in one."""

    def __init__(self, exposure: xr.Dataset, references: Sequence[RefArray]) -> None:
        sci = da.asarray(exposure["sci"].data)
        self.chunks = sci.chunks[-2:]
        self.shape: tuple[int, ...] = sci.shape
        self.references = references
        arrays = {name: da.asarray(exposure[name].data) for name in READS if name in exposure}
        if "groupdq" not in arrays:
            arrays["groupdq"] = da.zeros(sci.shape, np.uint8, chunks=sci.chunks)
        if "pixeldq" not in arrays:
            arrays["pixeldq"] = da.zeros(sci.shape[-2:], np.uint32, chunks=self.chunks)
        cut = {
            name: array.rechunk((*((n,) for n in array.shape[:-2]), *self.chunks)).to_delayed()
            for name, array in arrays.items()
        }
        self.arrays = {name: blocks.reshape(blocks.shape[-2:]) for name, blocks in cut.items()}
        self.flags = self.arrays["groupdq"].ravel().tolist()

    def map(
        self,
        function: Callable[..., Any],
        kinds: Sequence[tuple[tuple[int, ...], type]],
        *more: Any,
    ) -> list[da.Array]:
        """Arrays of ``function(arrays, references, *more)`` of each block; ``kinds``: leading axes and types."""
        rows, columns = ([0, *np.cumsum(each).tolist()] for each in self.chunks)
        grids: list[list[list[da.Array]]] = [[] for _ in kinds]
        for r, height in enumerate(self.chunks[0]):
            lines: list[list[da.Array]] = [[] for _ in kinds]
            for c, width in enumerate(self.chunks[1]):
                region = slice(rows[r], rows[r + 1]), slice(columns[c], columns[c + 1])
                call = partial(_on_block, function, tuple(self.references), region)
                given = [self.arrays[name][r, c] if name in self.arrays else None for name in READS]
                results = dask.delayed(call, nout=len(kinds))(given, *more)
                for line, (axes, dtype), result in zip(lines, kinds, results, strict=True):
                    line.append(da.from_delayed(result, (*axes, height, width), dtype))
            for grid, line in zip(grids, lines, strict=True):
                grid.append(line)
        return [da.block(grid) for grid in grids]


def _on_block(
    function: Callable[..., Any],
    references: tuple[RefArray, ...],
    region: tuple[slice, slice],
    arrays: list[Any],
    *more: Any,
) -> Any:
    types = (np.float32, np.uint8, np.uint32, np.float32, np.float32)
    operands = [
        None if array is None else np.ascontiguousarray(array, dtype)
        for array, dtype in zip(arrays, types, strict=True)
    ]
    return function(operands, [each.read(*region) for each in references], *more)


def _chi_squared(exposure: xr.Dataset, blocks: _Blocks, rules: dict[str, Any]) -> xr.Dataset:
    (chi2,) = blocks.map(partial(chi_squared_of, **rules), [((), np.float32)])
    kept = exposure.drop_vars(list(exposure)).drop_attrs(deep=False)
    return kept.assign(sci=(("y", "x"), chi2)).assign_attrs({**exposure.attrs, "tables": {}})


def chi_squared_of(
    arrays: Sequence[Any], planes: Sequence[np.ndarray], *, times: Any, groups: Any
) -> tuple[np.ndarray]:
    """The chi^2 of the likelihood fits of a pixel's integrations, added (y, x)."""
    sci, groupdq, *others = arrays
    flags = groupdq if groups is None else only_groups(groupdq, *groups)
    return (fit_likely(sci, flags, *others, *planes, times=times)[0].chi2,)


def _segments(
    exposure: xr.Dataset, blocks: _Blocks, rules: dict[str, Any], void: Any, share: float
) -> xr.Dataset:
    integrations, groups = blocks.shape[:2]
    bounds = max(1, (groups + 1) // 2), max(1, groups - 1)
    sizes: dict[str, tuple[int, ...]] = {"crmag": (bounds[1],), "pedestal": ()}
    kinds = [
        ((integrations, *sizes.get(name, (bounds[0],))), np.float32) for name in Segments._fields
    ]
    fit = partial(segments_of, bounds=bounds, share=share, **rules)
    arrays = dict(zip(Segments._fields, blocks.map(fit, kinds, void), strict=True))
    count = partial(numbers_of, rules=rules)
    numbers = dask.delayed(largest)([dask.delayed(count)(each, void) for each in blocks.flags])
    axes: dict[str, tuple[str, ...]] = {"crmag": ("jump",), "pedestal": ()}
    dims = {name: ("integration", *axes.get(name, ("segment",)), "y", "x") for name in ORDER}
    times = {word: value for word, value in exposure.attrs["sci"].items() if word.startswith(TIMES)}
    variables = {name: (dims[name], arrays[name], {"units": UNITS.get(name, "")}) for name in ORDER}
    attrs = {name: value for name, value in exposure.attrs.items() if name != "wcs"}
    lengths = {"segment": numbers[0], "jump": numbers[1]}
    return xr.Dataset(variables, attrs=attrs | {"sci": times, "tables": {}, "lengths": lengths})


def largest(numbers: Sequence[tuple[int, int]]) -> np.ndarray:
    """The largest numbers of segments and of jumps among those of blocks."""
    found: np.ndarray = np.max(np.array(numbers), axis=0)
    return found


def numbers_of(
    groupdq: np.ndarray, void: np.ndarray | None, *, rules: dict[str, Any]
) -> tuple[int, int]:
    """The largest numbers of segments and of jumps in a ramp of a block."""
    blank, unit = np.empty(groupdq.shape, np.float32), np.ones(groupdq.shape[-2:], np.float32)
    setup = set_up((blank, groupdq, None), (unit, unit), void, **rules)
    found: tuple[int, int] = count_segments(setup.ramps.groupdq, setup.model.suppress)
    return found


def segments_of(
    arrays: Sequence[Any],
    planes: Sequence[np.ndarray],
    void: np.ndarray | None,
    *,
    bounds: tuple[int, int],
    share: float,
    **rules: Any,
) -> Segments:
    """The fits of all segments of a block, with room for ``bounds`` segments and jumps a ramp.

    As in the JWST calibration pipeline 3.0.0: ``sigslope`` and ``sigyint`` are per group and in electrons' noise, the
    pedestal is the first group less ``share`` of the slope (0 where the ramp is saturated or not fitted), the weight
    is the inverse read variance. Segments beyond a ramp's own are 0.
    """
    sci, groupdq, pixeldq, zeroframe, avdrkcur = arrays
    gain, readnoise = planes
    shape = pixeldq.shape
    setup = set_up((sci, groupdq, zeroframe), (gain, readnoise), void, **rules)
    slopes = fit_ramps(sci, groupdq, pixeldq, zeroframe, avdrkcur, gain, readnoise, void, **rules)[
        5
    ]
    dark = np.zeros(shape, np.float32) if avdrkcur is None else avdrkcur
    axes: dict[str, tuple[int, ...]] = {"crmag": (bounds[1],), "pedestal": ()}
    out = Segments(
        **{
            name: np.zeros((sci.shape[0], *axes.get(name, (bounds[0],)), *shape), np.float32)
            for name in Segments._fields
        }
    )
    given = read_only(slopes, gain, setup.noise, dark)
    list_segments(setup.ramps, setup.model, *given, share, out)
    return out
