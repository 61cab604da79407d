"""Products of many slits, sources or orders: a tree with an exposure for each.

Such a file has the extensions of each slit once more (EXTVER counts the slits), and the WCS of each in its ASDF
extension. Here they are the children of an ``xarray.DataTree``, by the names of the slits; where those of sources come
again for each order they are followed by it (``12_order2``). Each child is an exposure (`jwpipe.exposure`) with the
WCS of its slit, keywords of the slit in ``sci`` and those of the file in ``primary``; the root has what is of all.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from jwpipe.exposure import ExposureError
from jwpipe.io.asdf_tree import Array, dump, is_elsewhere, merge, parse, reference_to
from jwpipe.io.cards import format_card, header_block, padded
from jwpipe.io.chunking import Chunks
from jwpipe.io.fits_read import Hdu, dims_of, lazy, opened, pixels_of, scan, table_of
from jwpipe.io.fits_target import FitsTarget
from jwpipe.io.fits_write import Extension, extensions, lay_out, primary_header, table_extension
from jwpipe.io.keywords import array_paths, header_cards, metadata, without_keywords
from jwpipe.io.names import product_of
from jwpipe.io.product import Pending, store, temporary_name
from jwpipe.io.save import Format, product_path
from jwpipe.io.source import Source, local_path
from jwpipe.io.zarr import decode, encode, is_zarr, prepare_zarr, read_zarr

MODEL, SLIT_MODEL = "MultiSlitModel", "SlitModel"
FORMAT = "jwpipe slits"
OF_ALL = ("primary", "product", "filename", "folder", "history", "asdf")
Block = tuple[bytes, bytes, Extension | None]
"""An extension's header, the rows of a table, and what it is."""
_MADE_ANEW = ("asdf_library", "history", "_fits_hash", "extra_fits", "slits", "jwpipe")


def open_slits(path: str | Path, *, chunks: Chunks = None) -> xr.DataTree:
    """Open a product of many slits, sources or orders lazily.

    Parameters
    ----------
    path
        A FITS file, or a zarr folder that ``save_slits`` wrote.
    chunks
        As for `jwpipe.open`.

    Returns
    -------
    xarray.DataTree
        A child for each slit, in the file's order; ``tree["30"].attrs["wcs"]`` is the WCS of slit 30.

    Raises
    ------
    ExposureError
        The file is missing or damaged, or has no SCI extension.
    """
    name = local_path(str(path))
    if is_zarr(name):
        return _from_zarr(name, chunks)
    with opened(name) as source:
        hdus = scan(source, name)
        if not any(hdu.name == "SCI" for hdu in hdus):
            raise ExposureError(f"{name}: no SCI extension; expected a product of many slits")
        raw = next(
            (source.read(h.offset, h.offset + h.size) for h in hdus if h.name == "ASDF"), b""
        )
        content = parse(raw, name) if raw else {}
        children = list(_slits(source, name, hdus, content.get("slits", []), chunks))
    primary = hdus[0].keywords()
    attrs = {
        "primary": primary,
        "product": product_of(name, primary, {}),
        "filename": name.rpartition("/")[2],
        "folder": name.rpartition("/")[0],
        "history": list(content.get("jwpipe", {}).get("history", [])),
        "asdf": raw,
    }
    return _tree(children, attrs)


def open_slit(path: str | Path, name: str | None = None) -> xr.Dataset:
    """One slit of a product of many, by its name; it need not be told where there is one only.

    Raises
    ------
    ExposureError
        As ``open_slits``, and where there is no such slit.
    """
    tree = open_slits(path)
    names = list(tree.children)
    if name is None and len(names) == 1:
        name = names[0]
    if name not in names:
        wanted = "say which slit with --slit" if name is None else f"no slit {name}"
        raise ExposureError(f"{path}: {wanted}; it has {', '.join(names)}")
    return tree.children[name].to_dataset()


def has_slits(path: str | Path) -> bool:
    """Whether a product holds slits: several SCI extensions, or the data model for them."""
    name = local_path(str(path))
    if is_zarr(name):
        import zarr

        return bool(zarr.open_group(name, mode="r", zarr_format=3).attrs.get("format") == FORMAT)
    with opened(name) as source:
        hdus = scan(source, name)
    return hdus[0].header.get("DATAMODL") == MODEL or sum(h.name == "SCI" for h in hdus) > 1


