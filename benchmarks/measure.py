"""Runs of both pipelines in processes of their own, and tables of what they cost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
JWPIPE = Path(__file__).with_name("run_jwpipe.py")
PEER = ROOT / "tests" / "parity" / "run_peer.py"


@dataclass(frozen=True)
class Cost:
    """What one exposure, or one mosaic, cost: CPU seconds, wall seconds, peak memory, CPU seconds of each step.

    ``base_mib`` is the peak of the interpreter with its libraries, before any work.
    """

    cpu_s: float
    wall_s: float
    peak_mib: float
    steps: Mapping[str, float] = field(default_factory=dict)
    base_mib: float = 0.0


def run_jwpipe(
    pipeline: str,
    inputs: Sequence[Path],
    output: Path,
    refs: Path,
    *,
    scheduler: str = "sync",
    workers: int | None = None,
    steps: Mapping[str, Mapping[str, Any]] | None = None,
    rounds: int = 1,
) -> list[Cost]:
    """The costs of each unit of runs of jwpipe, so many ``rounds`` one after the other in one process."""
    task = {
        "pipeline": pipeline,
        "inputs": [str(path) for path in inputs],
        "output": str(output),
        "refs": [str(refs)],
        "scheduler": scheduler,
        "workers": workers,
        "steps": steps,
        "rounds": rounds,
    }
    return [
        Cost(line["cpu_s"], line["wall_s"], line["peak_mib"], line["steps"], line["base_mib"])
        for line in _run(Path(sys.executable), JWPIPE, task)
    ]


def run_peer(
    python: Path,
    pipeline: str,
    inputs: Sequence[Path],
    output: Path,
    overrides: Mapping[str, Path],
    steps: Mapping[str, Mapping[str, Any]] | None = None,
) -> list[Cost]:
    """The costs of each of the peer's runs, one after the other in one process."""
    tasks = [
        {
            "pipeline": pipeline,
            "input": str(path),
            "output": str(output),
            "overrides": {kind: str(file) for kind, file in overrides.items()},
            "steps": steps or {},
            "measure": True,
        }
        for path in inputs
    ]
    return [
        Cost(
            line["cpu_s"],
            line["wall_s"],
            line["peak_mib"],
            {name: step["cpu_s"] for name, step in line["steps"].items()},
        )
        for line in _run(python, PEER, tasks)
    ]


def _run(python: Path, script: Path, task: Any) -> list[dict[str, Any]]:
    environment = dict(os.environ)
    if script == JWPIPE:
        environment["PYTHONPATH"] = str(ROOT)
    else:
        environment.pop("PYTHONPATH", None)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "task.json"
        path.write_text(json.dumps(task))
        done = subprocess.run(
            [python, script, path], capture_output=True, text=True, cwd=folder, env=environment
        )
    if done.returncode:
        raise SystemExit(f"{script.name} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def least_of(costs: Sequence[Cost]) -> Cost:
    """The cost with the fewest CPU seconds."""
    return min(costs, key=lambda cost: cost.cpu_s)


def median_of(costs: Sequence[Cost]) -> Cost:
    """The run with the median CPU time."""
    return sorted(costs, key=lambda cost: cost.cpu_s)[len(costs) // 2]


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table in Markdown."""
    print(f"\n**{title}**\n")
    print("| " + " | ".join(columns) + " |")
    print("|" + " --- |" * len(columns))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    sys.stdout.flush()
