"""Stage 1 against jwst 3.0.0 away from the defaults: other parameters, few groups, many integrations, bad pixels.

Each case is an exposure and parameters; one process of the peer does them all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from both import exposure_name, references
from compare import RATE, assert_same_image
from peer import Peer, task

from jwpipe import simulate
from jwpipe.runner import run
from jwpipe.simulate import Instrument, Observation, Scene

pytestmark = pytest.mark.peer

STORMY = Instrument(cosmic_ray_rate=100.0, snowball_rate=2.0)
CROWDED = Scene(star_density=2.0, separation=0.3)
Edit = Callable[[fits.HDUList], None]


@dataclass(frozen=True)
class Case:
    """Steps' parameters, for an exposure (``long`` or ``many`` as simulated) after ``edit``; references beside."""

    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    exposure: str = "long"
    edit: Edit | None = None
    ipc: tuple[int, ...] = ()


def first_groups(count: int) -> Edit:
    """Keep the first ``count`` groups."""

    def edit(hdus: fits.HDUList) -> None:
        hdus["SCI"].data = hdus["SCI"].data[:, :count]
        hdus[0].header["NGROUPS"] = count

    return edit


def unscaled(hdus: fits.HDUList) -> None:
    """Three frames, their sum divided by four."""
    hdus["SCI"].data = np.rint(hdus["SCI"].data * 0.75).astype(np.uint16)
    hdus[0].header["NFRAMES"] = 3


