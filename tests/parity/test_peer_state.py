"""Steps that flag what bright light leaves behind, against jwst 3.0.0: charge migration and persistence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import asdf
import numpy as np
import pytest
from astropy.io import fits
from both import exposure_name, references
from compare import RATE, assert_same_image
from peer import Peer, task

from jwpipe import simulate
from jwpipe.dq import Group
from jwpipe.runner import run
from jwpipe.simulate import Observation, Scene

pytestmark = pytest.mark.peer

LEVEL = 12000.0
CARRIED = {"skip": False, "persistence_time": 150, "dn_threshold": LEVEL, "persistence_dnu": True}
CASES: dict[str, dict[str, dict[str, Any]]] = {
    "migration": {"charge_migration": {"skip": False, "signal_threshold": LEVEL}},
    "one group kept": {
        "charge_migration": {"skip": False, "signal_threshold": 0.5 * LEVEL},
        "persistence": {"skip": False, "persistence_time": 100},
        "ramp_fit": {"suppress_one_group": False},
    },
    "carried": {"charge_migration": {"skip": False}, "persistence": CARRIED},
}


@pytest.fixture(scope="module")
def observation(tmp_path_factory) -> Observation:
    """Two short exposures of a crowded field, one after the other."""
    return simulate.observation(
        tmp_path_factory.mktemp("bright"),
        detectors=("NRCB1",),
        dithers=2,
        subarray="SUB160",
        size=72,
        ngroups=6,
        nints=3,
        scene=Scene(star_density=3.0, separation=0.3),
    )


@pytest.fixture(scope="module")
def results(peer: Peer, observation, tmp_path_factory) -> dict[str, tuple[Path, Path]]:
    """Folders of our products and theirs for each case."""
    root = tmp_path_factory.mktemp("states")
    sources = brightened(observation, root)
    folders = {name: root / str(number) for number, name in enumerate(CASES)}
    tasks = []
    for name, folder in folders.items():
        for source in taken(name, sources):
            files = references(observation, source)
            given = {**files, "gain": root / "gain.fits"}
            steps = with_file(CASES[name], folder / "theirs" / "state.asdf")
            tasks.append(
                task("Detector1Pipeline", source, folder / "theirs", given, steps=steps, save=["persistence"])
            )  # fmt: skip
    job = peer.start("states", tasks)
    for name, folder in folders.items():
        overrides = {k: str(p) for k, p in references(observation, sources[0]).items()}
        outcomes = run(
            "detector1",
            # The order of time is found by the run.
            taken(name, sources)[::-1],
            folder / "ours",
            overrides=overrides | {"gain": str(root / "gain.fits")},
            steps=with_file(CASES[name], folder / "ours" / "state.asdf"),
            save=["detector1", "persistence"],
        )
        assert not [each.error for each in outcomes if each.error]
    job.wait()
    return {name: (folder / "ours", folder / "theirs") for name, folder in folders.items()}


def brightened(observation: Observation, folder: Path) -> list[Path]:
    """The exposures with some stars that saturate, a minute apart; pixels without gain in the reference beside."""
    paths = []
    for number, path in enumerate(observation.uncal):
        with fits.open(path) as hdus:
            data = hdus["SCI"].data
            data[number, 2:, 20:24, 30 + 8 * number : 34 + 8 * number] = 65535
            hdus[0].header["EXPSTART"] = 60000 + number / 1440
            if "INT_TIMES" in hdus:
                del hdus["INT_TIMES"]
            paths.append(folder / path.name)
            hdus.writeto(paths[-1])
    with fits.open(references(observation, paths[0])["gain"]) as hdus:
        hdus["SCI"].data[..., 30:33, 20:60] = np.nan
        hdus.writeto(folder / "gain.fits")
    return paths


def taken(name: str, sources: list[Path]) -> list[Path]:
    """The exposures of a case: both where the state is carried."""
    return sources if name == "carried" else sources[:1]


def with_file(steps: dict[str, dict[str, Any]], path: Path) -> dict[str, dict[str, Any]]:
    """The steps of a case, the state carried in ``path`` where it is carried."""
    if steps.get("persistence") is not CARRIED:
        return steps
    files = {"persistence_array_file": str(path), "save_persistence": str(path)}
    return steps | {"persistence": CARRIED | files}


@pytest.mark.parametrize("name", CASES)
def test_rates(results, observation, name: str):
    for uncal in taken(name, list(observation.uncal)):
        for suffix in ("rate", "rateints"):
            product = f"{exposure_name(uncal)}_{suffix}.fits"
            ours, theirs = (folder / product for folder in results[name])
            assert_same_image(ours, theirs, RATE)


def test_flags_of_suspect_groups_are_the_same(results, observation):
    for uncal in observation.uncal:
        product = f"{exposure_name(uncal)}_persistence.fits"
        ours, theirs = (fits.getdata(folder / product, "GROUPDQ") for folder in results["carried"])
        assert (theirs & Group.PERSISTENCE).any()
        assert (theirs & Group.CHARGELOSS).any() == (ours & Group.CHARGELOSS).any()
        assert np.mean(ours != theirs) < 1e-4


def test_the_state_left_is_the_same(results):
    trees = []
    for folder in results["carried"]:
        with asdf.open(folder / "state.asdf", lazy_load=False, memmap=False) as opened:
            trees.append(opened.tree["NRCB1"])
    ours, theirs = trees
    assert len(theirs["vals"])
    assert ours["pers_time"] == theirs["pers_time"]
    for name in ("rows", "cols", "vals"):
        np.testing.assert_array_equal(ours[name], theirs[name])
