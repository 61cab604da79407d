"""References from the JWST calibration data system through its ``crds`` library.

It is asked where its environment says so (CRDS_PATH, CRDS_SERVER_URL or CRDS_CONTEXT is set): from
a cache without a network, or from the server, which then downloads what the cache lacks.
"""

import contextlib
import io
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jwpipe.exposure import Header
from jwpipe.refs.keywords import METADATA_PATHS

log = logging.getLogger(__name__)

VARIABLES = ("CRDS_PATH", "CRDS_SERVER_URL", "CRDS_CONTEXT")


@dataclass(frozen=True)
class Answer:
    """What the system says about a type: a path, or ``applies=False`` where none is needed.

    ``problem`` says why there is no file although one is needed.
    """

    path: str | None = None
    applies: bool = True
    problem: str = ""


@dataclass(frozen=True)
class Answers:
    """The answers for an exposure, and the context (version of the rules) that gave them."""

    context: str
    types: Mapping[str, Answer]


def configured() -> bool:
    """Whether the environment names a cache, a server or a context."""
    return any(os.environ.get(name) for name in VARIABLES)


def recommend(exposure: Header, types: Iterable[str]) -> Answers:
    """The best references for an exposure; never raises, problems are told in the answers."""
    wanted = list(types)
    try:
        with _quiet():
            return _recommend(parameters(exposure), wanted)
    except (Exception, SystemExit) as error:  # the library ends the process where it has no rules
        settings = " ".join(f"{name}={os.environ.get(name, '(not set)')}" for name in VARIABLES)
        problem = f"CRDS failed with {settings}: {_first_line(error)}"
        return Answers("", dict.fromkeys(wanted, Answer(problem=problem)))


def parameters(exposure: Header) -> dict[str, Any]:
    """The exposure's keywords under the names that the system's rules use."""
    return {
        path.upper(): exposure[keyword]
        for keyword, path in METADATA_PATHS.items()
        if exposure.get(keyword) is not None
    }


def _recommend(values: dict[str, Any], types: list[str]) -> Answers:
    import crds
    from crds.core import heavy_client

    context = os.environ.get("CRDS_CONTEXT") or None
    found = crds.getrecommendations(values, reftypes=types, context=context)
    context = heavy_client.get_processing_mode("jwst", context)[1]
    return Answers(context, {kind: _answer(context, kind, found.get(kind)) for kind in types})


def _answer(context: str, kind: str, name: str | None) -> Answer:
    if name is None or name.upper() in ("N/A", "NOT FOUND N/A"):
        return Answer(applies=False)
    if name.startswith("NOT FOUND"):
        return Answer(problem=f"{context}: {name.removeprefix('NOT FOUND').strip()}")
    import crds

    path = Path(crds.locate_file(name, "jwst"))
    return Answer(str(path)) if path.is_file() else _download(context, kind, name, path)


def _download(context: str, kind: str, name: str, path: Path) -> Answer:
    from crds import client

    log.info("fetching %s, which %s chooses, to %s", name, context, path)
    try:
        client.api.cache_references(context, {kind: name})
        reason = "the server did not send it"
    except (Exception, SystemExit) as error:
        reason = _first_line(error)
    if path.is_file():
        return Answer(str(path))
    return Answer(problem=f"{context} chooses {name}, which is not at {path}: {reason}")


def _first_line(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return "no rules, neither from the server nor in the cache"
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library's messages off the terminal; what matters of them is in the answers."""
    logger = logging.getLogger("CRDS")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            yield
        finally:
            logger.setLevel(level)
