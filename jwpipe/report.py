"""What the user sees: progress, the table at the end, plans and lists."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

if TYPE_CHECKING:
    from types import TracebackType

    from jwpipe.plan import Plan, ReferenceRow
    from jwpipe.runner import Outcome

MIB = 1 << 20
logger = logging.getLogger("jwpipe")


class Reporter:
    """Progress of a run: a bar per exposure and stage on a terminal, plain log lines otherwise."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self._bars: Progress | None = None
        self._task: TaskID | None = None
        self._started = time.perf_counter()
        self._label = ""

    def __enter__(self) -> Reporter:
        if self.console.is_terminal:
            logging.basicConfig(level="WARNING", handlers=[RichHandler(console=self.console)])
            columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
            self._bars = Progress(*columns, TimeRemainingColumn(), console=self.console)
            self._bars.start()
        else:
            logging.basicConfig(level="INFO", format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
        for library in ("distributed", "tweakwcs", "stpipe", "CRDS"):
            logging.getLogger(library).setLevel("WARNING")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def start(self, label: str) -> None:
        """A stage of an exposure begins."""
        self._label, self._started = label, time.perf_counter()
        if self._bars is not None:
            self._task = self._bars.add_task(label, total=None)
        else:
            logger.info("%s ...", label)

    def advance(self, done: int, total: int) -> None:
        """``done`` of ``total`` tasks of the stage are finished."""
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, completed=done, total=total)

    def finish(self, error: str = "") -> None:
        """The stage is over; ``error`` says why it failed."""
        if self._bars is not None and self._task is not None:
            total = self._bars.tasks[self._task].total or 1
            self._bars.update(self._task, completed=total, total=total)
        seconds = time.perf_counter() - self._started
        if error:
            logger.error("%s failed: %s", self._label, error)
        elif self._bars is None:
            logger.info("%s done in %.1f s", self._label, seconds)

    def note(self, text: str) -> None:
        """Something worth knowing."""
        logger.warning("%s", text)

    def table(self, outcomes: Sequence[Outcome], peak: int) -> None:
        """What was written, how long it took, and the peak memory."""
        table = Table("input", "stage", "written", "time", title="jwpipe")
        for outcome in outcomes:
            written = "\n".join(str(path) for path in outcome.written)
            result = f"[red]failed:[/red] {_escaped(outcome.error)}" if outcome.error else written
            table.add_row(outcome.name, outcome.stage, result, f"{outcome.seconds:.1f} s")
        console = Console()
        console.print(table)
        failed = sum(bool(outcome.error) for outcome in outcomes)
        console.print(
            f"{len(outcomes) - failed} done, {failed} failed; peak memory {peak / MIB:.0f} MiB"
        )


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def print_plan(plans: Sequence[Plan]) -> None:
    """Steps, references, parameters, chunks, tasks, memory and products of each planned unit."""
    console = Console()
    for plan in plans:
        console.print(f"\n[bold]{plan.name}[/bold]  {plan.pipeline}")
        if plan.error:
            console.print(f"  [red]{_escaped(plan.error)}[/red]")
            continue
        _print_steps_of(console, plan)
        console.print(f"  chunks    {plan.chunks}")
        console.print(f"  tasks     {plan.tasks}")
        console.print(f"  memory    {plan.memory / MIB:.0f} MiB predicted peak per worker")
        for product in plan.products:
            console.print(f"  writes    {product}")


def _print_steps_of(console: Console, plan: Plan) -> None:
    table = Table("step", "runs", "why not / parameters", "references", box=None)
    for row in plan.steps:
        detail = row.reason or ", ".join(f"{k}={v}" for k, v in row.parameters.items())
        references = ", ".join(f"{k}: {v}" for k, v in row.references.items())
        table.add_row(row.name, "no" if row.reason else "yes", _escaped(detail), references)
    console.print(table)


def print_references(rows: Iterable[ReferenceRow]) -> None:
    """One line for each reference of each input: type, file, where it came from."""
    table = Table("input", "type", "file", "from")
    for row in rows:
        table.add_row(row.exposure, row.type, row.file, row.source)
    Console().print(table)


def print_steps(name: str | None) -> None:
    """Pipelines and their steps, or the parameters of one."""
    from jwpipe.params import ParameterError, nearest
    from jwpipe.request import all_steps

    pipelines = all_steps()
    console = Console()
    if name is None:
        for pipeline, steps in pipelines.items():
            console.print(f"[bold]{pipeline}[/bold]  " + " > ".join(s.name for s in steps))
        console.print("\njwpipe steps NAME shows the parameters of a pipeline or step")
        return
    wanted = name.removeprefix("calwebb_")
    found = {s.name: s for steps in pipelines.values() for s in steps if s.name == wanted}
    chosen: Sequence[Any] = pipelines.get(wanted) or list(found.values())
    if not chosen:
        known = [*pipelines, *(s.name for steps in pipelines.values() for s in steps)]
        raise ParameterError(f"no pipeline or step {name!r}; {nearest(wanted, known)}")
    for step in chosen:
        _print_parameters(console, step)


def _print_parameters(console: Console, step: Any) -> None:
    references = ", ".join(step.reference_types) or "none"
    table = Table(
        "parameter", "default", "meaning", title=f"{step.name}  (references: {references})"
    )
    for field, info in step.params.model_fields.items():
        table.add_row(field, repr(info.default), _escaped(info.description or ""))
    console.print(table)
