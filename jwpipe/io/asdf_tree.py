"""The ASDF extension of a product: the gwcs, and metadata that have no keyword."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass, field
from typing import Any

from jwpipe.exposure import ExposureError

_WCS = (b"gwcs/wcs-", b"/gwcs/")
_OWN = b"\njwpipe:"


@dataclass(frozen=True)
class Tree:
    """What opening takes out of the tree: the rest waits, as bytes, until the product is written again."""

    wcs: Any = None
    history: list[dict[str, Any]] = field(default_factory=list)


def read_tree(raw: bytes, path: str) -> Tree:
    """The gwcs and the history in the ASDF extension ``raw``; nothing is parsed where it has neither."""
    if not any(mark in raw for mark in (*_WCS, _OWN)):
        return Tree()
    tree = parse(raw, path)
    own = tree.get("jwpipe", {})
    return Tree(tree.get("meta", {}).get("wcs"), list(own.get("history", [])))


def parse(raw: bytes, path: str) -> dict[str, Any]:
    """The whole tree as Python objects; arrays that live in other extensions stay references."""
    import asdf

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", asdf.exceptions.AsdfWarning)
            with asdf.config_context() as config:
                config.validate_on_read = False
                with asdf.open(io.BytesIO(raw), lazy_load=False, memmap=False) as file:
                    return dict(file.tree)
    except Exception as error:
        raise ExposureError(
            f"{path}: its ASDF extension cannot be read ({error}); the file is damaged or needs a newer asdf or gwcs"
        ) from error
