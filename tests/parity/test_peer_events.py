"""Snowballs and showers in one exposure: jumps against jwst 3.0.0, and how many of them are found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from both import references
from compare import RATE, assert_same_image
from peer import Peer, task

from jwpipe import simulate
from jwpipe.dq import Group
from jwpipe.runner import run
from jwpipe.simulate import Instrument, Observation, Scene

pytestmark = pytest.mark.peer

SIDE = 200
STEPS = {
    "both": {"expand_large_events": True, "find_showers": True, "snowball_time_masked_next_int": 20},
    "snowballs": {"expand_large_events": True},
    "showers": {"find_showers": True},
}  # fmt: skip


@pytest.fixture(scope="module")
def observation(tmp_path_factory) -> Observation:
    """Two integrations of 13 groups, a few snowballs and showers in each."""
    return simulate.observation(
        tmp_path_factory.mktemp("events"),
        detectors=("NRCB1",),
        dithers=1,
        subarray="SUB320",
        size=SIDE,
        readpatt="MEDIUM2",
        ngroups=13,
        nints=2,
        scene=Scene(star_density=0.05, galaxy_density=0.02, bright_density=0.0, spiral_density=0.0),
        instrument=Instrument(snowball_rate=0.4, shower_rate=0.4),
    )


@pytest.fixture(scope="module")
def pairs(peer: Peer, observation, tmp_path_factory) -> dict[str, tuple[Path, Path]]:
    """Folders of our products and theirs."""
    root = tmp_path_factory.mktemp("event products")
    (uncal,) = observation.uncal
    folders = {name: (root / name / "ours", root / name / "theirs") for name in STEPS}
    files = references(observation, uncal)
    tasks = [
        task("Detector1Pipeline", uncal, theirs, files, steps={"jump": STEPS[name]}, save=["jump"])
        for name, (_, theirs) in folders.items()
    ]
    job = peer.start("events", tasks)
    for name, (ours, _) in folders.items():
        save = ["detector1", "jump"] if name == "both" else []
        refs = [observation.references]
        steps = {"jump": STEPS[name]}
        (outcome,) = run("detector1", uncal, ours, refs=refs, steps=steps, save=save)
        assert not outcome.error, outcome.error
    job.wait()
    return folders


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("suffix", ["rate", "rateints"])
def test_rates(pairs, observation, name: str, suffix: str):
    ours, theirs = (folder / f"{observation.names[0]}_{suffix}.fits" for folder in pairs[name])
    assert_same_image(ours, theirs, RATE)


def flags_of(folder: Path, observation: Observation) -> np.ndarray:
    """Group flags (i, g, y, x) after jump."""
    return np.asarray(fits.getdata(folder / f"{observation.names[0]}_jump.fits", "GROUPDQ"))


def test_flags_of_groups(pairs, observation):
    """Showers are looked for where no snowball is: both pipelines flag the same groups of the same pixels."""
    ours, theirs = (flags_of(folder, observation) for folder in pairs["both"])
    assert (theirs & Group.JUMP_DET).any()
    assert np.mean(ours != theirs) < 1e-5


def group_of(truth: simulate.Truth, event: np.void) -> int:
    """The first group that shows an event."""
    group, place = divmod(int(event["frame"]), truth.stride)
    return group + (place >= truth.nframes)


def test_snowballs_are_found(pairs, observation):
    """Four of five: the core saturated from its group on, the halo around it flagged.

    One that comes between the frames of a group fills its core in the next.
    """
    truth, flags = observation.truth(observation.names[0]), flags_of(pairs["both"][0], observation)
    y, x = np.ogrid[:SIDE, :SIDE]
    found = []
    for ball in truth.snowballs:
        group = group_of(truth, ball)
        if not 1 <= group < flags.shape[1]:
            continue
        plane = flags[ball["integration"], group]
        away = np.hypot(y - ball["y"], x - ball["x"])
        core = plane[away < ball["core"]] & (Group.SATURATED | Group.DO_NOT_USE) != 0
        halo = plane[(away > ball["core"]) & (away < 1.3 * ball["core"] + 1)]
        touched = halo & (Group.SATURATED | Group.JUMP_DET | Group.DO_NOT_USE) != 0
        found.append(core.mean() > 0.9 and touched.mean() > 0.9)
    assert len(found) >= 4
    assert np.mean(found) > 0.8


def test_showers_are_found(pairs, observation):
    """Four of five: the better part of the pixels within half their scale flagged in the group where they show."""
    truth, flags = observation.truth(observation.names[0]), flags_of(pairs["both"][0], observation)
    found = []
    for shower in truth.showers:
        group = group_of(truth, shower)
        if not 1 <= group < flags.shape[1]:
            continue
        y, x = np.ogrid[:SIDE, :SIDE]
        inside = np.hypot(y - shower["y"], x - shower["x"]) < 0.5 * shower["minor"]
        found.append(np.mean(flags[shower["integration"], group][inside] & Group.JUMP_DET != 0))
    assert len(found) >= 4
    assert np.mean(np.array(found) > 0.5) >= 0.8
