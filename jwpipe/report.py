"""What the user sees: progress, the table at the end, plans and lists."""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table

if TYPE_CHECKING:
    from types import TracebackType

    from pydantic.fields import FieldInfo

    from jwpipe.outcomes import Outcome
    from jwpipe.plan import Plan, ReferenceRow, StepRow

MIB = 1 << 20
WIDTH_OF_FILES = 160
TIME_WIDTH = len("0:00:00")
TOLD_BY_US = ("tweakwcs",)
"""Libraries whose warnings are not shown: what matters of them is among a run's own notes."""

logger = logging.getLogger("jwpipe")


def _for_users(record: logging.LogRecord) -> bool:
    """Whether a log record is of jwpipe itself, or serious."""
    if record.name.partition(".")[0] == "jwpipe":
        return True
    return record.levelno >= logging.WARNING and not record.name.startswith(TOLD_BY_US)


def _warned(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    """A warning as a line of the log; numerical and deprecation warnings say nothing to users."""
    if issubclass(category, UserWarning):
        logger.warning("%s", message)


class Reporter:
    """Progress of a run: a bar per exposure and stage on a terminal, plain log lines otherwise."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self._bars: Progress | None = None
        self._task: TaskID | None = None
        self._handler: logging.Handler = logging.StreamHandler()
        self._before = logger.level, warnings.showwarning
        self._started = time.perf_counter()
        self._label = ""

    def __enter__(self) -> Reporter:
        if self.console.is_terminal:
            label = TextColumn(
                "{task.description}", table_column=Column(overflow="ellipsis", no_wrap=True)
            )
            spent = TimeElapsedColumn(table_column=Column(min_width=TIME_WIDTH))
            left = TimeRemainingColumn(table_column=Column(min_width=TIME_WIDTH))
            self._bars = Progress(label, BarColumn(15), spent, "left", left, console=self.console)
            self._bars.start()
            self._handler = RichHandler(console=self.console, show_path=False, show_time=False)
        else:
            self._handler = logging.StreamHandler()
            self._handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        self._handler.addFilter(_for_users)
        logging.getLogger().addHandler(self._handler)
        logger.setLevel("WARNING" if self._bars else "INFO")
        warnings.showwarning = _warned
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        logging.getLogger().removeHandler(self._handler)
        level, warnings.showwarning = self._before
        logger.setLevel(level)
        if self._bars is not None:
            for task in self._bars.task_ids:
                self._bars.remove_task(task)
            self._bars.stop()

    def start(self, label: str) -> None:
        """A stage of an exposure begins."""
        self._label, self._started = label, time.perf_counter()
        if self._bars is not None:
            self._task = self._bars.add_task(label, total=None)
        else:
            logger.info("%s ...", label)

    def phase(self, name: str) -> None:
        """A part of the stage begins."""
        if self._bars is not None and self._task is not None:
            unit = self._label.split()[0]
            self._bars.reset(self._task, description=f"{unit}: {name}", total=None)
        else:
            logger.info("%s: %s ...", self._label, name)

    def advance(self, done: int, total: int) -> None:
        """``done`` of ``total`` tasks are finished."""
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, completed=done, total=total)

    def finish(self, error: str = "") -> None:
        """The stage is over; ``error`` says why it failed."""
        if self._bars is not None and self._task is not None:
            self._bars.remove_task(self._task)
        seconds = time.perf_counter() - self._started
        if error:
            logger.error("%s failed: %s", self._label, error)
        elif self._bars is not None:
            self.console.print(f"{self._label} done in {seconds:.1f} s", highlight=False)
        else:
            logger.info("%s done in %.1f s", self._label, seconds)

    def note(self, text: str) -> None:
        """Something worth knowing."""
        logger.warning("%s", text)


def _console() -> Console:
    """Standard output; wider than a screen where it goes to a file, so that names stay whole."""
    console = Console(highlight=False)
    asked = console.is_terminal or "COLUMNS" in os.environ
    return console if asked else Console(highlight=False, width=WIDTH_OF_FILES)


def print_outcomes(outcomes: Sequence[Outcome], folder: Path, *, seconds: float, peak: int) -> None:
    """What was written and how long it took, what failed and why, and the peak memory."""
    console = _console()
    bad = [outcome for outcome in outcomes if outcome.error]
    shown = [outcome for outcome in outcomes if outcome.written or not outcome.error]
    if shown:
        table = Table("stage", f"written to {folder}", "time", box=None, pad_edge=False)
        table.columns[1].overflow = "fold"
        for outcome in shown:
            written = "\n".join(_inside(path, folder) for path in outcome.written)
            kept = f"({outcome.name}: {outcome.unwritten})"
            table.add_row(outcome.stage, escape(written or kept), f"{outcome.seconds:.1f} s")
        console.print(table)
    for outcome in bad:
        name = "" if outcome.name in outcome.error else f" {escape(outcome.name)}"
        text = f"[red]failed[/red]{name} ({outcome.stage}): {escape(outcome.error)}"
        console.print(text, soft_wrap=True)
    console.print(
        f"{len(outcomes) - len(bad)} done, {len(bad)} failed in {seconds:.1f} s; "
        f"peak memory of a process {peak / MIB:.0f} MiB"
    )


def _inside(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder) if path.is_relative_to(folder) else path)


def print_plan(plans: Sequence[Plan]) -> None:
    """Steps, references, parameters, chunks, tasks, memory and products of each planned unit."""
    console = _console()
    for plan in plans:
        console.print(f"\n[bold]{escape(plan.name)}[/bold]  {plan.pipeline}", soft_wrap=True)
        if plan.error:
            console.print(f"  [red]cannot run:[/red] {escape(plan.error)}", soft_wrap=True)
            continue
        console.print(_steps_of(plan))
        console.print(f"  chunks    {plan.chunks}")
        console.print(f"  tasks     {plan.tasks or 'counted with the next pipeline'}")
        console.print(f"  memory    {plan.memory / MIB:.0f} MiB predicted peak per worker")
        for product in plan.products:
            console.print(f"  writes    {escape(str(product))}", soft_wrap=True)


def _steps_of(plan: Plan) -> Table:
    table = Table("  step", "runs", "why not, parameters, references", box=None, pad_edge=False)
    table.columns[2].overflow = "fold"
    for row in plan.steps:
        table.add_row(f"  {row.name}", "no" if row.reason else "yes", escape(_details(row)))
    return table


def _details(row: StepRow) -> str:
    settings = [f"{name} = {value}" for name, value in row.parameters.items()]
    files = [f"{kind}: {file}" for kind, file in row.references.items()]
    return "\n".join([*filter(None, [row.reason]), *settings, *files])


def print_references(rows: Iterable[ReferenceRow]) -> None:
    """The references of each input: type, file, and where it came from."""
    console = _console()
    for exposure, found in groupby(rows, lambda row: row.exposure):
        console.print(f"\n[bold]{escape(exposure)}[/bold]", soft_wrap=True)
        table = Table("  type", "file", "from", box=None, pad_edge=False)
        for column in table.columns:
            column.overflow = "fold"
        problems = []
        for row in found:
            if row.problem:
                problems.append(row.problem)
            else:
                table.add_row(f"  {row.type}", escape(row.file), escape(row.source))
        if table.row_count:
            console.print(table)
        for problem in problems:
            console.print(f"  [red]{escape(problem)}[/red]", soft_wrap=True)


def print_steps(name: str | None) -> None:
    """Pipelines and their steps, or the parameters of one."""
    from jwpipe.params import ParameterError, nearest
    from jwpipe.request import all_steps

    pipelines = all_steps()
    console = _console()
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
    console.print(f"\n[bold]{step.name}[/bold]  references: {references}")
    table = Table("parameter", "default", "meaning", box=None)
    table.columns[0].overflow = "fold"
    for field, info in step.params.model_fields.items():
        meaning = "; ".join(filter(None, [info.description, _allowed(info)]))
        table.add_row(field, escape(repr(info.default)), escape(meaning))
    console.print(table)


def _allowed(field: FieldInfo) -> str:
    """The values that a parameter may have, where they are few or bounded."""
    kinds = (field.annotation, *get_args(field.annotation))
    options = [value for kind in kinds if get_origin(kind) is Literal for value in get_args(kind)]
    bounds = [
        f"{sign} {getattr(each, name)}"
        for each in field.metadata
        for name, sign in (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))
        if hasattr(each, name)
    ]
    return f"one of {', '.join(map(str, options))}" if options else ", ".join(bounds)
