"""The command line: parse, call, print. Commands import what they need, so that ``--help`` answers at once."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import click

from jwpipe import __version__
from jwpipe.cli_repair import add_commands

GOOD, FAILED, USAGE = 0, 1, 2


def scheduler_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Where to compute."""
    for option in (
        click.option(
            "--workers", type=click.IntRange(1), help="Threads or processes. Default: all cores."
        ),
        click.option(
            "--scheduler",
            default="threads",
            show_default=True,
            metavar="NAME|ADDRESS",
            help="threads, sync (one thread), local (processes), or tcp://HOST:PORT of a dask scheduler.",
        ),
    ):
        command = option(command)
    return command


def request_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The arguments that ``run`` and ``plan`` share."""
    options: list[Callable[..., Any]] = [
        click.argument("pipeline"),
        click.argument("inputs", nargs=-1, required=True, metavar="INPUT..."),
        click.option(
            "-o",
            "--output",
            default=".",
            metavar="DIR",
            help="Folder for the products. Default: this one.",
        ),
        click.option(
            "--refs",
            multiple=True,
            metavar="DIR",
            help="Folder of reference files; may be repeated.",
        ),
        click.option(
            "--override",
            multiple=True,
            metavar="TYPE=FILE",
            help="Reference file to use; N/A to do without.",
        ),
        click.option(
            "--set",
            "sets",
            multiple=True,
            metavar="STEP.PARAM=VALUE",
            help="A parameter of a step.",
        ),
        click.option("--skip", multiple=True, metavar="STEP", help="Leave a step out."),
        click.option(
            "--params",
            multiple=True,
            metavar="FILE",
            help="Parameters in TOML ([step] tables) or CRDS pars ASDF.",
        ),
        click.option(
            "--save",
            multiple=True,
            metavar="STEP",
            help="Write the result of a step or pipeline as well.",
        ),
        scheduler_options,
        click.option(
            "--format",
            "form",
            type=click.Choice(["fits", "zarr"]),
            default="fits",
            show_default=True,
            help="Of the products.",
        ),
        click.option(
            "--resume",
            is_flag=True,
            help="Leave exposures whose products are there already, made in the same way.",
        ),
        click.option(
            "--insert",
            multiple=True,
            metavar="WHERE=FUNCTION",
            help="Your own step: after:STEP=FILE.py:FUNCTION, or before:STEP=MODULE:FUNCTION.",
        ),
        click.option(
            "--like-peer",
            is_flag=True,
            help="Do as jwst 3.0.0 also where it is wrong, to reproduce archived numbers.",
        ),
        click.option(
            "--whole",
            is_flag=True,
            help="One product of all segments (-seg001 ...) of an exposure. Default: one of each.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def plain_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """Print known errors as one message: wrong usage exits 2, anything else 1."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        """Run the command; a problem of the user's is a line on the screen."""
        from jwpipe.cluster import SchedulerError, UnknownScheduler
        from jwpipe.exposure import ExposureError
        from jwpipe.params import ParameterError

        try:
            with terminated_as_interrupted():
                return command(*args, **kwargs)
        except (ParameterError, UnknownScheduler) as error:
            click.echo(f"jwpipe: {error}", err=True)
            sys.exit(USAGE)
        except (ExposureError, SchedulerError, OSError) as error:
            click.echo(f"jwpipe: {error}", err=True)
            sys.exit(FAILED)
        except KeyboardInterrupt:
            click.echo("jwpipe: interrupted; nothing unfinished was left behind", err=True)
            sys.exit(FAILED)

    return wrapped


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM, which batch systems send before they kill, tidies up as Ctrl-C does."""

    def interrupt(*_: Any) -> None:
        """Raise what Ctrl-C raises."""
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _request(pipeline: str, inputs: tuple[str, ...], options: dict[str, Any]) -> Any:
    from jwpipe.request import request_of

    return request_of(
        pipeline,
        inputs,
        output=options["output"],
        refs=options["refs"],
        overrides=options["override"],
        sets=options["sets"],
        skip=options["skip"],
        params=options["params"],
        save=options["save"],
        form=options["form"],
        resume=options["resume"],
        insert=options["insert"],
        like_peer=options["like_peer"],
        whole=options["whole"],
    )


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """jwpipe: the JWST calibration pipeline as lazy, distributed array computing."""


@main.command()
@request_options
@plain_errors
def run(pipeline: str, inputs: tuple[str, ...], **options: Any) -> None:
    """Run PIPELINE on INPUT files, a folder, or an association.

    PIPELINE is detector1, image2, image3 (or calwebb_...), a chain such as detector1,image2,image3, or one step;
    dark and guider are for dark and guide-star exposures.
    """
    from jwpipe.cluster import connect
    from jwpipe.report import Reporter, print_outcomes
    from jwpipe.runner import run_request

    started = time.perf_counter()
    request = _request(pipeline, inputs, options)
    with Reporter() as reporter, connect(options["scheduler"], options["workers"]) as executor:
        outcomes = run_request(request, executor, reporter)
        peak = executor.peak_memory()
    seconds = time.perf_counter() - started
    print_outcomes(outcomes, request.output, seconds=seconds, peak=peak)
    sys.exit(FAILED if any(outcome.error for outcome in outcomes) else GOOD)


@main.command()
@request_options
@plain_errors
def plan(pipeline: str, inputs: tuple[str, ...], **options: Any) -> None:
    """Show what RUN would do, computing nothing: steps, references, parameters, chunks, memory, products."""
    from jwpipe.cluster import threads_of
    from jwpipe.plan import plan_request
    from jwpipe.report import print_plan

    threads = threads_of(options["scheduler"], options["workers"])
    plans = plan_request(_request(pipeline, inputs, options), threads)
    print_plan(plans)
    sys.exit(FAILED if any(each.error for each in plans) else GOOD)


@main.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("--refs", multiple=True, metavar="DIR", help="Folder of reference files.")
@click.option(
    "--override", multiple=True, metavar="TYPE=FILE", help="Reference file to use; N/A for none."
)
@click.option(
    "--pipeline",
    default="detector1,image2,image3",
    show_default=True,
    help="For which pipelines, from the one on that takes INPUT.",
)
@plain_errors
def refs(inputs: tuple[str, ...], pipeline: str, **options: Any) -> None:
    """List the reference files of each INPUT and where each comes from."""
    from jwpipe.plan import list_references
    from jwpipe.report import print_references
    from jwpipe.request import request_of

    request = request_of(pipeline, inputs, refs=options["refs"], overrides=options["override"])
    rows = list_references(request)
    print_references(rows)
    sys.exit(FAILED if any(row.problem for row in rows) else GOOD)


@main.command()
@click.argument("name", required=False)
@plain_errors
def steps(name: str | None) -> None:
    """List pipelines and steps, or the parameters of the pipeline or step NAME."""
    from jwpipe.report import print_steps

    print_steps(name)


@main.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("-o", "--output", required=True, help="The association to write (.json).")
@click.option("--product-name", help="Default: made from the files' headers.")
@click.option(
    "--rule",
    type=click.Choice(["image2", "image3"]),
    default="image3",
    show_default=True,
    help="One product of all FILEs, or one of each.",
)
@plain_errors
def asn(files: tuple[str, ...], output: str, product_name: str | None, rule: str) -> None:
    """Make an association from a list of FILEs."""
    from jwpipe.inputs import make_association

    click.echo(make_association(files, output, product_name, rule))


@main.command()
@click.argument("file")
@click.option("-o", "--output", help="The picture to write (.png). Default: beside FILE.")
@click.option(
    "--wcs", is_flag=True, help="Draw the sky's axes, or slits, slices, orders and wavelengths."
)
@click.option("--catalogue", default="", help="Slitless spectra: the sources (_cat.ecsv).")
@click.option(
    "--wavelengthrange", default="", help="Slitless spectra: the reference with filters' ranges."
)
@plain_errors
def show(file: str, output: str | None, **options: Any) -> None:
    """Write a PNG quick look of FILE."""
    from pathlib import Path

    from jwpipe.quicklook import show as draw

    click.echo(draw(file, output or Path(file).with_suffix(".png"), **options))


@main.command(context_settings={"ignore_unknown_options": True})
@click.argument("file")
@click.argument("coordinates", nargs=-1, required=True, type=float, metavar="X Y")
@click.option(
    "--inverse",
    is_flag=True,
    help="The way back: RA DEC (deg), and WAVELENGTH (micron) for spectra, in place of X Y.",
)
@click.option("--slit", metavar="NAME", help="NIRSpec: the slit, or the slitlet's number.")
@click.option("--slice", type=int, metavar="N", help="NIRSpec IFU: the slice, 0 to 29.")
@click.option("--order", type=int, metavar="N", help="Grisms and SOSS: the order of the spectrum.")
@click.option(
    "--source",
    type=(float, float),
    metavar="X0 Y0",
    help="Grisms: the source's pixel in the direct image, counted from 0.",
)
@click.option("--stripe", type=int, metavar="N", help="DHS: the stripe, with --inverse.")
@plain_errors
def wcs(file: str, coordinates: tuple[float, ...], inverse: bool, **choice: Any) -> None:
    """Print where pixel X Y of FILE looks: right ascension, declination, wavelength.

    Pixels are counted from 0: the middle of the first is 0 0. With --inverse, print the pixel that light falls on.
    """
    from jwpipe.io import open as open_exposure
    from jwpipe.io.slits import has_slits, open_slit
    from jwpipe.wcs.inspect import Choice, described, part_of

    if len(coordinates) not in ((2, 3) if inverse else (2,)):
        expected = "RA DEC [WAVELENGTH]" if inverse else "X Y"
        raise click.UsageError(f"expected {expected}, found {len(coordinates)} numbers")
    exposure = open_slit(file, choice.pop("slit")) if has_slits(file) else open_exposure(file)
    part = part_of(exposure, Choice(**choice), inverse=inverse)
    click.echo(described(part.pixel(*coordinates) if inverse else part.place(*coordinates)))


@main.command()
@click.option(
    "-o", "--output", default="jwpipe-demo", show_default=True, help="Folder to write to."
)
@click.option(
    "--size",
    type=click.Choice(["small", "full"]),
    default="small",
    show_default=True,
    help="A subarray, or full frames.",
)
@scheduler_options
@plain_errors
def demo(output: str, size: str, scheduler: str, workers: int | None) -> None:
    """Simulate a small field, run stages 1 to 3, and compare with the truth."""
    from jwpipe.demo import run_demo

    sys.exit(run_demo(output, size=size, scheduler=scheduler, workers=workers))


add_commands(main, plain_errors)

if __name__ == "__main__":
    main()
