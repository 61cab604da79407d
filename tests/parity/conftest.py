"""The peer, and one observation that both pipelines process from raw ramps to a mosaic."""

from __future__ import annotations

import os

import pytest
from both import Runs, run_both
from peer import NoPeerError, Peer, environment_folder, installed

from jwpipe import simulate
from jwpipe.simulate import Observation, Scene


@pytest.fixture(scope="session")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Peer:
    """jwst 3.0.0; where it cannot be installed tests are skipped, in continuous integration they fail."""
    try:
        python = installed(environment_folder())
    except NoPeerError as reason:
        if os.environ.get("CI") == "true":
            pytest.fail(f"jwst cannot be installed: {reason}")
        pytest.skip(f"jwst cannot be installed: {reason}")
    return Peer(python, tmp_path_factory.mktemp("peer"))


@pytest.fixture(scope="session")
def observation(tmp_path_factory: pytest.TempPathFactory) -> Observation:
    """Two detectors, three dithers, two integrations: few pixels, but many stars to align."""
    return simulate.observation(
        tmp_path_factory.mktemp("observation"),
        detectors=("NRCB1", "NRCB2"),
        dithers=3,
        subarray="SUB320",
        size=256,
        ngroups=7,
        nints=2,
        scene=Scene(star_density=0.5, separation=1.5),
    )


@pytest.fixture(scope="session")
def runs(peer: Peer, observation: Observation, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """The products of both pipelines with default parameters, from raw ramps to the mosaic's catalogue."""
    return run_both(peer, observation, tmp_path_factory.mktemp("runs"))
