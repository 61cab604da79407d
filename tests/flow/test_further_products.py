"""Products that ramp_fit makes beside the rates: written, named, found again, read and shown."""

import dask
import numpy as np
import pytest

import jwpipe
from jwpipe import simulate
from jwpipe.cluster import connect
from jwpipe.quicklook import show
from jwpipe.request import request_of
from jwpipe.runner import Silent, run, run_request
from jwpipe.simulate import Instrument

ROOT = "jw90210001001_02101_00001_nrcb1"


@pytest.fixture(scope="module")
def observation(tmp_path_factory):
    """Two integrations of eight groups under many cosmic rays."""
    return simulate.observation(
        tmp_path_factory.mktemp("struck"),
        detectors=("NRCB1",),
        dithers=1,
        subarray="SUB160",
        size=48,
        ngroups=8,
        nints=2,
        instrument=Instrument(cosmic_ray_rate=3000.0),
    )


def detector1(observation, output, **parameters):
    """The names of what is written."""
    steps = {"ramp_fit": parameters}
    refs = [observation.references]
    (outcome,) = run("detector1", observation.uncal[0], output, refs=refs, steps=steps)
    assert not outcome.error
    return [path.name for path in outcome.written]


def test_names(observation, tmp_path):
    names = detector1(observation, tmp_path, save_opt=True, opt_name="mine.fits", int_name="each")
    assert names == ["mine_fitopt.fits", f"{ROOT}_rate.fits", "each_rateints.fits"]


def test_segments_are_read_and_shown(observation, tmp_path):
    detector1(observation, tmp_path, save_opt=True)
    found = jwpipe.open(tmp_path / f"{ROOT}_fitopt.fits")
    rate = jwpipe.open(tmp_path / f"{ROOT}_rate.fits")
    assert found["slope"].dims == ("integration", "segment", "y", "x")
    assert found.sizes["segment"] > 1
    weights, slopes = found["weights"].values, found["slope"].values
    whole = (weights * slopes).sum(axis=(0, 1)) / weights.sum(axis=(0, 1))
    good = rate["dq"].values == 0
    np.testing.assert_allclose(whole[good], rate["sci"].values[good], rtol=1e-5, atol=1e-6)
    assert show(found, tmp_path / "segments.png").exists()


def test_runs_that_are_done_again_find_them(observation, tmp_path):
    refs, steps = [observation.references], {"ramp_fit": {"save_opt": True}}
    uncal = [str(observation.uncal[0])]
    request = request_of("detector1", uncal, output=tmp_path, refs=refs, steps=steps, resume=True)
    for written in (3, 0):
        with connect("threads", 2) as executor:
            (outcome,) = run_request(request, executor, Silent())
        assert not outcome.error
        assert len(outcome.written) == written


def test_a_step_alone(observation, tmp_path):
    off = {step: {"skip": True} for step in ("ramp_fit", "gain_scale")}
    refs = [observation.references]
    (outcome,) = run("detector1", observation.uncal[0], tmp_path, refs=refs, steps=off)
    likely = {"ramp_fit": {"save_opt": True, "algorithm": "LIKELY"}}
    (outcome,) = run("ramp_fit", outcome.written[0], tmp_path, refs=refs, steps=likely)
    assert [path.name for path in outcome.written][-1] == f"{ROOT}_likely_chisq.fits"
    chi2 = jwpipe.open(outcome.written[-1])["sci"].values
    # Two integrations with eight differences each, the first frame apart, less one for the rate.
    assert 11 < np.nanmedian(chi2) < 18


def test_zarr(observation, tmp_path):
    steps = {"ramp_fit": {"save_opt": True}}
    refs = [observation.references]
    (outcome,) = run(
        "detector1", observation.uncal[0], tmp_path, refs=refs, steps=steps, format="zarr"
    )
    assert not outcome.error
    assert jwpipe.open(outcome.written[0]).sizes["segment"] > 1


def test_nothing_is_computed_before(observation):
    """Building the products reads no pixel."""

    def refuse(*_args, **_kwargs):
        raise AssertionError

    with dask.config.set(scheduler=refuse):
        steps = {"ramp_fit": {"save_opt": True}}
        jwpipe.detector1(observation.uncal[0], refs=observation.references, steps=steps)
