"""Associations: which exposures make which products, in JSON as the archive gives it.

Level-2 associations hold a product for each exposure (with its backgrounds), level-3 ones a single product of many
exposures. Member names are relative to the association's folder and must not lead out of it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any, Literal

from jwpipe.exposure import ExposureError
from jwpipe.io.names import split_suffix
from jwpipe.io.product import remove, temporary_name, unwritable

Rule = Literal["DMS_Level3_Base", "DMSLevel2bBase"]
DEFAULT_ID = "a3001"
SCIENCE = "science"
_PROGRAM = re.compile(r"jw(\d{5})")
_STRING_OR_COMMA = re.compile(r'"(?:\\.|[^"\\])*"|,(?=\s*[}\]])')


@dataclass(frozen=True)
class Member:
    """One file of a product: what it is for (``science``, ``background``, ``sourcecat`` ...) and where it is.

    ``tweakreg_catalog`` is a list of sources to align with instead of finding them; exposures of one ``group_id`` are
    aligned together.
    """

    expname: str
    exptype: str
    path: Path
    tweakreg_catalog: Path | None = None
    group_id: str | None = None


@dataclass(frozen=True)
class AssociatedProduct:
    """One product to make: its name (without suffix) and its members, in order."""

    name: str
    members: tuple[Member, ...]

    def of_type(self, exptype: str) -> tuple[Member, ...]:
        """The members of one type."""
        return tuple(member for member in self.members if member.exptype == exptype)

    @property
    def science(self) -> tuple[Member, ...]:
        """The members that the product is made of."""
        return self.of_type(SCIENCE)


@dataclass(frozen=True)
class Association:
    """An association; ``other`` holds what the archive wrote beside (rule, program, constraints ...)."""

    products: tuple[AssociatedProduct, ...]
    path: Path | None = None
    asn_id: str = DEFAULT_ID
    asn_type: str = "None"
    other: Mapping[str, Any] = field(default_factory=dict)

    @property
    def members(self) -> tuple[Member, ...]:
        """The members of all products, each file once for each type."""
        unique = {(m.path, m.exptype): m for product in self.products for m in product.members}
        return tuple(unique.values())


def read_association(path: str | Path, products_taken: Sequence[str] = ()) -> Association:
    """The association in a JSON file; commas too many, as in some files of the archive, are overlooked.

    A science member that is not there may be stood in for by a file of the same exposure with one of the suffixes
    ``products_taken``: a chain that starts from raw ramps takes ``_uncal`` files for the ``_cal`` files named.

    Raises
    ------
    ExposureError
        The file cannot be read, is no JSON or no association, a member's path leads out of the folder, or
        members are missing (all of them are named).
    """
    path = Path(path)
    content = _parsed(_text(path), path)
    if not isinstance(content, dict) or not isinstance(content.get("products"), list):
        raise ExposureError(f"{path}: no association: expected an object with a list 'products'")
    products = tuple(
        _stood_in(_product(item, n, path), products_taken)
        for n, item in enumerate(content["products"])
    )
    if not any(product.science for product in products):
        raise ExposureError(
            f"{path}: no member of exptype 'science'; name the exposures to process"
        )
    association = Association(
        products,
        path,
        str(content.get("asn_id") or DEFAULT_ID),
        str(content.get("asn_type")),
        {k: v for k, v in content.items() if k not in ("products", "asn_id", "asn_type")},
    )
    _check_present(association)
    return association


def _stood_in(product: AssociatedProduct, suffixes: Sequence[str]) -> AssociatedProduct:
    members = tuple(
        replace(m, path=_stand_in(m.path, suffixes)) if m.exptype == SCIENCE else m
        for m in product.members
    )
    return replace(product, members=members)


def _stand_in(path: Path, suffixes: Sequence[str]) -> Path:
    if path.exists():
        return path
    root = split_suffix(path.name)[0]
    found = (path.with_name(f"{root}_{suffix}.fits") for suffix in suffixes)
    return next((other for other in found if other.exists()), path)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ExposureError(
            f"{path}: not text ({error}); expected an association in JSON"
        ) from error
    except OSError as error:
        raise ExposureError(f"{path}: the association cannot be read ({error.strerror})") from error


def _parsed(text: str, path: Path) -> Any:
    # A blank in place of each comma too many keeps the line numbers of the errors right.
    tolerated = _STRING_OR_COMMA.sub(lambda found: " " if found[0] == "," else found[0], text)
    try:
        return json.loads(tolerated)
    except json.JSONDecodeError as error:
        raise ExposureError(
            f"{path}, line {error.lineno}, column {error.colno}: not JSON ({error.msg}); correct the association"
        ) from error


def _product(item: Any, number: int, path: Path) -> AssociatedProduct:
    where = f"{path}: product {number + 1}"
    members = item.get("members") if isinstance(item, dict) else None
    if not isinstance(members, list) or not members:
        raise ExposureError(
            f"{where}: no list 'members'; expected members with 'expname' and 'exptype'"
        )
    found = tuple(
        _member(member, f"{where}, member {n + 1}", path) for n, member in enumerate(members)
    )
    name = str(item.get("name") or split_suffix(found[0].expname)[0])
    if PurePath(name).name != name:
        raise ExposureError(
            f"{where}: its name {name!r} is a path; expected a name, the folder is given on running"
        )
    return AssociatedProduct(name, found)


def _member(item: Any, where: str, path: Path) -> Member:
    expname = item.get("expname") if isinstance(item, dict) else None
    exptype = item.get("exptype") if isinstance(item, dict) else None
    if not isinstance(expname, str) or not isinstance(exptype, str) or not expname:
        raise ExposureError(
            f"{where}: expname {expname!r}, exptype {exptype!r}; expected two texts"
        )
    catalog, group = item.get("tweakreg_catalog"), item.get("group_id")
    return Member(
        expname,
        exptype.lower(),
        _inside(expname, where, path),
        _inside(str(catalog), where, path) if catalog else None,
        str(group) if group else None,
    )


def _inside(name: str, where: str, path: Path) -> Path:
    """The path of ``name`` in the association's folder."""
    plain = os.path.normpath(name)
    if PurePath(plain).is_absolute() or PurePath(plain).parts[0] == "..":
        raise ExposureError(
            f"{where}: {name} leads out of the association's folder; put the association beside its members, or give "
            "the files themselves"
        )
    return path.parent / plain


