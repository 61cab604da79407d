"""Run pipelines of jwst 3.0.0 offline; executed by the interpreter of the peer's own environment.

usage: run_peer.py TASK.json, where the file holds a task or a list of tasks, done one after another (with less
garbage collection than the peer's own, so that a list tells nothing of its speed). A task holds
``pipeline`` (a class of jwst.pipeline or jwst.step), ``input``, ``output``, and where wanted ``overrides``
{reference type: path or "N/A"}, ``steps`` {step: {parameter: value}}, ``parameters`` {parameter: value} of the
pipeline or step itself, ``save`` [step, ...], and ``measure`` (true) for the costs of each step. Prints one JSON line a
task: CPU seconds, wall seconds and peak memory so far, of the run without imports.
"""

import gc
import json
import os
import resource
import sys
import time
from pathlib import Path

os.environ.setdefault("STPIPE_DISABLE_CRDS_STEPPARS", "true")


def keep_crds_out(overrides: dict[str, str]) -> None:
    """Answer the reference look-ups from the overrides; the peer asks CRDS even when all are given."""
    from stpipe import crds_client

    def references(parameters, reference_file_types, observatory):
        return {kind: overrides.get(kind, "N/A") for kind in reference_file_types}

    crds_client.get_multiple_reference_paths = references
    crds_client.get_context_used = lambda *_args: "jwst_0000.pmap"
    crds_client.get_svn_version = lambda *_args: "offline"


def measure_steps(costs: dict[str, dict[str, float]]) -> None:
    """Note CPU seconds and peak memory of every step; peaks start anew with each."""
    from stpipe import Pipeline, Step

    original = Step.run

    def measured(self, *args):
        if isinstance(self, Pipeline):
            return original(self, *args)
        Path("/proc/self/clear_refs").write_text("5")
        cpu = time.process_time()
        try:
            return original(self, *args)
        finally:
            cost = costs.setdefault(
                self.name or type(self).__name__, {"cpu_s": 0.0, "peak_mib": 0.0}
            )
            cost["cpu_s"] += time.process_time() - cpu
            cost["peak_mib"] = max(cost["peak_mib"], peak_mib())

    Step.run = measured


def peak_mib() -> float:
    """Peak resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run(task: dict) -> dict:
    """Run one task; what it cost."""
    import jwst.pipeline
    import jwst.step

    keep_crds_out(task.get("overrides", {}))
    name = task["pipeline"]
    pipeline = getattr(jwst.pipeline, name, None) or getattr(jwst.step, name)
    steps = {step: dict(values) for step, values in task.get("steps", {}).items()}
    for step in task.get("save", ()):
        steps.setdefault(step, {})["save_results"] = True
    options = {"steps": steps} if hasattr(pipeline, "step_defs") else {}
    output = Path(task["output"]).absolute()
    output.mkdir(parents=True, exist_ok=True)
    source = Path(task["input"]).absolute()
    if source.suffix == ".json":
        # Stage 2 looks for the members of an association in the working directory.
        os.chdir(source.parent)
    costs: dict[str, dict[str, float]] = {}
    if task.get("measure"):
        measure_steps(costs)
    cpu, wall = time.process_time(), time.perf_counter()
    pipeline.call(
        str(source),
        output_dir=str(output),
        save_results=True,
        **options,
        **task.get("parameters", {}),
    )
    return {
        "cpu_s": time.process_time() - cpu,
        "wall_s": time.perf_counter() - wall,
        "peak_mib": max([peak_mib(), *(cost["peak_mib"] for cost in costs.values())]),
        "steps": costs,
    }


def main() -> None:
    """Run the tasks of the file named on the command line."""
    content = json.loads(Path(sys.argv[1]).read_text())
    if isinstance(content, dict):
        print(json.dumps(run(content)))
        return
    import jwst.pipeline  # noqa: F401

    # The peer collects garbage at the start of each step; to look through its modules takes most of that time.
    gc.freeze()
    for task in content:
        print(json.dumps(run(task)), flush=True)


if __name__ == "__main__":
    main()
