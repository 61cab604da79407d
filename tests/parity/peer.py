"""The peer, jwst 3.0.0, in an environment of its own: how it is installed, and how it is run beside the tests."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VERSION = "3.0.0"
RUNNER = Path(__file__).with_name("run_peer.py")
Task = dict[str, Any]


class NoPeerError(Exception):
    """The peer cannot be installed; the message says why."""


def environment_folder() -> Path:
    """Where the peer's environment is or shall be."""
    if given := os.environ.get("JWPIPE_PEER_ENV"):
        return Path(given)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return (
        cache / "jwpipe" / f"jwst-{VERSION}-python{sys.version_info.major}.{sys.version_info.minor}"
    )


def installed(folder: Path) -> Path:
    """The interpreter of the peer's environment in ``folder``, made if it is not there.

    Raises
    ------
    NoPeerError
        Where it cannot be made.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    python = folder / "bin" / "python"
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _complete(python):
            _succeed([sys.executable, "-m", "venv", str(folder)])
            _succeed([str(python), "-m", "pip", "install", "--quiet", f"jwst=={VERSION}"])
        if not _complete(python):
            raise NoPeerError(f"{python} does not import jwst {VERSION}")
    return python


def _complete(python: Path) -> bool:
    code = "import jwst.stpipe; print(jwst.__version__)"
    if not python.exists():
        return False
    found = subprocess.run(
        [python, "-c", code], capture_output=True, text=True, env=bare_environment()
    )
    return found.returncode == 0 and found.stdout.strip() == VERSION


def _succeed(command: Sequence[str]) -> None:
    result = subprocess.run(command, capture_output=True, text=True, env=bare_environment())
    if result.returncode:
        last = (result.stderr.strip() or result.stdout.strip()).splitlines()[-1:]
        raise NoPeerError(f"{' '.join(command)}: {''.join(last)}")


def bare_environment() -> dict[str, str]:
    """This process' environment without what would lead the peer's interpreter to other packages."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "CRDS_"))}


@dataclass(frozen=True)
class Job:
    """A run of the peer under way."""

    processes: tuple[subprocess.Popen[str], ...]
    folder: Path

    def wait(self) -> str:
        """What was printed, when all is done; an assertion fails where a process did not end well."""
        codes = [process.wait() for process in self.processes]
        logs = "".join(path.read_text()[-3000:] for path in self.folder.glob("log*.txt"))
        assert not any(codes), f"the peer failed:\n{logs}"
        return "".join(path.read_text() for path in sorted(self.folder.glob("output*.txt")))


@dataclass(frozen=True)
class Peer:
    """The peer's interpreter, with a folder for its working files."""

    python: Path
    folder: Path

    def start(self, name: str, tasks: Sequence[Task], processes: int = 1) -> Job:
        """Start processes that share ``tasks``, each of them doing its own one after another."""
        work = self.folder / name
        work.mkdir()
        started = []
        for number in range(processes):
            path = work / f"tasks{number}.json"
            path.write_text(json.dumps(tasks[number::processes], default=str))
            started.append(self._popen(work, number, [str(RUNNER), str(path)]))
        return Job(tuple(started), work)

    def execute(self, name: str, code: str, *arguments: str | Path) -> str:
        """What ``code`` prints, run by the peer's interpreter."""
        return self.begin(name, code, *arguments).wait()

    def begin(self, name: str, code: str, *arguments: str | Path) -> Job:
        """Run ``code`` by the peer's interpreter, beside what comes here."""
        work = self.folder / name
        work.mkdir()
        return Job((self._popen(work, 0, ["-c", code, *map(str, arguments)]),), work)

    def _popen(self, work: Path, number: int, arguments: Sequence[str]) -> subprocess.Popen[str]:
        with (
            (work / f"log{number}.txt").open("w") as log,
            (work / f"output{number}.txt").open("w") as output,
        ):
            return subprocess.Popen(
                [str(self.python), *arguments],
                cwd=work,
                env=bare_environment(),
                stdout=output,
                stderr=log,
                text=True,
            )


def task(
    pipeline: str,
    source: Path,
    output: Path,
    references: Mapping[str, Path | str],
    *,
    steps: Mapping[str, Mapping[str, Any]] | None = None,
    save: Sequence[str] = (),
) -> Task:
    """A run of one of the peer's pipelines."""
    return {
        "pipeline": pipeline,
        "input": str(source),
        "output": str(output),
        "overrides": {kind: str(path) for kind, path in references.items()},
        "steps": steps or {},
        "save": list(save),
    }
