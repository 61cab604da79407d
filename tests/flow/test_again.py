"""Lazy arrays made once more: same pixels, tasks of their own, in order."""

import dask
import dask.array as da
import numpy as np
import pytest

from jwpipe.again import again


@pytest.fixture
def made():
    """A lazy array behind a slice, and the list of what its tasks did."""
    done = []

    def work(block):
        done.append("block")
        return block + 1

    whole = da.from_array(np.arange(64.0).reshape(8, 8), chunks=4).map_blocks(
        work, dtype=float, meta=np.empty((0, 0))
    )
    return whole, whole[2:6].rechunk(2), done


def after(array, done):
    def note(block):
        done.append("after")
        return block

    return array.sum().reshape(1).map_blocks(note, dtype=float, meta=np.empty(0))


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_same_pixels_of_new_tasks(made, scheduler):
    whole, part, done = made
    copies = again({"part": part, "whole": whole})
    with dask.config.set(scheduler=scheduler):
        results = dask.compute(part, copies["part"], whole, copies["whole"])
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[2], results[3])
    assert done.count("block") == 2 * whole.npartitions


def test_they_wait(made):
    _, part, done = made
    ones = da.ones(3, chunks=3)
    copy = again({"part": part}, after(ones, done))["part"]
    assert copy.sum().compute(scheduler="sync") == part.compute(scheduler="sync").sum()
    assert done[0] == "after"


def test_what_is_kept_is_not_made_again(made):
    whole, part, done = made
    copy = again({"part": part}, after(whole, done), kept=(whole,))["part"]
    result, _ = dask.compute(copy, whole, scheduler="sync")
    np.testing.assert_array_equal(result, np.arange(64.0).reshape(8, 8)[2:6] + 1)
    assert done == ["block"] * whole.npartitions + ["after"]


def test_who_asks_alike_gets_the_same(made):
    whole, part, _ = made
    one, other = (again({"part": part}, whole)["part"] for _ in range(2))
    assert one.name == other.name
    assert again({"part": part})["part"].name != one.name
