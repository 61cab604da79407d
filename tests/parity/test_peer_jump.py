"""Each parameter of jump against jwst 3.0.0: the flags of groups are the same, and change where they should."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from both import references
from compare import planes, unequal
from peer import Peer, task

from jwpipe import simulate
from jwpipe.runner import run
from jwpipe.simulate import Instrument, Observation, Scene
from jwpipe.stage1.jump import JumpParams

pytestmark = pytest.mark.peer

DARK = Scene(star_density=0.1, bright_density=0.0, galaxy_density=0.0, spiral_density=0.0)
STORMY = Instrument(cosmic_ray_rate=3000.0)
EXPOSURES = {
    "events": (
        Instrument(snowball_rate=1.5, shower_rate=1.0),
        {"size": 120, "ngroups": 12, "nints": 2, "readpatt": "MEDIUM2"},
    ),
    "three": (STORMY, {"size": 48, "ngroups": 3}),
    "four": (STORMY, {"size": 48, "ngroups": 4}),
    "six": (STORMY, {"size": 48, "ngroups": 6, "nints": 8}),
}
EVENTS = {"expand_large_events": True}
SHOWERS = {"find_showers": True, "extend_min_area": 60}


@dataclass(frozen=True)
class Case:
    """Parameters that act on an exposure, beside those of a case that they are compared with."""

    exposure: str
    parameters: dict[str, Any]
    beside: str = ""


CASES = {
    "three": Case("three", {}),
    "three_group_rejection_threshold": Case(
        "three", {"three_group_rejection_threshold": 2.0}, "three"
    ),
    "four": Case("four", {}),
    "four_group_rejection_threshold": Case("four", {"four_group_rejection_threshold": 1.5}, "four"),
    "six": Case("six", {}),
    "rejection_threshold": Case("six", {"rejection_threshold": 3.0}, "six"),
    "flag_4_neighbors": Case("six", {"flag_4_neighbors": False}, "six"),
    "max_jump_to_flag_neighbors": Case("six", {"max_jump_to_flag_neighbors": 60.0}, "six"),
    "min_jump_to_flag_neighbors": Case("six", {"min_jump_to_flag_neighbors": 30.0}, "six"),
    "min_diffs_single_pass": Case("six", {"min_diffs_single_pass": 4}, "six"),
    "minimum_sigclip_groups": Case("six", {"minimum_sigclip_groups": 8}, "six"),
    "only_use_ints": Case(
        "six", {"minimum_sigclip_groups": 8, "only_use_ints": False}, "minimum_sigclip_groups"
    ),
    "after_jump": Case("six", {"after_jump_flag_dn1": 20.0, "after_jump_flag_time1": 0.7}, "six"),
    "after_jump_flag_dn1": Case(
        "six", {"after_jump_flag_dn1": 100.0, "after_jump_flag_time1": 0.7}, "after_jump"
    ),
    "after_jump_flag_time1": Case(
        "six", {"after_jump_flag_dn1": 20.0, "after_jump_flag_time1": 0.2}, "after_jump"
    ),
    "after_jump_flag_dn2": Case(
        "six", {"after_jump_flag_dn2": 40.0, "after_jump_flag_time2": 0.7}, "six"
    ),
    "after_jump_flag_time2": Case(
        "six", {"after_jump_flag_dn2": 40.0, "after_jump_flag_time2": 0.2}, "after_jump_flag_dn2"
    ),
    "events": Case("events", {}),
    "expand_large_events": Case("events", EVENTS, "events"),
    "min_sat_area": Case("events", EVENTS | {"min_sat_area": 80.0}, "expand_large_events"),
    "min_jump_area": Case("events", EVENTS | {"min_jump_area": 60.0}, "expand_large_events"),
    "expand_factor": Case("events", EVENTS | {"expand_factor": 1.3}, "expand_large_events"),
    "sat_required_snowball": Case(
        "events", EVENTS | {"sat_required_snowball": False}, "expand_large_events"
    ),
    "min_sat_radius_extend": Case(
        "events", EVENTS | {"min_sat_radius_extend": 10.0}, "expand_large_events"
    ),
    "sat_expand": Case("events", EVENTS | {"sat_expand": 4}, "expand_large_events"),
    "edge_size": Case("events", EVENTS | {"edge_size": 0}, "expand_large_events"),
    "mask_snowball_core_next_int": Case(
        "events", EVENTS | {"mask_snowball_core_next_int": False}, "expand_large_events"
    ),
    "snowball_time_masked_next_int": Case(
        "events", EVENTS | {"snowball_time_masked_next_int": 5}, "expand_large_events"
    ),
    "max_extended_radius": Case(
        "events", EVENTS | {"max_extended_radius": 8}, "expand_large_events"
    ),
    "find_showers": Case("events", SHOWERS, "events"),
    "extend_snr_threshold": Case("events", SHOWERS | {"extend_snr_threshold": 1.5}, "find_showers"),
    "extend_min_area": Case("events", SHOWERS | {"extend_min_area": 150}, "find_showers"),
    "extend_inner_radius": Case("events", SHOWERS | {"extend_inner_radius": 0.5}, "find_showers"),
    "extend_outer_radius": Case("events", SHOWERS | {"extend_outer_radius": 3.6}, "find_showers"),
    "extend_ellipse_expand_ratio": Case(
        "events", SHOWERS | {"extend_ellipse_expand_ratio": 1.6}, "find_showers"
    ),
    "time_masked_after_shower": Case(
        "events", SHOWERS | {"time_masked_after_shower": 3.0}, "find_showers"
    ),
}
IDLE = {"maximum_cores": "1", "use_ellipses": True, "minimum_groups": 2}
"""Parameters without effect, there and here."""
OURS = ("max_shower_amplitude",)
"""Theirs has no effect, which is told where showers are tested."""


@pytest.fixture(scope="module")
def ramps(tmp_path_factory) -> dict[str, tuple[Observation, Path]]:
    """Each exposure and its ramp just before jump."""
    found = {}
    for name, (instrument, shape) in EXPOSURES.items():
        folder = tmp_path_factory.mktemp(name)
        observation = simulate.observation(
            folder,
            detectors=("NRCB1",),
            dithers=1,
            subarray="SUB160",
            instrument=instrument,
            scene=DARK,
            **shape,
        )
        off = {"jump": {"skip": True}, "ramp_fit": {"skip": True}, "gain_scale": {"skip": True}}
        (outcome,) = run(
            "detector1", observation.uncal[0], folder / "ramp", refs=[observation.references], steps=off
        )  # fmt: skip
        assert not outcome.error
        found[name] = observation, outcome.written[0]
    return found


@pytest.fixture(scope="module")
def flags(peer: Peer, ramps, tmp_path_factory) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Group flags (i, g, y, x) of each case, ours and theirs."""
    root = tmp_path_factory.mktemp("jump")
    cases = CASES | {"idle": Case("six", IDLE)}
    tasks, folders = [], {}
    for number, (name, case) in enumerate(cases.items()):
        observation, ramp = ramps[case.exposure]
        folders[name] = root / f"{number}-ours", root / f"{number}-theirs"
        files = references(observation, observation.uncal[0])
        files = {kind: files[kind] for kind in ("gain", "readnoise")}
        tasks.append(
            {**task("JumpStep", ramp, folders[name][1], files), "parameters": case.parameters}
        )
    job = peer.start("jump", tasks)
    for name, case in cases.items():
        observation, ramp = ramps[case.exposure]
        steps = {"jump": case.parameters}
        (outcome,) = run("jump", ramp, folders[name][0], refs=[observation.references], steps=steps)
        assert not outcome.error
    job.wait()
    return {
        name: tuple(planes(next(folder.glob("*_jump*.fits")))["GROUPDQ"] for folder in pair)
        for name, pair in folders.items()
    }


@pytest.mark.parametrize("name", CASES)
def test_flags(flags, name: str):
    ours, theirs = flags[name]
    assert unequal(ours, theirs) <= 1e-5
    if CASES[name].beside:
        before, _ = flags[CASES[name].beside]
        assert unequal(ours, before) > 0, "the parameter changes nothing"


def test_parameters_without_effect(flags):
    ours, theirs = flags["idle"]
    plain, plain_theirs = flags["six"]
    assert unequal(ours, plain) == unequal(theirs, plain_theirs) == 0


def test_no_parameter_is_missing():
    assert set(JumpParams().own()) == {n for n in CASES if n in JumpParams.model_fields} | {
        *IDLE,
        *OURS,
    }
