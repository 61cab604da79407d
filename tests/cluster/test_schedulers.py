"""The same products from all schedulers, and what happens where workers or schedulers are lost."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import jwpipe
from jwpipe.cluster import SchedulerError, UnknownScheduler, connect, threads_of

WORDS = ("detector1,image2,image3", "--skip", "source_catalog")


def dask_command(*words, environment):
    command = [sys.executable, "-m", "dask", *map(str, words), "--no-dashboard"]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


@contextmanager
def cluster(folder: Path, environment: dict[str, str], workers: int) -> Iterator[tuple]:
    """A scheduler and workers on this machine, talking over TCP: the address, and the workers' processes."""
    meeting = folder / "scheduler.json"
    scheduler = ("scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", meeting)
    started = [dask_command(*scheduler, environment=environment)]
    try:
        until = time.monotonic() + 60
        while not (meeting.exists() and meeting.read_text().strip()):
            assert time.monotonic() < until
            time.sleep(0.1)
        address = json.loads(meeting.read_text())["address"]
        words = ("worker", address, "--nthreads", "1", "--no-nanny")
        words += ("--local-directory", folder)
        started += [dask_command(*words, environment=environment) for _ in range(workers)]
        yield address, started[1:]
    finally:
        for process in reversed(started):
            process.kill()
            process.wait()


def same(folder, other):
    """Both folders hold the same products with the same pixels, bit for bit."""
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted(path.name for path in other.iterdir())
    for name in names:
        ours, theirs = jwpipe.open(folder / name), jwpipe.open(other / name)
        assert set(ours) == set(theirs)
        for variable in ours:
            a, b = ours[variable].values, theirs[variable].values
            assert a.tobytes() == b.tobytes(), (name, variable)


@pytest.fixture(scope="session")
def expected(tiny, tmp_path_factory):
    """The products of one thread."""
    folder = tmp_path_factory.mktemp("sync")
    outcomes = jwpipe.run(
        "detector1,image2,image3",
        tiny.folder / "uncal",
        folder,
        refs=tiny.references,
        steps={"source_catalog": {"skip": True}},
        scheduler="sync",
    )
    assert not any(outcome.error for outcome in outcomes)
    return folder


def test_threads_give_the_same(jw, tiny, refs, expected, tmp_path):
    words = ("run", *WORDS, tiny.folder / "uncal", "--refs", refs, "-o", tmp_path / "out")
    assert jw(*words, "--workers", 2).status == 0
    same(tmp_path / "out", expected)


def test_processes_give_the_same_and_keep_quiet(
    process, environment, tiny, refs, expected, tmp_path
):
    words = ("run", *WORDS, tiny.folder / "uncal", "--refs", refs, "-o", tmp_path / "out")
    ran = process(*words, "--scheduler", "local", "--workers", 2, env=environment)
    text, _ = ran.communicate(timeout=300)
    assert ran.returncode == 0, text
    assert "distributed" not in text
    same(tmp_path / "out", expected)


def test_a_killed_worker_is_done_without(process, environment, jw, tiny, refs, tmp_path):
    """One of two workers is killed while it computes; the other one finishes."""
    words = ("run", "superbias", tiny.folder / "uncal", "--refs", refs)
    slowly = ("--set", 'superbias.post_hooks=["mine.slow"]')
    with cluster(tmp_path, environment, 2) as (address, workers):
        options = ("-o", tmp_path / "out", "--scheduler", address, *slowly)
        ran = process(*words, *options, env=environment)
        lines = iter(ran.stdout.readline, "")
        assert any("_00002_" in line for line in lines)
        time.sleep(1.0)
        workers[0].kill()
        text = "".join(lines)
        ran.wait(timeout=300)
    assert ran.returncode == 0, text
    assert "3 done, 0 failed" in text
    assert "peak memory of a process" in text
    assert jw(*words, "-o", tmp_path / "here").status == 0
    same(tmp_path / "out", tmp_path / "here")


def test_a_function_of_the_user_runs_where_the_workers_are(environment, jw, tiny, refs, tmp_path):
    """Its file is on the user's machine alone: the workers cannot import it."""
    own = tmp_path / "own.py"
    own.write_text(
        "from jwpipe import chunk_step\n"
        "LEVEL = 7\n"
        "@chunk_step(apart=True)\n"
        "def lower(sci, *, by: float = 1.0):\n"
        "    return sci - by * LEVEL\n"
    )
    words = ("run", "detector1", tiny.uncal[0], "--refs", refs, "--insert")
    words += (f"before:linearity={own}:lower", "--set", "lower.by=2")
    with cluster(tmp_path, environment, 1) as (address, _):
        ran = jw(*words, "-o", tmp_path / "out", "--scheduler", address)
    assert ran.status == 0, ran.output
    assert jw(*words, "-o", tmp_path / "here").status == 0
    same(tmp_path / "out", tmp_path / "here")
    assert jw(*words[:5], "-o", tmp_path / "plain").status == 0
    rates = [
        jwpipe.open(next((tmp_path / folder).glob("*_rate.fits")))["sci"].values
        for folder in ("here", "plain")
    ]
    assert not np.array_equal(*rates, equal_nan=True)


def test_nobody_at_the_address(jw, uncal, refs, tmp_path, monkeypatch):
    monkeypatch.setattr("jwpipe.cluster.ANSWER_TIMEOUT", "1s")
    words = ("run", "detector1", uncal[0], "--refs", refs, "-o", tmp_path / "out")
    ran = jw(*words, "--scheduler", "tcp://127.0.0.1:9")
    assert (ran.status, "no dask scheduler answers at tcp://127.0.0.1:9" in ran.output) == (1, True)
    assert not (tmp_path / "out").exists()


def test_a_scheduler_without_workers(environment, tmp_path, monkeypatch):
    monkeypatch.setattr("jwpipe.cluster.WORKER_TIMEOUT", 1)
    told = pytest.raises(SchedulerError, match="had no worker for 1 s; start workers")
    with cluster(tmp_path, environment, 0) as (address, _), told, connect(address):
        raise AssertionError("connected")


def test_unknown_schedulers_are_refused():
    told = pytest.raises(UnknownScheduler, match="expected threads, sync, local or tcp://")
    with told, connect("thread"):
        raise AssertionError("connected")


@pytest.mark.parametrize(
    ("scheduler", "workers", "threads"),
    [("threads", 3, 3), ("sync", 3, 1), ("local", 3, 1), ("tcp://host:1", None, 1)],
)
def test_threads_of_a_process(scheduler, workers, threads):
    assert threads_of(scheduler, workers) == threads


def test_progress_is_told_and_values_come_back():
    array = np.arange(8)
    import dask.array as da

    told = []
    with connect("threads", 2) as executor:
        (total,) = executor.compute([da.from_array(array, 2).sum()], lambda *n: told.append(n))
        assert executor.peak_memory() > 1 << 20
    assert total == 28
    assert told[-1][0] == told[-1][1] > 3
