"""Run jwpipe once and measure it; started in a process of its own by the benchmarks.

usage: run_jwpipe.py TASK.json, where the file holds ``pipeline``, ``inputs``, ``output``, ``refs`` (folders), and where
wanted ``scheduler``, ``workers`` and ``steps`` {step: {parameter: value}}. Prints one JSON line for each exposure and
mosaic: CPU seconds, wall seconds, peak memory so far, and the CPU seconds of each step; imports and the choice of
inputs are not counted. Steps are told apart with one worker only.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jwpipe import mosaic, runner
from jwpipe.engine import chain, graph, reference_reads
from jwpipe.outcomes import Silent

LIBRARIES = (
    "asdf",
    "astropy.convolution",
    "astropy.io.fits",
    "astropy.modeling.models",
    "astropy.stats",
    "astropy.table",
    "gwcs",
    "photutils.aperture",
    "photutils.background",
    "photutils.detection",
    "photutils.segmentation",
    "scipy.interpolate",
    "scipy.ndimage",
    "scipy.spatial",
    "spherical_geometry.polygon",
    "stdatamodels.jwst.datamodels",
    "tweakwcs.correctors",
    "tweakwcs.imalign",
)
"""What jwpipe imports where it needs it: loaded beforehand, since imports are not counted."""

COMBINING = {
    "align_exposures": "tweakreg",
    "match_sky": "skymatch",
    "detect_outliers": "outlier_detection",
    "resample_exposures": "resample",
    "make_catalog": "source_catalog",
}


INTERLEAVED = ("look", "judge", "mean_reads", "group_noise", "integration_levels")
"""What refpix does beforehand with NIRSpec's interleaved reference reads."""


def peak_mib() -> float:
    """Peak resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Clock(Silent):
    """Prints what each unit of work cost."""

    def __init__(self) -> None:
        self.base = peak_mib()
        self.steps: dict[str, float] = defaultdict(float)
        self.stage = ""
        self.entered = 0.0

    def start(self, label: str) -> None:
        """A unit begins."""
        self.label, self.stage = label, ""
        self.steps.clear()
        self.cpu, self.wall = time.process_time(), time.perf_counter()

    def enter(self, stage: str) -> None:
        """A stage on many exposures begins: what is lazy in it runs before the next is entered."""
        now = time.process_time()
        if self.stage:
            self.steps[self.stage] += now - self.entered
        self.stage, self.entered = stage, now

    def finish(self, error: str = "") -> None:
        """A unit is over."""
        cpu, wall = time.process_time() - self.cpu, time.perf_counter() - self.wall
        self.enter("")
        print(
            json.dumps(
                {
                    "label": self.label,
                    "error": error,
                    "cpu_s": cpu,
                    "wall_s": wall,
                    "peak_mib": peak_mib(),
                    "base_mib": self.base,
                    "steps": dict(self.steps),
                }
            ),
            flush=True,
        )


@contextmanager
def steps_measured(clock: Clock) -> Iterator[None]:
    """Have ``clock`` note the CPU seconds of each step: its kernel, and what it finds out of the frame beforehand."""
    found: dict[tuple[Any, str], Any] = {
        (chain, "run_step"): lambda bound, *_: bound.step.name,
        (graph, "_reduced"): lambda bound, *_: bound.step.name,
        (chain.Chain, "part"): lambda _, bound, *__: bound.step.name,
        **{(reference_reads, name): lambda *_: "refpix" for name in INTERLEAVED},
    }
    before = {place: getattr(*place) for place in [*found, *((mosaic, name) for name in COMBINING)]}
    for place, name_of in found.items():
        setattr(*place, _timed(clock, before[place], name_of))
    for name, stage in COMBINING.items():
        setattr(mosaic, name, _entering(clock, stage, before[mosaic, name]))
    try:
        yield
    finally:
        for place, function in before.items():
            setattr(*place, function)


def _timed(
    clock: Clock, function: Callable[..., Any], name_of: Callable[..., str]
) -> Callable[..., Any]:
    """Note the time of ``function`` but for that of timed functions within."""

    def timed(*arguments: Any, **keywords: Any) -> Any:
        begun, noted = time.thread_time(), sum(clock.steps.values())
        result = function(*arguments, **keywords)
        within = sum(clock.steps.values()) - noted
        clock.steps[name_of(*arguments)] += time.thread_time() - begun - within
        return result

    return timed


def _entering(clock: Clock, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def entered(*arguments: Any, **keywords: Any) -> Any:
        clock.enter(stage)
        return function(*arguments, **keywords)

    return entered


def main() -> None:
    """Run the task of the file named on the command line."""
    task = json.loads(Path(sys.argv[1]).read_text())
    for library in LIBRARIES:
        importlib.import_module(library)
    clock = Clock()
    with steps_measured(clock):
        outcomes = [
            outcome
            for _ in range(task.get("rounds", 1))
            for outcome in runner.run(
                task["pipeline"],
                task["inputs"],
                task["output"],
                refs=task["refs"],
                steps=task.get("steps"),
                scheduler=task.get("scheduler", "sync"),
                workers=task.get("workers"),
                watcher=clock,
            )
        ]
    sys.exit(any(outcome.error for outcome in outcomes))


if __name__ == "__main__":
    main()
