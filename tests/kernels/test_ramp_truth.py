"""Jumps and ramp fits together where the truth is known: what is found, biased, and claimed as error."""

import numpy as np
import pytest

from jwpipe.numerics.ramp_covariance import even_times
from jwpipe.stage1.jump import Detection, find_jumps
from jwpipe.stage1.likelihood import fit_likely
from jwpipe.stage1.ramp_fit import fit_ramps

GAIN, READNOISE, TIME = 2.0, 11.0, 10.0
JUMP = 4
GROUPS, SIDE = 12, 120
RATES = (0.05, 1.0, 20.0, 300.0)


@pytest.fixture(scope="module")
def struck():
    """Ramps of four rates, in which 3 % of the groups are hit by 20 to 2000 electrons; and the hits, in sigma."""
    rng = np.random.default_rng(11)
    shape = (1, GROUPS, len(RATES) * SIDE, SIDE)
    rate = np.repeat(RATES, SIDE)[:, np.newaxis] * np.ones(SIDE)
    steps = rng.poisson(rate * TIME * GAIN, shape) / GAIN
    hits = np.where(rng.random(shape) < 0.03, 10 ** rng.uniform(1, 3, shape), 0)
    hits[:, 0] = 0
    sci = np.cumsum(steps + hits, axis=1) + rng.normal(0, READNOISE / np.sqrt(2), shape)
    sigma = np.sqrt(rate * TIME / GAIN + READNOISE**2)
    return sci.astype(np.float32), rate, hits / sigma


@pytest.fixture(scope="module")
def flags(struck):
    """What jump finds of them."""
    sci = struck[0]
    planes = np.full(sci.shape[2:], GAIN, np.float32), np.full(sci.shape[2:], READNOISE, np.float32)
    detection = Detection(1, (6.0, 5.0, 4.0), 10, 100, True)
    found, *_ = find_jumps(
        sci,
        np.zeros(sci.shape, np.uint8),
        np.zeros(sci.shape[2:], np.uint32),
        *planes,
        1.0,
        detection=detection,
        neighbours=None,
        after_dn=(0.0, 0.0),
        after_groups=(0, 0),
    )
    return found


def fits(sci, groupdq, way):
    """Slope and error of the exposure, by segments, by covariance or by likelihood."""
    shape = sci.shape[2:]
    planes = np.full(shape, GAIN, np.float32), np.full(shape, READNOISE, np.float32)
    arrays = (sci, groupdq, np.zeros(shape, np.uint32), None, None, *planes)
    if way == "likely":
        rate, _ = fit_likely(*arrays, times=even_times(GROUPS, 1, 0, TIME))
        return rate.slope, rate.err
    times = {"group_time": TIME, "frame_time": TIME, "nframes": 1}
    covariance = way == "covariance"
    return fit_ramps(*arrays, **times, suppress_one_group=True, covariance=covariance)[:2]


def test_hits_by_signal_to_noise(struck, flags):
    """Of hits beyond 6 sigma 95 % are found, beyond 10 all but one of 1000; of 1000 calm groups one is flagged."""
    _, _, ratio = struck
    found = flags & JUMP > 0
    beyond = found[ratio > 10]
    assert found[(ratio > 6) & (ratio < 10)].mean() > 0.95
    assert beyond.mean() > 0.999
    assert 0.3 < found[(ratio > 3) & (ratio < 5)].mean() < 0.7
    assert found[:, 1:][ratio[:, 1:] == 0].mean() < 1e-3


@pytest.mark.parametrize("way", ["by_segment", "covariance", "likely"])
def test_rates_of_struck_ramps(struck, flags, way):
    """Ramps whose hits are all found are unbiased and their errors hold; hits too small to be found add little."""
    sci, rate, ratio = struck
    slope, err = fits(sci, flags, way)
    clean = (ratio[0] * (flags[0] & JUMP == 0)).max(axis=0) == 0
    for value in RATES:
        chosen = (rate == value) & clean & (err > 0)
        pulls = (slope[chosen] - value) / err[chosen]
        assert abs(pulls.mean()) < 0.1
        assert abs(pulls.std() - 1) < 0.07
        everything = (rate == value) & (err > 0)
        # One ramp of eight is hit by less than 4 sigma somewhere.
        assert abs(np.median((slope - value)[everything] / err[everything])) < 0.2


def test_likelihood_finds_jumps_by_itself(struck):
    """Without flags it leaves out what is 7 sigma and more; errors hold in the others."""
    sci, rate, ratio = struck
    slope, err = fits(sci, np.zeros(sci.shape, np.uint8), "likely")
    most = ratio[0].max(axis=0)
    for value in RATES:
        pulls = ((slope - value) / err)[(rate == value) & ((most == 0) | (most > 7))]
        assert abs(np.median(pulls)) < 0.15
        assert np.mean(np.abs(pulls) > 5) < 0.01