def spoiled(hdus: fits.HDUList) -> None:
    """A quarter of the light pixels saturated from the start, one from the second group on, and zeros."""
    data = hdus["SCI"].data
    middle, border = data.shape[-1] // 2, 8
    data[..., border:middle, border:middle] = 65535
    data[:, 1:, border:middle, middle:-border] = 65535
    data[:, 3:, middle : middle + 4, border:-border] = 0
    hdus["ZEROFRAME"].data[..., border : middle // 2, border:middle] = 65535


CASES = {
    "flags at once": Case(),
    "parameters": Case(
        {
            "saturation": {"n_pix_grow_sat": 2, "use_readpatt": False},
            "refpix": {"odd_even_columns": False, "use_side_ref_pixels": False, "siglimit": 2.5},
            "dark_current": {"average_dark_current": 0.4},
            "jump": {
                "rejection_threshold": 3.2,
                "flag_4_neighbors": False,
                "after_jump_flag_dn1": 100.0,
                "after_jump_flag_time1": 12.0,
                "after_jump_flag_dn2": 400.0,
                "after_jump_flag_time2": 30.0,
            },
            "ramp_fit": {"firstgroup": 1, "lastgroup": 9},
        }
    ),
    "neighbours": Case(
        {
            "saturation": {"n_pix_grow_sat": 0},
            "refpix": {"side_smoothing_length": 21, "side_gain": 0.7},
            "jump": {"min_jump_to_flag_neighbors": 6.0, "max_jump_to_flag_neighbors": 60.0},
        }
    ),
    "one by one": Case({"jump": {"min_diffs_single_pass": 20}}),
    "snowballs": Case({"jump": {"expand_large_events": True, "min_jump_area": 6.0, "edge_size": 10}}),
    "snowballs without core": Case(
        {
            "jump": {
                "expand_large_events": True,
                "sat_required_snowball": False,
                "expand_factor": 3.0,
                "mask_snowball_core_next_int": False,
                "max_extended_radius": 12,
            }
        }
    ),
    "ipc": Case(ipc=(3, 3)),
    "ipc of each pixel": Case(ipc=(3, 3, 72, 72)),
    "group scale": Case(edit=unscaled),
    "bad pixels": Case(edit=spoiled),
    "bad pixels, one group kept": Case({"ramp_fit": {"suppress_one_group": False}}, edit=spoiled),
    "1 group": Case(edit=first_groups(1)),
    "1 group kept": Case({"ramp_fit": {"suppress_one_group": False}}, edit=first_groups(1)),
    "2 groups": Case(edit=first_groups(2)),
    "2 groups, one group kept": Case({"ramp_fit": {"suppress_one_group": False}}, edit=first_groups(2)),
    "3 groups": Case(edit=first_groups(3)),
    "4 groups": Case(edit=first_groups(4)),
    "many integrations": Case(exposure="many"),
    "many integrations, all together": Case({"jump": {"only_use_ints": False}}, exposure="many"),
}  # fmt: skip


@pytest.fixture(scope="module")
def exposures(tmp_path_factory) -> dict[str, Observation]:
    """Small frames under many cosmic rays: two integrations of 12 groups, and 110 of 5."""
    shapes = {
        "long": {"size": 72, "ngroups": 12, "nints": 2},
        "many": {"size": 32, "ngroups": 5, "nints": 110},
    }
    return {
        name: simulate.observation(
            tmp_path_factory.mktemp(name),
            detectors=("NRCB1",),
            dithers=1,
            subarray="SUB160",
            instrument=STORMY,
            scene=CROWDED,
            **shape,
        )
        for name, shape in shapes.items()
    }


@pytest.fixture(scope="module")
def results(peer: Peer, exposures, tmp_path_factory) -> dict[str, tuple[Path, Path]]:
    """Folders of our products and theirs for each case."""
    folders, tasks = {}, []
    root = tmp_path_factory.mktemp("options")
    for number, (name, case) in enumerate(CASES.items()):
        folder = root / str(number)
        observation = exposures[case.exposure]
        source = prepared(case, observation.uncal[0], folder)
        files = dict(references(observation, observation.uncal[0]))
        if case.ipc:
            files["ipc"] = ipc_reference(case.ipc, folder / "ipc.fits")
        folders[name] = folder / "ours", folder / "theirs"
        tasks.append((source, files, case))
    job = peer.start(
        "stage1 options",
        [
            task("Detector1Pipeline", source, theirs, files, steps=case.steps)
            for (source, files, case), (_, theirs) in zip(tasks, folders.values(), strict=True)
        ],
        processes=2,
    )
    for (source, files, case), (ours, _) in zip(tasks, folders.values(), strict=True):
        overrides = {kind: str(path) for kind, path in files.items()}
        (outcome,) = run("detector1", source, ours, overrides=overrides, steps=case.steps)
        assert not outcome.error
    job.wait()
    return folders


def prepared(case: Case, uncal: Path, folder: Path) -> Path:
    """The exposure of a case in ``folder``."""
    folder.mkdir()
    path = folder / uncal.name
    with fits.open(uncal) as hdus:
        if case.edit:
            case.edit(hdus)
        hdus.writeto(path)
    return path


def ipc_reference(shape: tuple[int, ...], path: Path) -> Path:
    """A kernel that takes half a per cent of a pixel's charge back from each of its neighbours."""
    kernel = np.full(shape, 0.0, np.float32)
    kernel[[0, 1, 1, 2], [1, 0, 2, 1]] = -0.005
    kernel[1, 1] = 1.02
    primary = fits.PrimaryHDU()
    words = {"TELESCOP": "JWST", "REFTYPE": "IPC", "INSTRUME": "NIRCAM", "DETECTOR": "NRCB1", "AUTHOR": "test",
             "SUBARRAY": "GENERIC", "USEAFTER": "2022-01-01T00:00:00", "PEDIGREE": "DUMMY", "DESCRIP": "kernel",
             "HISTORY": "made for a test"}  # fmt: skip
    primary.header.update(words)
    fits.HDUList([primary, fits.ImageHDU(kernel, name="SCI")]).writeto(path)
    return path


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("suffix", ["rate", "rateints"])
def test_rates(results, exposures, name: str, suffix: str):
    uncal = exposures[CASES[name].exposure].uncal[0]
    product = f"{exposure_name(uncal)}_{suffix}.fits"
    ours, theirs = (folder / product for folder in results[name])
    assert_same_image(ours, theirs, RATE)
