"""A tiny observation with its references, its products, and the command line as tests use them."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import dask
import pytest
from astropy.io import fits
from click.testing import CliRunner
from detector_examples import EXAMPLES, simulated

from jwpipe.cli import main
from jwpipe.runner import run
from jwpipe.simulate import Observation
from jwpipe.simulate import observation as simulate
from jwpipe.simulate.sky import Scene

CRDS_VARIABLES = ("CRDS_PATH", "CRDS_SERVER_URL", "CRDS_CONTEXT")


@dataclass(frozen=True)
class Ran:
    """What a command gave: its exit status, and all that it printed."""

    status: int
    output: str


@pytest.fixture(autouse=True)
def no_calibration_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """References come from folders alone, whatever is set where the tests run."""
    for name in CRDS_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Observation:
    """Three dithered ramps of one NIRCam detector, 64 x 64 pixels, and their references."""
    crowded = Scene(star_density=3.0, bright_density=0.1, separation=0.3, galaxy_density=0.3)
    return simulate(
        tmp_path_factory.mktemp("tiny"),
        detectors=("NRCB1",),
        dithers=3,
        subarray="SUB160P",
        size=64,
        ngroups=5,
        readpatt="RAPID",
        scene=crowded,
    )


@pytest.fixture(scope="session")
def detector_runs(
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, tuple[Observation, Path]]:
    """An exposure of every kind of detector, and the folder of its rates."""
    runs = {}
    for name in EXAMPLES:
        root = tmp_path_factory.mktemp("detector")
        made = simulated(name, root)
        (outcome,) = run("detector1", made.uncal[0], root / "ours", refs=[made.references])
        assert not outcome.error, outcome.error
        runs[name] = made, root / "ours"
    return runs


@pytest.fixture(scope="session")
def uncal(tiny: Observation) -> list[Path]:
    """The raw files."""
    return list(tiny.uncal)


@pytest.fixture(scope="session")
def refs(tiny: Observation) -> Path:
    """The folder of references."""
    return tiny.references


@pytest.fixture(scope="session")
def products(tiny: Observation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with rate, rateints, cal and i2d of all exposures."""
    folder = tmp_path_factory.mktemp("products")
    words = ["run", "detector1,image2", str(tiny.folder / "uncal"), "--save", "detector1"]
    result = CliRunner().invoke(main, [*words, "--refs", str(tiny.references), "-o", str(folder)])
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def jw(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """The command line within this process: ``jw("run", "detector1", path, ...)``."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words: object) -> Ran:
        result = CliRunner().invoke(main, [str(word) for word in words])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(result.exit_code, result.output)

    return call


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Callable[..., subprocess.Popen[str]]:
    """The command line as a process of its own, started and not waited for."""

    def start(*words: object, **options: object) -> subprocess.Popen[str]:
        settings = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True} | options
        arguments = [sys.executable, "-m", "jwpipe.cli", *map(str, words)]
        # Tests that run in the background ignore interrupts, and what they start would do so too.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            return subprocess.Popen(arguments, **settings)  # type: ignore[call-overload]
        finally:
            signal.signal(signal.SIGINT, before)

    return start


@pytest.fixture
def edited(tmp_path: Path) -> Callable[..., Path]:
    """A copy of a FITS file after ``change(hdus)``."""

    def edit(source: Path, change: Callable[[fits.HDUList], None], name: str = "") -> Path:
        target = tmp_path / (name or source.name)
        with fits.open(source, memmap=False) as hdus:
            copy = fits.HDUList([hdu.copy() for hdu in hdus])
            change(copy)
            copy.writeto(target, overwrite=True)
        return target

    return edit


@pytest.fixture
def nothing_computed() -> Iterator[None]:
    """Whoever computes fails."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("computed before it was asked for")

    with dask.config.set(scheduler=refuse):
        yield


@pytest.fixture(scope="session")
def own_functions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a module ``mine`` of a user's own functions, for hooks by name."""
    folder = tmp_path_factory.mktemp("functions")
    (folder / "mine.py").write_text(
        """
import time


def doubled(exposure):
    return exposure.assign(sci=exposure["sci"] * 2)


def slow(exposure):
    data = exposure["sci"].data
    waiting = data.map_blocks(_wait, dtype=data.dtype, meta=data._meta)
    return exposure.assign(sci=exposure["sci"].copy(data=waiting))


def _wait(block):
    time.sleep(2.0)
    return block
"""
    )
    return folder


def left_over(folder: Path) -> list[str]:
    """Temporary files in a folder."""
    return [path.name for path in folder.rglob("*") if ".tmp-" in path.name or path.name[0] == "."]


@pytest.fixture(name="left_over")
def left_over_fixture() -> Callable[[Path], list[str]]:
    """`left_over`."""
    return left_over


@pytest.fixture
def copied(tmp_path: Path) -> Callable[..., list[Path]]:
    """Copies of files in a folder of their own."""

    def copy(paths: list[Path], folder: str = "copies") -> list[Path]:
        target = tmp_path / folder
        target.mkdir(exist_ok=True)
        return [Path(shutil.copy(path, target)) for path in paths]

    return copy


@pytest.fixture
def environment(own_functions: Path) -> dict[str, str]:
    """The environment of processes that find ``mine`` and jwpipe."""
    paths = [str(own_functions), *filter(None, [os.environ.get("PYTHONPATH")])]
    rest = {k: v for k, v in os.environ.items() if k not in CRDS_VARIABLES}
    return {**rest, "PYTHONPATH": os.pathsep.join(paths)}
