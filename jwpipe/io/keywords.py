"""Which keyword stands where in a product, and what it is called in the metadata tree.

The order of the keywords, their comments, the titles above their groups and their paths in the tree come from the
published schemas of the JWST data models, so that products look as users and their tools know them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jwpipe.io.cards import format_card, plain, title_cards

SELF_MADE = ("HISTORY", "COMMENT")


@dataclass(frozen=True)
class Keyword:
    """One keyword of a data model: its header, its path in the tree, its comment, and the titles of its groups."""

    name: str
    hdu: str
    path: tuple[str, ...]
    comment: str
    groups: tuple[tuple[tuple[str, ...], str], ...]


@lru_cache
def _schema(model: str) -> Mapping[str, Any]:
    from stdatamodels.jwst import datamodels

    schema: Mapping[str, Any] = getattr(datamodels, model)().schema
    return schema


@lru_cache
def model_keywords(model: str) -> tuple[Keyword, ...]:
    """All keywords of a data model (``ImageModel``), in the order of its headers."""
    return tuple(_walk(_schema(model), (), ()))


def _walk(
    node: Mapping[str, Any],
    path: tuple[str, ...],
    groups: tuple[tuple[tuple[str, ...], str], ...],
) -> Iterator[Keyword]:
    if "fits_keyword" in node:
        comment = str(node.get("title") or node.get("description") or "").partition("\n")[0]
        hdu = node.get("fits_hdu", "PRIMARY").upper()
        yield Keyword(node["fits_keyword"], hdu, path, comment, groups)
        return
    if "title" in node and "properties" in node:
        groups = (*groups, (path, str(node["title"])))
    for name, child in node.get("properties", {}).items():
        yield from _walk(child, (*path, name), groups)


@lru_cache
def array_paths(model: str) -> Mapping[str, str]:
    """Names in the tree of the arrays and tables of a data model, by extension name in capitals."""
    nodes = _schema(model).get("properties", {})
    return {node["fits_hdu"].upper(): name for name, node in nodes.items() if node.get("fits_hdu")}


def header_cards(model: str, headers: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """The cards of each header in ``headers`` (``PRIMARY``, ``SCI``), in order, with titles and comments.

    Keywords that the model does not know follow after the others, HISTORY comes last. Undefined values, and numbers
    that FITS cannot hold, are left out.
    """
    cards: dict[str, list[str]] = {hdu: [] for hdu in headers}
    written: set[tuple[str, str]] = set()
    titled: set[tuple[str, ...]] = set()
    for keyword in model_keywords(model):
        value = plain(headers.get(keyword.hdu, {}).get(keyword.name))
        if value is None or (keyword.hdu, keyword.name) in written:
            continue
        for path, title in keyword.groups:
            if path not in titled:
                titled.add(path)
                cards[keyword.hdu] += title_cards(title)
        cards[keyword.hdu] += format_card(keyword.name, value, keyword.comment)
        written.add((keyword.hdu, keyword.name))
    for hdu, values in headers.items():
        cards[hdu] += _others(values, {name for h, name in written if h == hdu})
    return cards


def _others(values: Mapping[str, Any], written: set[str]) -> Iterator[str]:
    names = [name for name in values if name not in written and name not in SELF_MADE]
    for name in (*names, *(name for name in SELF_MADE if name in values)):
        value = plain(values[name])
        if value is not None:
            yield from format_card(name, value)


def metadata(model: str, headers: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The tree of everything that has a keyword."""
    tree: dict[str, Any] = {}
    for keyword in model_keywords(model):
        value = plain(headers.get(keyword.hdu, {}).get(keyword.name))
        if value is not None:
            put(tree, keyword.path, value)
    return tree


def put(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Set ``value`` at ``path``, making the branches on the way."""
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value


def without_keywords(tree: Mapping[str, Any], model: str) -> dict[str, Any]:
    """A copy of a metadata tree without what stands in keywords."""
    known = {keyword.path for keyword in model_keywords(model)}
    return _pruned(tree, (), known)


def _pruned(
    tree: Mapping[str, Any], path: tuple[str, ...], known: set[tuple[str, ...]]
) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in tree.items():
        here = (*path, name)
        if here in known:
            continue
        if not isinstance(value, dict):
            kept[name] = value
        elif branch := _pruned(value, here, known):
            kept[name] = branch
    return kept
