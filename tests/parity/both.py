"""One observation through both pipelines, from raw ramps to the mosaic's catalogue."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from peer import Peer, Task, task

from jwpipe.io import association_of, write_association
from jwpipe.runner import run
from jwpipe.simulate import Observation

RAMP_STEPS = ("dq_init", "saturation", "superbias", "refpix", "linearity", "dark_current", "jump")
IMAGE_STEPS = ("assign_wcs", "flat_field")
MOSAIC = "jw90210-o001_t001_nircam_f200w"


@dataclass(frozen=True)
class Runs:
    """Folders of products, ``ours`` and ``theirs``, of an observation.

    ``steps`` holds ours of the first exposure after each step; theirs lie beside the others.
    """

    observation: Observation
    ours: Path
    theirs: Path
    steps: Path

    @property
    def names(self) -> list[str]:
        """The exposures' names."""
        return [exposure_name(path) for path in self.observation.uncal]

    def pairs(self, suffix: str) -> Iterator[tuple[Path, Path]]:
        """Our product and theirs of each exposure."""
        for name in self.names:
            product = f"{name}_{suffix}.fits"
            yield self.ours / product, self.theirs / product

    def mosaics(self, suffix: str) -> tuple[Path, Path]:
        """Our product of all exposures and theirs."""
        product = f"{MOSAIC}_{suffix}"
        return self.ours / product, self.theirs / product


def exposure_name(path: Path) -> str:
    """The name of a file without its suffix and extension."""
    return path.name.rpartition("_")[0]


def references(observation: Observation, path: Path) -> dict[str, Path]:
    """The reference files for an exposure."""
    return observation.files[exposure_name(path).rpartition("_")[2].upper()]


def run_both(peer: Peer, observation: Observation, folder: Path) -> Runs:
    """Run both pipelines with default parameters, side by side."""
    runs = Runs(observation, folder / "ours", folder / "theirs", folder / "steps")
    job = peer.start("chain", peer_tasks(runs))
    run_ours(runs)
    job.wait()
    return runs


def run_ours(runs: Runs) -> None:
    """The whole chain in one go, and once more the first exposure with the result of each step."""
    first, *_ = runs.observation.uncal
    # What the mosaic takes of a detector's references is for all detectors; theirs are the first one's.
    shared = {
        kind: str(references(runs.observation, first)[kind]) for kind in ("apcorr", "abvegaoffset")
    }
    folders = [runs.observation.references]
    uncal = [str(path) for path in runs.observation.uncal]
    outcomes = run(
        "detector1,image2,image3", uncal, runs.ours, refs=folders, overrides=shared, save=("detector1", "image2")
    )  # fmt: skip
    outcomes += run(
        "detector1,image2",
        uncal[0],
        runs.steps,
        refs=folders,
        save=("detector1", *RAMP_STEPS, *IMAGE_STEPS),
    )
    assert not [outcome.error for outcome in outcomes if outcome.error]


def peer_tasks(runs: Runs) -> list[Task]:
    """What the peer has to do."""
    tasks = []
    for uncal, name in zip(runs.observation.uncal, runs.names, strict=True):
        files, first = references(runs.observation, uncal), uncal == runs.observation.uncal[0]
        rate = runs.theirs / f"{name}_rate.fits"
        for pipeline, source, saved in (
            ("Detector1", uncal, RAMP_STEPS),
            ("Image2", rate, IMAGE_STEPS),
        ):
            save = saved if first else ()
            tasks.append(task(f"{pipeline}Pipeline", source, runs.theirs, files, save=save))
    files = references(runs.observation, runs.observation.uncal[0])
    return [
        *tasks,
        task("Image3Pipeline", association(runs.theirs, runs.names), runs.theirs, files),
    ]


def association(folder: Path, names: list[str]) -> Path:
    """An association of the calibrated exposures in ``folder``, which need not be there yet."""
    folder.mkdir(exist_ok=True)
    members = [folder / f"{name}_cal.fits" for name in names]
    return write_association(association_of(members, MOSAIC, asn_id="o001"), folder / "asn.json")


def level2_association(source: Path, members: Sequence[tuple[str, str]], folder: Path) -> Path:
    """An association in ``folder`` of files copied from ``source`` (name, type); the product is named as the first."""
    for name, _ in members:
        shutil.copyfile(source / name, folder / name)
    listed = [{"expname": name, "exptype": kind} for name, kind in members]
    product = {"name": members[0][0].rpartition("_")[0], "members": listed}
    head = {
        "asn_type": "image2",
        "asn_rule": "DMSLevel2bBase",
        "asn_id": "a3001",
        "asn_pool": "none",
        "program": "90210",
    }
    path = folder / "asn.json"
    path.write_text(json.dumps({**head, "products": [product]}))
    return path
