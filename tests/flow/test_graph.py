"""The engine: chunked equals unchunked, halos and borders, sources read by the tasks that need them."""

import dask
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from astropy.io import fits

from jwpipe.engine.borders import Levels
from jwpipe.engine.chain import Bound, Chain
from jwpipe.engine.graph import run_chain, source_of
from jwpipe.io.fitsarray import FitsArray
from jwpipe.io.handles import handle_name
from jwpipe.refs import RefArray
from jwpipe.step import Border, Round, Step, Survey

SHAPE = (2, 3, 520, 24)


def add_reference(sci, reference, *, factor):
    return (sci + np.float32(factor) * reference,)


def neighbour_sum(sci):
    out = sci.copy()
    out[..., 1:, :] += sci[..., :-1, :]
    out[..., :-1, :] += sci[..., 1:, :]
    return (out,)


def edge_levels(sides, **_):
    top, left = sides["top"]["sci"], sides["left"]["sci"]
    return top.mean(axis=2), left.mean(axis=3)


def subtract_edges(sci, along_x, along_y):
    return (sci - along_x[:, :, None, :] - along_y[:, :, :, None],)


ADD = Step("add", add_reference, ("sci",), ("sci",))
SUM = Step("sum", neighbour_sum, ("sci",), ("sci",))
EDGES = Step(
    "edges",
    subtract_edges,
    ("sci",),
    ("sci",),
    border=Border(4, edge_levels, (("integration", "group", "x"), ("integration", "group", "y"))),
)


@pytest.fixture
def pixels():
    return np.random.default_rng(1).integers(0, 1000, SHAPE).astype(np.uint16)


@pytest.fixture
def chain():
    reference = RefArray.from_numpy(np.arange(520 * 24, dtype=np.float32).reshape(520, 24))
    return (
        Bound(ADD, {"factor": 0.5}, (reference,), 0),
        Bound(SUM, {}, (), 1),
        Bound(EDGES, {}, (), 0),
        Bound(SUM, {}, (), 1),
    )


def expected(pixels):
    sci = pixels.astype(np.float32)
    sci = sci + 0.5 * np.arange(520 * 24, dtype=np.float32).reshape(520, 24)
    (sci,) = neighbour_sum(sci)
    sci = sci - sci[:, :, -4:].mean(2)[:, :, None, :] - sci[..., :4].mean(3)[..., None]
    return neighbour_sum(sci)[0]


def exposure_of(array):
    return xr.Dataset({"sci": (("integration", "group", "y", "x"), array)})


def test_blocks_and_strips_equal_the_whole(pixels, chain):
    whole = Chain(chain, 520, 24, ("sci",), ("sci",))
    edges = []
    for run in (slice(0, 1), slice(1, 2)):
        sides = {
            name: whole.side(chain[2], name, run, pixels[(run, slice(None), *region)])
            for name, region in (
                ("top", (slice(515, 520), slice(0, 24))),
                ("left", (slice(0, 520), slice(0, 5))),
            )
        }
        edges.append(Levels(run.start, run.stop, edge_levels(sides)))
    (result,) = whole.block((slice(0, 520), slice(0, 24)), pixels, edges)
    np.testing.assert_allclose(result, expected(pixels), rtol=1e-5)


@pytest.mark.parametrize("rows", [520, 256, 100])
def test_chunked_input_equals_unchunked(pixels, chain, rows):
    exposure = exposure_of(da.from_array(pixels, chunks=(1, 2, rows, 24)))
    result = run_chain(exposure, chain, ["sci"])["sci"]
    assert result.chunksizes["y"] == (256, 264)
    np.testing.assert_allclose(result.values, expected(pixels), rtol=1e-5)
    assert result.attrs["units"] == "DN"


def test_tasks_read_their_rows_from_the_file(pixels, chain, tmp_path, monkeypatch):
    path = tmp_path / "ramp.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(pixels)]).writeto(path)
    with fits.open(path) as hdus:
        offset = hdus.info(output=False) and hdus[1].fileinfo()["datLoc"]
    handle = FitsArray(str(path), offset, ">i2", np.dtype(np.uint16), SHAPE)
    array = da.from_array(handle, chunks=(2, 3, 256, 24), name=handle_name(handle))
    exposure = exposure_of(array)
    exposure["sci"].encoding["handle"] = handle
    assert source_of(exposure["sci"]) is not None
    assert source_of(exposure["sci"] + 1) is None
    result = run_chain(exposure, chain, ["sci"])["sci"]
    np.testing.assert_allclose(result.values, expected(pixels), rtol=1e-5)