def save_slits(tree: xr.DataTree, path: str | Path, *, format: Format = "fits") -> Path:
    """Compute a tree of slits and write it to ``path``, a file name or a folder; returns the product's path.

    Nothing stands under the product's name until it is complete.

    Raises
    ------
    ExposureError
        The folder cannot be made or written to, or its disk is full.
    """
    first = next(iter(tree.children.values())).to_dataset()
    target = product_path(first.assign_attrs(tree.attrs), path, format=format)
    target.parent.mkdir(parents=True, exist_ok=True)
    if format == "zarr":
        return _to_zarr(tree, target)
    return store([_prepare(tree, target)])[0]


def _tree(children: Sequence[xr.Dataset], attrs: dict[str, Any]) -> xr.DataTree:
    """A tree of slits, with what is of all in the root and in each."""
    names = _names([child.attrs["sci"] for child in children])
    found = {name: _complete(child, attrs) for name, child in zip(names, children, strict=True)}
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=attrs)} | found)


def _complete(slit: xr.Dataset, attrs: dict[Any, Any]) -> xr.Dataset:
    """A slit with what the root says of all."""
    shared = {key: attrs[key] for key in OF_ALL if key in attrs and key != "asdf"}
    return slit.assign_attrs(shared | dict(slit.attrs))


def _names(keywords: Sequence[dict[str, Any]]) -> list[str]:
    """Names of slits, each once."""
    plain = [str(each.get("SLTNAME") or n) for n, each in enumerate(keywords, 1)]
    often = Counter(plain)
    ordered = [
        name if often[name] == 1 else f"{name}_order{each.get('SPORDER', n)}"
        for n, (name, each) in enumerate(zip(plain, keywords, strict=True), 1)
    ]
    often = Counter(ordered)
    return [name if often[name] == 1 else f"{name}_{n}" for n, name in enumerate(ordered, 1)]


def _slits(
    source: Source, path: str, hdus: Sequence[Hdu], told: Sequence[Any], chunks: Chunks
) -> Iterator[xr.Dataset]:
    for version in sorted(hdu.version for hdu in hdus if hdu.name == "SCI"):
        own = [hdu for hdu in hdus[1:] if hdu.version == version and hdu.name != "ASDF"]
        science = next(hdu for hdu in own if hdu.name == "SCI")
        # Extensions without pixels stand for arrays that a slit has not.
        images = {hdu.name.lower(): hdu for hdu in own if hdu.is_image and hdu.shape}
        variables = {
            name: lazy(
                pixels_of(path, source, hdu),
                dims_of(name, hdu.shape, science.shape),
                hdu.header.get("BUNIT"),
                chunks,
            )
            for name, hdu in images.items()
        }
        tables = {hdu.name: table_of(source, hdu, path) for hdu in own if hdu.is_table}
        attrs: dict[str, Any] = {"sci": science.keywords(), "tables": tables}
        rest = told[version - 1] if version <= len(told) else {}
        if (wcs := rest.get("meta", {}).get("wcs")) is not None:
            attrs["wcs"] = wcs
        yield xr.Dataset(variables, attrs=attrs)


def _prepare(tree: xr.DataTree, path: Path) -> Pending:
    """Lay out a FITS file of slits under a temporary name; their pixels are still to be stored."""
    primary = {"TELESCOP": "JWST"} | dict(tree.attrs.get("primary", {}))
    primary |= {"FILENAME": path.name, "DATAMODL": MODEL}
    cards = header_cards(MODEL, {"PRIMARY": primary})["PRIMARY"]
    blocks: list[Block] = [(primary_header(cards), b"", None)]
    slits = []
    stored = _stored(tree)
    for number, (child, rest) in enumerate(zip(tree.children.values(), stored, strict=True), 1):
        slit = child.to_dataset()
        parts = extensions(slit)
        heads = header_cards(SLIT_MODEL, {"PRIMARY": primary, "SCI": slit.attrs["sci"]})
        blocks += [
            (_header(part, heads.get(part.name, []), number), part.rows, part) for part in parts
        ]
        slits.append(_slit_tree(slit, primary, parts, number, rest))
    content = np.frombuffer(_content(tree, primary, slits), np.uint8)
    asdf = table_extension("ASDF", np.array([(content,)], [("ASDF_METADATA", "u1", content.shape)]))
    return _placed(path, [*blocks, (_header(asdf, [], None), asdf.rows, asdf)])


