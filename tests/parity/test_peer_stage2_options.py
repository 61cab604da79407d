"""Stage 2 of images against jwst 3.0.0 away from the defaults, on the same count rates."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from both import Runs, level2_association, references
from compare import IMAGE, assert_same_image, assert_same_mosaic, assert_same_wcs, keywords, planes
from peer import Peer, task

from jwpipe.runner import run

pytestmark = pytest.mark.peer


@dataclass(frozen=True)
class Case:
    """Steps' parameters; the suffix of the input; backgrounds (exposure, suffix); reference types left out."""

    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    suffix: str = "rate"
    backgrounds: tuple[tuple[int, str], ...] = ()
    without: tuple[str, ...] = ()


NO_I2D = {"resample": {"skip": True}}
CASES = {
    "backgrounds": Case(
        {"bkg_subtract": {"sigma": 2.0, "maxiters": 2, "save_combined_background": True}, **NO_I2D},
        backgrounds=((2, "rate"), (4, "rate")),
    ),
    "backgrounds of integrations": Case(
        suffix="rateints", backgrounds=((2, "rateints"), (4, "rateints"))
    ),
    "integrations": Case(suffix="rateints"),
    "flat undone": Case({"flat_field": {"inverse": True}, "photom": {"inverse": True}, **NO_I2D}),
    "own flat": Case({"flat_field": {"user_supplied_flat": "flat"}, **NO_I2D}),
    "no area": Case(NO_I2D, without=("area", "filteroffset")),
    "sip": Case(
        {"assign_wcs": {"sip_degree": 4, "sip_inv_degree": 3, "sip_npoints": 20}, **NO_I2D}
    ),
    "no sip": Case({"assign_wcs": {"sip_approx": False}, **NO_I2D}),
    "quick look": Case(
        {"resample": {"pixfrac": 0.8, "kernel": "turbo", "pixel_scale_ratio": 0.8, "rotation": 5.0}}
    ),
}


@pytest.fixture(scope="module")
def results(peer: Peer, runs: Runs, tmp_path_factory) -> dict[str, tuple[Path, Path]]:
    """Folders of our products and theirs for each case."""
    root = tmp_path_factory.mktemp("stage2 options")
    files = dict(references(runs.observation, runs.observation.uncal[0]))
    own = rough_flat(files["flat"], root / "own_flat.fits")
    folders, work = {}, []
    for number, (name, case) in enumerate(CASES.items()):
        folder = root / str(number)
        source = association(runs, case, folder)
        used = {kind: "N/A" if kind in case.without else path for kind, path in files.items()}
        steps = {step: dict(values) for step, values in case.steps.items()}
        if "user_supplied_flat" in steps.get("flat_field", {}):
            steps["flat_field"]["user_supplied_flat"] = str(own)
        folders[name] = folder / "ours", folder / "theirs"
        work.append((source, used, steps))
    cases = list(zip(work, folders.values(), strict=True))
    job = peer.start(
        "stage2 options",
        [
            task("Image2Pipeline", *(source, theirs, used), steps=steps)
            for (source, used, steps), (_, theirs) in cases
        ],
    )
    for (source, used, steps), (ours, _) in cases:
        overrides = {kind: str(path) for kind, path in used.items()}
        (outcome,) = run("image2", source, ours, overrides=overrides, steps=steps)
        assert not outcome.error
    job.wait()
    return folders


def association(runs: Runs, case: Case, folder: Path) -> Path:
    """An association of a case in ``folder``, with copies of its members."""
    folder.mkdir()
    members = [(runs.names[0], case.suffix, "science")]
    members += [(runs.names[number], suffix, "background") for number, suffix in case.backgrounds]
    return level2_association(
        runs.theirs, [(f"{n}_{suffix}.fits", kind) for n, suffix, kind in members], folder
    )


def rough_flat(flat: Path, path: Path) -> Path:
    """A flat with a slope, holes and zeros."""
    with fits.open(flat) as hdus:
        data = hdus["SCI"].data
        data *= np.linspace(0.8, 1.2, data.shape[1], dtype=np.float32)
        data[50:55, 60:70] = np.nan
        data[80, 90:95] = 0.0
        hdus.writeto(path)
    return path


def products(results, case: str) -> list[tuple[Path, Path]]:
    """Our images and theirs of a case."""
    ours, theirs = (sorted(folder.glob("*.fits")) for folder in results[case])
    assert [path.name for path in ours] == [path.name for path in theirs]
    return list(zip(ours, theirs, strict=True))


@pytest.mark.parametrize("case", CASES)
def test_products(results, case: str):
    """The same products, by the same names, with the same pixels."""
    for ours, theirs in products(results, case):
        if theirs.name.endswith("_i2d.fits"):
            assert_same_mosaic(ours, theirs)
        elif "combinedbackground" in theirs.name:
            a, b = planes(ours), planes(theirs)
            assert np.allclose(a["SCI"], b["SCI"], rtol=1e-6, atol=1e-6)
            assert np.array_equal(a["DQ"], b["DQ"])
        else:
            assert_same_image(ours, theirs, IMAGE)
            assert_same_wcs(ours, theirs)


@pytest.mark.parametrize("case", ["sip", "no sip", "no area"])
def test_keywords(results, case: str):
    for ours, theirs in products(results, case):
        a, b = keywords(ours), keywords(theirs)
        names = [
            n for n in b if n.startswith(("A_", "B_", "AP_", "BP_", "CD", "PC", "CTYPE", "PIXAR"))
        ]
        assert {n for n in a if n.startswith(("A_", "B_", "PC"))} <= set(names)
        for name in names:
            assert a[name] == b[name] or a[name] == pytest.approx(b[name], rel=1e-6, abs=1e-11)