def test_graph_stays_small(pixels, chain):
    result = run_chain(exposure_of(da.from_array(pixels)), chain, ["sci"])["sci"]
    (optimized,) = dask.optimize(result.data)
    assert len(dict(optimized.__dask_graph__())) < 25


def test_a_cutout_computes_only_its_block(pixels, chain):
    calls = []

    def counted(sci):
        calls.append(sci.shape)
        return (sci,)

    steps = (Bound(Step("count", counted, ("sci",), ("sci",)), {}, (), 0),)
    exposure = exposure_of(da.from_array(pixels, chunks=(2, 3, 256, 24)))
    run_chain(exposure, steps, ["sci"])["sci"].isel(y=slice(0, 10)).compute(scheduler="sync")
    assert sum(shape[2] for shape in calls) == 256


def test_inputs_are_not_mutated(pixels, chain):
    before = pixels.copy()
    run_chain(exposure_of(da.from_array(pixels)), chain, ["sci"])["sci"].compute()
    np.testing.assert_array_equal(pixels, before)


def total(found, sci, reference):
    return sci.sum(axis=(2, 3), dtype=np.float64), sci.shape[2] * sci.shape[3], [reference[0, 0]]


def joined(one, other):
    return tuple(a + b for a, b in zip(one, other, strict=True))


def mean(found, merged):
    return merged[0] / merged[1], merged[2]


def above(found, sci, reference):
    return [(sci > found[0][:, :, None, None]).sum()]


def appended(found, merged):
    return (*found, sum(merged))


def subtract_mean(sci, found):
    return ((sci - found[0][:, :, None, None]).astype(np.float32),)


ROWS = RefArray.from_numpy(np.arange(520.0).repeat(24).reshape(520, 24))
ROUNDS = (Round(total, joined, mean), Round(above, list.__add__, appended))
MEAN = Step("mean", subtract_mean, ("sci",), ("sci",))


@pytest.fixture
def surveying(chain):
    """Halo before and after a survey; its result is needed again for the edges of a later step."""
    add, neighbours, edges, _ = chain
    survey = Bound(MEAN, {}, (), 0, Survey(("sci",), ROUNDS, (ROWS,), without=("skipped",)))
    skipped = Bound(Step("skipped", lambda sci: (sci,), ("sci",), ("sci",)), {}, (), 0)
    return (add, neighbours, skipped, survey, edges, neighbours)


def expected_of_survey(pixels):
    sci = pixels.astype(np.float32)
    sci = sci + 0.5 * np.arange(520 * 24, dtype=np.float32).reshape(520, 24)
    (sci,) = neighbour_sum(sci)
    sci = sci - sci.mean(axis=(2, 3), dtype=np.float64, keepdims=True)
    sci = sci - sci[:, :, -4:].mean(2)[:, :, None, :] - sci[..., :4].mean(3)[..., None]
    return neighbour_sum(sci)[0]


@pytest.mark.parametrize("rows", [520, 100])
def test_what_a_survey_finds_in_all_blocks_reaches_each(pixels, surveying, rows):
    exposure = exposure_of(da.from_array(pixels, chunks=(1, 2, rows, 24)))
    result = run_chain(exposure, surveying, ["sci"])["sci"]
    np.testing.assert_allclose(result.values, expected_of_survey(pixels), rtol=1e-4, atol=0.02)


def found_in(pixels, rounds, monkeypatch, heights):
    """What a survey of raw pixels finds, in blocks of so many rows."""
    monkeypatch.setattr("jwpipe.engine.graph.row_blocks", lambda ny, planes: heights)
    kept = []

    def keep(sci, found):
        kept.append(found)
        return (sci,)

    step = Step("keep", keep, ("sci",), ("sci",))
    bound = Bound(step, {}, (), 0, Survey(("sci",), rounds, (ROWS,)))
    run_chain(exposure_of(da.from_array(pixels)), (bound,), ["sci"])["sci"].compute()
    return kept[0]


