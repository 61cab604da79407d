"""Time series: segments put together and taken apart, and cut so finely that memory holds them."""

import numpy as np
import pytest
from series_examples import SEGMENTS, in_segments, series

import jwpipe
from jwpipe import chunks
from jwpipe.api import detector1
from jwpipe.engine.graph import source_of
from jwpipe.engine.state import Source
from jwpipe.io import open as open_exposure
from jwpipe.io.segments import segments_of
from jwpipe.series import combine_rates, weigh_rates

VARIABLES = ("sci", "err", "dq", "var_poisson", "var_rnoise")


@pytest.fixture(scope="module")
def observation(tmp_path_factory):
    return series(tmp_path_factory.mktemp("series"))


@pytest.fixture(scope="module")
def segments(observation, tmp_path_factory):
    return in_segments(observation.uncal[0], tmp_path_factory.mktemp("segments"))


def products(source, observation, **keywords):
    return {
        product: detector1(source, refs=observation.references, product=product, **keywords)
        for product in ("rate", "rateints")
    }


def test_the_whole_is_its_segments_calibrated_one_by_one(observation, segments):
    whole = products(open_exposure(segments), observation)
    apart = [products(path, observation) for path in segments]
    cubes = [each["rateints"].compute() for each in apart]
    for name in VARIABLES:
        expected = np.concatenate([cube[name].values for cube in cubes])
        np.testing.assert_array_equal(whole["rateints"][name].values, expected)
    rates = [each["rate"].compute() for each in apart]
    good = np.isfinite([rate["sci"].values for rate in rates]).all(axis=0)
    weights = np.array([1 / rate["var_rnoise"].values.astype(float) for rate in rates])
    mean = np.average([rate["sci"].values for rate in rates], axis=0, weights=weights)
    np.testing.assert_allclose(whole["rate"]["sci"].values[good], mean[good], rtol=1e-6)
    assert whole["rate"].attrs["filename"] == observation.uncal[0].name
    assert whole["rateints"].attrs["primary"]["INTEND"] == sum(SEGMENTS)


def test_a_product_is_taken_apart_under_the_names_of_its_segments(observation, segments, tmp_path):
    whole = products(open_exposure(segments), observation)["rateints"]
    parts = segments_of(whole)
    assert [part.sizes["integration"] for part in parts] == list(SEGMENTS)
    path = jwpipe.save(parts[1], tmp_path)
    assert path.name == segments[1].name.replace("uncal", "rateints")
    written = open_exposure(path)
    assert (written.attrs["primary"]["INTSTART"], written.attrs["primary"]["EXSEGNUM"]) == (105, 2)
    alone = detector1(segments[1], refs=observation.references, product="rateints")
    np.testing.assert_array_equal(written["sci"].values, alone["sci"].values)


def test_segments_are_read_from_their_files(segments):
    parts = segments_of(open_exposure(segments))
    assert all(isinstance(source_of(part["sci"]), Source) for part in parts)
    cut = open_exposure(segments).isel(integration=slice(0, 50))
    assert segments_of(cut) == [cut]


@pytest.mark.parametrize("steps", [{}, {"jump": {"expand_large_events": True}}])
def test_blocks_of_a_long_series_give_the_whole(observation, monkeypatch, steps):
    path = observation.uncal[0]
    expected = {k: v.compute() for k, v in products(path, observation, steps=steps).items()}
    monkeypatch.setattr(chunks, "TASK_BYTES", 1_500_000)
    monkeypatch.setattr(chunks, "TOGETHER_BYTES", 100_000)
    monkeypatch.setattr(chunks, "WORTH_SHARING", 0)
    monkeypatch.setattr("jwpipe.engine.borders.WORTH_PACKING", 0)
    monkeypatch.setattr("jwpipe.engine.frames.BATCH_BYTES", 1)
    found = products(path, observation, steps=steps)
    assert found["rate"]["sci"].data.numblocks == (4, 2)
    for product, exposure in expected.items():
        for name in VARIABLES:
            np.testing.assert_array_equal(found[product][name].values, exposure[name].values)


def test_rates_are_combined_by_their_read_variances():
    sci = np.array([[[1.0, np.nan, np.nan]], [[4.0, 5.0, np.nan]]], np.float32)
    dq = np.array([[[4, 1, 3]], [[0, 0, 1]]], np.uint32)
    photon = np.array([[[0.5, 0, 0]], [[0.5, 2.0, 0]]], np.float32)
    read = np.array([[[1.0, 0, 0]], [[2.0, 3.0, 0]]], np.float32)
    slope, err, flags, poisson, noise = combine_rates(sci, dq, photon, read)
    # (1/1 + 4/2) / (1/1 + 1/2) = 2; the inverse variances add up.
    np.testing.assert_allclose(slope, [[2.0, 5.0, np.nan]])
    np.testing.assert_allclose(poisson, [[0.25, 2.0, 0.0]])
    np.testing.assert_allclose(noise, [[2 / 3, 3.0, 0.0]])
    np.testing.assert_allclose(err, np.sqrt([[0.25 + 2 / 3, 5.0, 0.0]]))
    # A pixel is unusable only if no segment has a rate; its other flags stay.
    np.testing.assert_array_equal(flags, [[4, 0, 3]])


def test_rates_are_combined_by_all_their_variance():
    sci = np.array([[[9.0, 5.0, np.nan]], [[11.0, np.nan, np.nan]]], np.float32)
    dq = np.array([[[4, 0, 1]], [[0, 1, 1]]], np.uint32)
    photon = np.array([[[0.9, 2.0, np.nan]], [[1.1, np.nan, 0]]], np.float32)
    read = np.array([[[1.0, 3.0, np.nan]], [[1.0, np.nan, 0]]], np.float32)
    slope, err, flags, poisson, noise = weigh_rates(sci, dq, photon, read)
    # At one rate, 10, both have a photon variance of 1, and the same weight.
    np.testing.assert_allclose(slope, [[10.0, 5.0, np.nan]], rtol=1e-6)
    np.testing.assert_allclose(poisson, [[0.5, 2.0, 0.0]], rtol=1e-6)
    np.testing.assert_allclose(noise, [[0.5, 3.0, 0.0]], rtol=1e-6)
    np.testing.assert_allclose(err, np.sqrt([[1.0, 5.0, 0.0]]), rtol=1e-6)
    np.testing.assert_array_equal(flags, [[4, 0, 1]])


@pytest.mark.parametrize("parameters", [{"uncertainty": "covariance"}, {"algorithm": "LIKELY"}])
def test_segments_keep_the_weights_of_the_fit(segments, observation, parameters):
    steps = {"ramp_fit": parameters}
    whole, parts = (
        detector1(source, refs=observation.references, steps=steps)
        for source in (observation.uncal[0], open_exposure(segments))
    )
    error = whole["err"].values
    apart = np.abs(whole["sci"].values - parts["sci"].values)
    # Segments are searched for jumps one by one, so that some rates are of other groups.
    assert np.nanmedian(apart / error) < 0.05
    np.testing.assert_allclose(np.nanmedian(parts["err"].values / error), 1, atol=0.01)
