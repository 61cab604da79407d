"""One task for all that is written of a block: where blocks land, what is told of them, and how few tasks there are."""

from operator import getitem

import dask
import dask.array as da
import numpy as np
import pytest

from jwpipe.io.writing import Written, writing_of


def lazily(pixels, chunks):
    return da.from_array(pixels, chunks=chunks)


@pytest.fixture
def cube():
    return np.random.default_rng(2).normal(size=(3, 20, 12)).astype(np.float32)


@pytest.mark.parametrize("chunks", [(3, 7, 12), (3, 20, 5), (1, 7, 5)])
def test_blocks_land_in_their_place(cube, chunks):
    plane = cube[0] > 0
    targets = np.zeros_like(cube), np.zeros_like(plane), np.zeros(20)
    arrays = lazily(cube, chunks), lazily(plane, chunks[1:]), lazily(np.arange(20.0), 6)
    with dask.config.set(scheduler="sync"):
        writing_of([Written(a, t) for a, t in zip(arrays, targets, strict=True)]).compute()
    for target, expected in zip(targets, (cube, plane, np.arange(20.0)), strict=True):
        np.testing.assert_array_equal(target, expected)


def test_arrays_cut_alike_share_their_tasks(cube):
    many = [
        Written(lazily(cube, (3, 5, 12)) + k, np.zeros_like(cube), looked=False) for k in range(4)
    ]
    plane = Written(lazily(cube[0], (5, 12)), np.zeros_like(cube[0]))
    assert writing_of([*many, plane]).numblocks == (1, 4)


def test_an_output_of_a_block_is_picked_by_the_task_that_writes_it(cube):
    block = ("block", 0, 0)
    layers = {"block": {block: (np.divmod, cube[0], 2.0)}}
    links = {"block": set()}
    arrays = []
    for k, name in enumerate(("whole", "rest")):
        layers[name] = {(name, 0, 0): (getitem, block, k)}
        links[name] = {"block"}
        graph = dask.highlevelgraph.HighLevelGraph(layers, links)
        arrays.append(da.Array(graph, name, ((20,), (12,)), np.float32))
    targets = np.zeros((20, 12)), np.zeros((20, 12))
    writing = writing_of([Written(a, t) for a, t in zip(arrays, targets, strict=True)])
    (optimized,) = dask.optimize(writing)
    assert len(dict(optimized.__dask_graph__())) <= 2
    writing.compute(scheduler="sync")
    # One rounding of single precision.
    np.testing.assert_allclose(targets[0] * 2 + targets[1], cube[0], rtol=0, atol=1e-6)


def test_only_looked_at_images_tell_of_finite_pixels(cube):
    void = np.full_like(cube[0], np.nan)
    last = void.copy()
    last[-1, -1] = 1.0
    given = [
        Written(lazily(image, (10, 12)), np.zeros_like(image), looked)
        for image, looked in ((void, True), (last, True), (last, False))
    ]
    found = writing_of(given).compute(scheduler="sync")
    assert found.tolist() == [[False, False], [False, True], [False, False]]


def test_an_empty_array_is_not_written():
    target = np.zeros((0, 4))
    assert not writing_of([Written(da.zeros((0, 4)), target, True)]).compute().any()
