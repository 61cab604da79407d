"""The ASDF extension of a product: the gwcs, metadata without a keyword, and the provenance."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any, cast

import numpy as np

from jwpipe.exposure import ExposureError
from jwpipe.io.keywords import array_paths, metadata, put, without_keywords
from jwpipe.io.pickling import TAG, let_transforms_pickle

STANDARD = "1.6.0"
ANY_NDARRAY = "tag:stsci.edu:asdf/core/ndarray-"
NDARRAY = f"{ANY_NDARRAY}1.1.0"
OWN = "jwpipe"
_MARKS = (b"gwcs/wcs-", b"\njwpipe:", b"read_times:")
_MADE_ANEW = ("asdf_library", "history", "_fits_hash", "extra_fits", OWN)


@dataclass(frozen=True)
class Tree:
    """What opening takes out of the tree; the rest waits, as bytes, until the product is written again."""

    wcs: Any = None
    history: list[dict[str, Any]] = field(default_factory=list)
    read_times: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True)
class Array:
    """An array that lives in an extension of the same file."""

    extension: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def read_tree(raw: bytes, where: str) -> Tree:
    """The gwcs, the history and the times of reads in the ASDF extension ``raw``; without them it is not parsed."""
    if not any(mark in raw for mark in _MARKS):
        return Tree()
    tree = parse(raw, where)
    # A product of slits with one slit only is an exposure like any other.
    slits = tree.get("slits", [])
    meta = slits[0].get("meta", {}) if len(slits) == 1 else tree.get("meta", {})
    times = meta.get("exposure", {}).get("read_times")
    reads = () if times is None else tuple(tuple(map(float, each)) for each in np.asarray(times))
    return Tree(meta.get("wcs"), list(tree.get(OWN, {}).get("history", [])), reads)


def parse(raw: bytes, where: str) -> dict[str, Any]:
    """The whole tree as Python objects; arrays that live in other extensions stay references."""
    import asdf

    if TAG in raw:
        let_transforms_pickle()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", asdf.exceptions.AsdfWarning)
            with asdf.open(io.BytesIO(raw), lazy_load=False, memmap=False) as file:
                return dict(file.tree)
    except Exception as error:
        raise ExposureError(
            f"{where}: its ASDF extension cannot be read ({error}); the file is damaged or needs a newer asdf or gwcs"
        ) from error


def rest_of_tree(raw: bytes, model: str, where: str) -> dict[str, Any]:
    """What stands nowhere else: not in keywords, not in extensions, not the gwcs."""
    return without_keywords(_stored(raw, where), model) if raw else {}


# The products of an exposure, rate and rateints, are written one after the other.
@lru_cache(maxsize=2)
def _stored(raw: bytes, where: str) -> dict[str, Any]:
    """What the tree holds itself, but for the gwcs."""
    tree = {
        k: v for k, v in parse(raw, where).items() if k not in _MADE_ANEW and not is_elsewhere(v)
    }
    return tree | {"meta": {k: v for k, v in tree.get("meta", {}).items() if k != "wcs"}}


def is_elsewhere(node: Any) -> bool:
    """Whether a node is an array in another extension: its source is a text, left unread or in an array."""
    if str(getattr(node, "_tag", "")).startswith(ANY_NDARRAY):
        return isinstance(node.get("source"), str)
    return isinstance(getattr(node, "_source", None), str)


def write_tree(
    model: str,
    headers: Mapping[str, Mapping[str, Any]],
    attrs: Mapping[str, Any],
    arrays: list[Array],
) -> bytes:
    """The content of the ASDF extension of a product with these headers and arrays."""
    tree = rest_of_tree(attrs.get("asdf", b""), model, str(attrs.get("filename", "")))
    merge(tree, metadata(model, headers))
    if attrs.get("wcs") is not None:
        tree.setdefault("meta", {})["wcs"] = attrs["wcs"]
    if attrs.get("read_times"):
        times = [list(each) for each in attrs["read_times"]]
        put(tree, ("meta", "exposure", "read_times"), times)
    if attrs.get("history"):
        tree[OWN] = {"history": list(attrs["history"])}
    names = array_paths(model)
    for array in arrays:
        tree[names.get(array.extension, array.extension.lower())] = reference_to(array)
    return dump(tree)


def dump(tree: dict[str, Any]) -> bytes:
    """``tree`` as an ASDF file.

    A tree of plain values, without a gwcs, is YAML that needs no validation by schemas: that takes as long as ten
    million pixels of a step. Arrays are compressed: maps of slices are megabytes of few different numbers.
    """
    from yaml.representer import RepresenterError

    try:
        return b"%b%b...\n" % (_preamble().removesuffix(b"...\n"), _plain(tree))
    except RepresenterError:
        return _asdf(tree)


def _asdf(tree: dict[str, Any]) -> bytes:
    import asdf

    buffer = io.BytesIO()
    asdf.AsdfFile(tree, version=STANDARD).write_to(buffer, all_array_compression="zlib")
    return buffer.getvalue()


@cache
def _preamble() -> bytes:
    """What ASDF writes of itself before any tree."""
    return _asdf({})


def _plain(tree: dict[str, Any]) -> bytes:
    """``tree`` as YAML.

    Raises
    ------
    yaml.representer.RepresenterError
        It holds other things than texts, numbers, lists, dictionaries and references to arrays.
    """
    import yaml

    return yaml.dump(tree, Dumper=_dumper(), encoding="utf-8", allow_unicode=True, sort_keys=False)


@cache
def _dumper() -> type:
    """A writer of YAML that knows references to arrays."""
    import yaml
    from asdf.tagged import TaggedDict

    # What is mentioned twice is written twice.
    base = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    dumper: Any = type("Dumper", (base,), {"ignore_aliases": lambda *_: True})
    dumper.add_representer(
        TaggedDict, lambda writer, node: writer.represent_mapping(node._tag, dict(node))
    )
    return cast("type", dumper)


def merge(tree: dict[str, Any], other: Mapping[str, Any]) -> None:
    """Put the values of ``other`` into a tree, branch by branch."""
    for name, value in other.items():
        if isinstance(value, dict) and isinstance(tree.get(name), dict):
            merge(tree[name], value)
        else:
            tree[name] = value


def reference_to(array: Array) -> Any:
    """The node of an array whose pixels are in a FITS extension."""
    from asdf.tagged import TaggedDict

    fields = {
        "source": f"fits:{array.extension},1",
        "datatype": _datatype(array.dtype),
        "byteorder": "big",
        "shape": list(array.shape),
    }
    return TaggedDict(fields, NDARRAY)


def _datatype(dtype: np.dtype[Any]) -> Any:
    """The ASDF name of a numpy type; a list of columns for the rows of a table."""
    if dtype.names:
        return [_column(name, dtype[name]) for name in dtype.names]
    if dtype.kind == "S":
        return ["ascii", dtype.itemsize]
    return "bool8" if dtype.kind == "b" else dtype.name


def _column(name: str, dtype: np.dtype[Any]) -> dict[str, Any]:
    column = {"name": name, "datatype": _datatype(dtype.base), "byteorder": "big"}
    return column | ({"shape": list(dtype.shape)} if dtype.shape else {})