def _check_present(association: Association) -> None:
    wanted = [m.path for m in association.members]
    wanted += [m.tweakreg_catalog for m in association.members if m.tweakreg_catalog]
    missing = [str(path) for path in dict.fromkeys(wanted) if not path.exists()]
    if missing:
        raise ExposureError(
            f"{association.path}: {len(missing)} of {len(wanted)} members are missing: {', '.join(missing)}; "
            "fetch them or take them out of the association"
        )


def association_of(
    files: Sequence[str | Path],
    product_name: str | None = None,
    *,
    rule: Rule = "DMS_Level3_Base",
    asn_id: str = DEFAULT_ID,
) -> Association:
    """An association of a list of exposures.

    Parameters
    ----------
    files
        The science exposures.
    product_name
        The name of the level-3 product; level-2 products are named after their exposures.
    rule
        ``DMS_Level3_Base``: one product of all files; ``DMSLevel2bBase``: one product of each file.
    asn_id
        Goes into the names of products of single exposures (``..._o001_crf.fits``).

    Raises
    ------
    ExposureError
        No files, a file twice, or no product name at level 3.
    """
    paths = [Path(file) for file in files]
    if not paths or len(set(paths)) < len(paths):
        raise ExposureError(
            f"{len(paths)} files for an association, expected one or more, each once"
        )
    members = [Member(str(path), SCIENCE, path) for path in paths]
    if rule == "DMSLevel2bBase":
        products = tuple(AssociatedProduct(split_suffix(m.expname)[0], (m,)) for m in members)
    elif product_name:
        products = (AssociatedProduct(product_name, tuple(members)),)
    else:
        raise ExposureError("a level-3 association needs the name of its product; give one")
    other = {
        "asn_rule": rule,
        "version_id": None,
        "degraded_status": "No known degraded exposures in association.",
        "program": _program(paths),
        "constraints": "No constraints",
        "asn_pool": "none",
    }
    return Association(products, None, asn_id, "None", other)


def _program(paths: Sequence[Path]) -> str:
    found = {match[1] for path in paths if (match := _PROGRAM.match(path.name))}
    return found.pop() if len(found) == 1 else "noprogram"


def write_association(association: Association, path: str | Path) -> Path:
    """Write an association as JSON; its members are named relative to the folder of ``path``.

    Raises
    ------
    ExposureError
        A member does not lie in that folder or below it, or the file cannot be written.
    """
    path = Path(path)
    products = [
        {"name": p.name, "members": [_written(m, path) for m in p.members]}
        for p in association.products
    ]
    head = {"asn_type": association.asn_type, **association.other, "asn_id": association.asn_id}
    temporary = temporary_name(path)
    try:
        temporary.write_text(
            json.dumps(head | {"products": products}, indent=4) + "\n", encoding="utf-8"
        )
        temporary.replace(path)
    except OSError as error:
        remove(temporary)
        raise unwritable(path, error) from error
    return path


def _written(member: Member, path: Path) -> dict[str, str]:
    names = {"expname": _relative(member.path, path), "exptype": member.exptype}
    if member.tweakreg_catalog:
        names["tweakreg_catalog"] = _relative(member.tweakreg_catalog, path)
    return names | ({"group_id": member.group_id} if member.group_id else {})


def _relative(file: Path, path: Path) -> str:
    try:
        return file.absolute().relative_to(path.parent.absolute()).as_posix()
    except ValueError:
        raise ExposureError(
            f"{path}: {file} does not lie in the association's folder; write the association beside its members"
        ) from None
