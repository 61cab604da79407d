"""Kernels compile once per installation, whoever asks first."""

import logging
import multiprocessing as mp
from pathlib import Path

import numpy as np
import pytest
from numba.core.registry import CPUDispatcher

from jwpipe.numerics import jit, planes

PROCESSES, ROUNDS = 4, 20
FLAGS = np.array([[[[1, 3], [5, 1]], [[1, 2], [1, 1]]]], np.uint8)


def fresh(home: Path, monkeypatch: pytest.MonkeyPatch) -> CPUDispatcher:
    """A kernel of ours as a new process would have it whose cache is in ``home``."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    jit.cache_folder.cache_clear()
    return jit.kernel(planes.whole_planes.py_func)


def ask_at_once(home: Path, barrier, results) -> None:
    """A process that calls a kernel in round after round, each with a new cache, together with the others."""
    with pytest.MonkeyPatch.context() as patch:
        for number in range(ROUNDS):
            kernel = fresh(home / str(number), patch)
            barrier.wait(60)
            found = kernel(FLAGS, np.uint8(1)).tolist()
            again = fresh(home / str(number), patch)
            results.put((number, found, again(FLAGS, np.uint8(1)).tolist(), loaded(again)))
            barrier.wait(60)


def loaded(kernel: CPUDispatcher) -> bool:
    """Whether the kernel came from the cache, and not from the compiler."""
    return bool(kernel.stats.cache_hits) and not kernel.stats.cache_misses


def test_four_processes_at_once_twenty_times(tmp_path):
    context = mp.get_context("spawn")
    barrier, results = context.Barrier(PROCESSES), context.Queue()
    processes = [
        context.Process(target=ask_at_once, args=(tmp_path, barrier, results))
        for _ in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    found = [results.get(timeout=120) for _ in range(PROCESSES * ROUNDS)]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    # The second group of two has a pixel without the bit.
    assert sorted(found) == sorted(
        (number, [[True, False]], [[True, False]], True)
        for number in range(ROUNDS)
        for _ in range(PROCESSES)
    )


def test_says_once_that_it_compiles(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(jit.ANNOUNCER, "said", False)
    for home in ("one", "other"):
        fresh(tmp_path / home, monkeypatch)(FLAGS, np.uint8(1))
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [
        "kernels are compiled for this machine: up to a minute, once"
    ]


def test_says_nothing_where_all_is_compiled(tmp_path, monkeypatch, caplog):
    fresh(tmp_path, monkeypatch)(FLAGS, np.uint8(1))
    caplog.clear()
    monkeypatch.setattr(jit.ANNOUNCER, "said", False)
    kernel = fresh(tmp_path, monkeypatch)
    kernel(FLAGS, np.uint8(1))
    assert loaded(kernel)
    assert not caplog.records