@pytest.mark.parametrize("heights", [(520,), (8,) * 65, (500, 20)])
def test_rounds_build_on_each_other_and_merge_in_order(pixels, monkeypatch, heights):
    means, first_rows, number = found_in(pixels, ROUNDS, monkeypatch, heights)
    np.testing.assert_allclose(means, pixels.mean(axis=(2, 3)))
    assert number == (pixels > pixels.mean(axis=(2, 3), keepdims=True)).sum()
    assert first_rows == sorted(first_rows)
    assert first_rows[0] == 0


def test_a_round_looks_at_the_integrations_it_asks_for(pixels, monkeypatch):
    rounds = (Round(total, joined, mean, (1, 2)),)
    means, _ = found_in(pixels, rounds, monkeypatch, (256, 264))
    np.testing.assert_allclose(means, pixels[1:].mean(axis=(2, 3)))


def test_chains_that_begin_alike_share_what_they_gather(pixels, surveying):
    exposure = exposure_of(da.from_array(pixels, chunks=(1, 2, 100, 24)))
    both = [run_chain(exposure, steps, ["sci"])["sci"] for steps in (surveying, surveying[:-1])]
    keys = set(both[0].__dask_graph__()) & set(both[1].__dask_graph__())
    gathered = {key[0].split("-")[0] for key in keys if isinstance(key, tuple)}
    assert {"part", "found", "edges"} <= gathered


def test_steps_that_ask_the_same_share_the_answer(pixels):
    survey = Survey(("sci",), ROUNDS, (ROWS,), without=("mean",))
    steps = tuple(
        Bound(Step(name, subtract_mean, ("sci",), ("sci",)), {}, (), 0, survey)
        for name in ("mean", "again")
    )
    graph = run_chain(exposure_of(da.from_array(pixels)), steps, ["sci"])["sci"].__dask_graph__()
    assert sum(key[0].startswith("found-0-") for key in graph if isinstance(key, tuple)) == 1


def correct_both(sci, zeroframe):
    return sci + 1, None if zeroframe is None else zeroframe + 1


def rescue(sci, zeroframe):
    return (sci if zeroframe is None else sci + zeroframe[:, None],)


CORRECT = Step("correct", correct_both, ("sci", "zeroframe?"), ("sci", "zeroframe?"))
RESCUE = Step("rescue", rescue, ("sci", "zeroframe?"), ("sci",))


@pytest.mark.parametrize("idle", [True, False])
def test_what_is_merely_carried_is_not_read(pixels, idle):
    """The zero frame goes through the steps only where the last one makes use of it."""
    reads = []

    def frame(block):
        reads.append(block.shape)
        return block

    frames = da.from_array(pixels[:, 0].astype(np.float32), chunks=-1)
    exposure = xr.Dataset(
        {
            "sci": (("integration", "group", "y", "x"), da.from_array(pixels)),
            "zeroframe": (
                ("integration", "y", "x"),
                frames.map_blocks(frame, dtype="f4", meta=np.empty((0, 0, 0), "f4")),
            ),
        }
    )
    carried = ("zeroframe",)
    steps = (
        Bound(CORRECT, {}, (), 0, carried=carried),
        Bound(RESCUE, {}, (), 0, carried=carried if idle else ()),
    )
    found = run_chain(exposure, steps, ["sci"])["sci"].compute(scheduler="sync")
    expected = pixels + np.float32(1) + (0 if idle else pixels[:, :1] + np.float32(1))
    np.testing.assert_array_equal(found, expected)
    assert bool(reads) != idle


def test_a_carried_variable_that_is_asked_for_is_corrected(pixels):
    exposure = xr.Dataset(
        {
            "sci": (("integration", "group", "y", "x"), da.from_array(pixels)),
            "zeroframe": (("integration", "y", "x"), da.from_array(pixels[:, 0])),
        }
    )
    steps = (Bound(CORRECT, {}, (), 0, carried=("zeroframe",)),)
    found = run_chain(exposure, steps, ["sci", "zeroframe"])
    np.testing.assert_array_equal(found["zeroframe"], pixels[:, 0] + np.float32(1))