def _placed(path: Path, blocks: Sequence[Block]) -> Pending:
    """Find each extension its place in the file, and write all but pixels."""
    temporary = temporary_name(path)
    pieces: list[tuple[int, bytes]] = []
    arrays: list[Any] = []
    targets: list[Any] = []
    position = 0
    for header, rows, part in blocks:
        pieces += [(position, header), (position + len(header), rows)]
        position += len(header)
        if part is None:
            continue
        if part.pixels is not None:
            arrays.append(part.pixels)
            place = os.fspath(temporary.absolute())
            targets.append(FitsTarget(place, position, part.dtype, part.shape))
        position += padded(part.size)
    lay_out(temporary, path, position, pieces)
    return Pending(path, temporary, tuple(arrays), tuple(targets))


def _header(part: Extension, cards: Sequence[str], number: int | None) -> bytes:
    first = [*part.structure, ("EXTNAME", part.name, "extension name")]
    last = [] if number is None else [("EXTVER", number, "extension value")]
    formatted = [[card for each in side for card in format_card(*each)] for side in (first, last)]
    return header_block([*formatted[0], *cards, *formatted[1]])


def _stored(tree: xr.DataTree) -> list[dict[str, Any]]:
    """What the file that was opened says of each slit beyond keywords and arrays."""
    raw = tree.attrs.get("asdf", b"")
    told = parse(raw, str(tree.attrs.get("filename", ""))).get("slits", []) if raw else []
    if len(told) != len(tree.children):
        return [{} for _ in tree.children]
    return [
        without_keywords({k: v for k, v in each.items() if not is_elsewhere(v)}, SLIT_MODEL)
        for each in told
    ]


def _slit_tree(
    slit: xr.Dataset,
    primary: dict[str, Any],
    parts: Sequence[Extension],
    number: int,
    rest: dict[str, Any],
) -> dict[str, Any]:
    """The branch of a slit in the ASDF extension."""
    branch = dict(rest)
    merge(branch, metadata(SLIT_MODEL, {"PRIMARY": primary, "SCI": slit.attrs["sci"]}))
    meta = {key: value for key, value in branch.get("meta", {}).items() if key != "wcs"}
    if slit.attrs.get("wcs") is not None:
        meta["wcs"] = slit.attrs["wcs"]
    branch["meta"] = meta
    names = array_paths(SLIT_MODEL)
    for part in parts:
        if part.size:
            node = reference_to(Array(part.name, part.shape, part.dtype))
            node["source"] = f"fits:{part.name},{number}"
            branch[names.get(part.name, part.name.lower())] = node
    return branch


def _content(tree: xr.DataTree, primary: dict[str, Any], slits: list[dict[str, Any]]) -> bytes:
    raw = tree.attrs.get("asdf", b"")
    told = parse(raw, str(tree.attrs.get("filename", ""))) if raw else {}
    content = without_keywords(
        {k: v for k, v in told.items() if k not in _MADE_ANEW and not is_elsewhere(v)}, MODEL
    )
    merge(content, metadata(MODEL, {"PRIMARY": primary}))
    if tree.attrs.get("history"):
        content["jwpipe"] = {"history": list(tree.attrs["history"])}
    return dump(content | {"slits": slits})


def _to_zarr(tree: xr.DataTree, path: Path) -> Path:
    """Write a zarr folder with one for each slit."""
    import zarr

    temporary = temporary_name(path)
    attributes = {"format": FORMAT, "names": list(tree.children), **encode(dict(tree.attrs))}
    zarr.open_group(temporary, mode="w", zarr_format=3, attributes=attributes)
    whole = Pending(path, temporary, (), ())
    try:
        store(
            [
                prepare_zarr(_complete(child.to_dataset(), dict(tree.attrs)), temporary / name)
                for name, child in tree.children.items()
            ]
        )
    except BaseException:
        whole.discard()
        raise
    return whole.finish()


def _from_zarr(path: str, chunks: Chunks) -> xr.DataTree:
    import zarr

    attributes = decode(dict(zarr.open_group(path, mode="r", zarr_format=3).attrs))
    if attributes.pop("format", None) != FORMAT:
        raise ExposureError(f"{path}: no zarr folder of slits; open it with jwpipe.open")
    attributes["filename"] = Path(path).name
    found = {}
    for name in attributes.pop("names"):
        slit = read_zarr(f"{path}/{name}", chunks)
        found[name] = slit.assign_attrs(filename=attributes["filename"])
    return xr.DataTree.from_dict({"/": xr.Dataset(attrs=attributes)} | found)
