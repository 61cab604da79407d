"""Stage 3 against jwst 3.0.0 away from the defaults, step by step on the same calibrated exposures."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from both import Runs, association, references
from compare import (
    VARIANCES,
    assert_same_mosaic,
    assert_same_wcs,
    keywords,
    planes,
    same_holes,
    unequal,
)
from compare_tables import catalogue, far_sources
from peer import Peer, task

import jwpipe
from jwpipe.dq import Pixel
from jwpipe.runner import run

pytestmark = pytest.mark.peer

Parameters = dict[str, Any]
LEVELS = (0.0, 0.05, 0.02, 0.07, 0.03, 0.01)
OTHERS = ("tweakreg", "skymatch", "outlier_detection", "source_catalog")

SKY: dict[str, Parameters] = {
    "matched": {},
    "each by itself": {"skymethod": "local", "skystat": "median"},
    "the lowest of all": {"skymethod": "global", "skystat": "mean", "nclip": 3, "lsigma": 3.0},
    "matched, then the lowest": {"skymethod": "global+match", "skystat": "midpt"},
    "matched up and subtracted": {"match_down": False, "subtract": True},
    "within limits": {"lower": 0.1, "upper": 0.6, "dqbits": "0", "stepsize": 100, "binwidth": 0.2},
}
OUTLIERS: dict[str, Parameters] = {
    "defaults": {},
    "thresholds": {"snr": "8.0 6.0", "scale": "2.0 1.0", "maskpt": 0.4, "backg": 0.01},
    "small drops": {"kernel": "turbo", "pixfrac": 0.7, "weight_type": "exptime"},
    "points": {"kernel": "point", "good_bits": "~DO_NOT_USE+NON_SCIENCE", "fillval": "0"},
    "on disk": {"in_memory": False},
    "not resampled": {"resample_data": False},
}
MOSAICS: dict[str, Parameters] = {
    "gaussian": {"kernel": "gaussian", "pixfrac": 0.8, "pixel_scale": 0.04, "rotation": 10.0},
    "lanczos3": {"kernel": "lanczos3", "pixel_scale_ratio": 0.75, "weight_type": "exptime"},
    "lanczos2": {"kernel": "lanczos2", "fillval": "0.0"},
    "point": {"kernel": "point", "weight_type": "exptime", "fillval": "-1.5"},
    "turbo": {"kernel": "turbo", "pixfrac": 0.6, "report_var": False},
    "small": {
        "pixfrac": 0.5,
        "output_shape": [150, 120],
        "crpix": [60.0, 70.0],
    },
    "without errors": {"enable_err": False, "enable_ctx": False},
    "flags": {"propagate_dq": True},
}
ALIGNMENTS: dict[str, Parameters] = {
    "shifts": {"fitgeometry": "shift", "starfinder": "dao", "snr_threshold": 20.0},
    "any linear map": {
        "fitgeometry": "general",
        "expand_refcat": True,
        "enforce_user_order": True,
        "nclip": 1,
    },
    "segments": {
        "starfinder": "segmentation",
        "fitgeometry": "rscale",
        "npixels": 12,
        "brightest": 60,
    },
    "to stars": {"abs_refcat": "stars", "abs_minobj": 8, "minobj": 8, "abs_fitgeometry": "rscale"},
}
CATALOGUES: dict[str, Parameters] = {
    "not deblended": {"deblend": False, "npixels": 10, "connectivity": "4", "kernel_fwhm": 3.0},
    "other apertures": {"aperture_ee1": 50, "aperture_ee2": 60, "aperture_ee3": 80, "snr_threshold": 5.0},
    "fine background": {"bkg_boxsize": 64, "localbkg_width": 12, "multithresh_mode": "linear", "nlevels": 16},
    "few stars": {"ci1_star_threshold": 1.5, "ci2_star_threshold": 1.2, "apermask_method": "mask"},
}  # fmt: skip


class Steps:
    """Runs of single steps by both pipelines: ``ours`` and ``theirs`` are folders by case."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.tasks: list[dict[str, Any]] = []

    def folder(self, case: str, who: str) -> Path:
        return self.root / case / who

    def add(
        self, case: str, pipeline: str, source: Path, files: Any, parameters: Parameters
    ) -> None:
        """Have the peer run one of its steps."""
        work = task(pipeline, source, self.folder(case, "theirs"), files)
        self.tasks.append({**work, "parameters": parameters})


@pytest.fixture(scope="module")
def struck(runs: Runs, tmp_path_factory) -> Path:
    """Their calibrated exposures with hits that look like cosmic rays, on skies of different levels."""
    folder = tmp_path_factory.mktemp("struck")
    rng = np.random.default_rng(5)
    for (_, theirs), level in zip(runs.pairs("cal"), LEVELS, strict=True):
        path = folder / theirs.name
        shutil.copyfile(theirs, path)
        with fits.open(path, mode="update") as hdus:
            data = hdus["SCI"].data
            data += np.float32(level)
            y, x = rng.integers(0, data.shape[0], (2, 400))
            data[y, x] += rng.uniform(0.5, 30.0, y.size).astype(np.float32)
    return folder


@pytest.fixture(scope="module")
def steps(peer: Peer, runs: Runs, struck: Path, tmp_path_factory) -> Steps:
    """All cases, by both pipelines."""
    first = runs.observation.uncal[0]
    files = references(runs.observation, first)
    everything = association(struck, runs.names)
    # One detector: without resampling exposures must have one shape and one frame.
    single = struck / "single.json"
    shutil.move(association(struck, runs.names[::2]), single)
    everything = association(struck, runs.names)
    steps = Steps(tmp_path_factory.mktemp("steps"))
    for case, parameters in SKY.items():
        steps.add(case, "SkyMatchStep", everything, files, parameters)
    for case, parameters in OUTLIERS.items():
        steps.add(case, "OutlierDetectionStep", single, files, parameters)
    for case, parameters in MOSAICS.items():
        steps.add(case, "ResampleStep", single, files, parameters)
    for case, parameters in ALIGNMENTS.items():
        steps.add(case, "TweakRegStep", everything, files, stars(runs, parameters))
    mosaic = runs.mosaics("i2d.fits")[1]
    for case, parameters in CATALOGUES.items():
        steps.add(case, "SourceCatalogStep", mosaic, files, parameters)
    job = peer.start("stage3 options", steps.tasks, processes=2)
    for case, parameters in SKY.items():
        run_step("skymatch", everything, steps.folder(case, "ours"), parameters)
    for case, parameters in OUTLIERS.items():
        run_step("outlier_detection", single, steps.folder(case, "ours"), parameters)
    for case, parameters in MOSAICS.items():
        skipped = {name: {"skip": True} for name in OTHERS}
        (outcome,) = run(
            "image3", single, steps.folder(case, "ours"), steps={**skipped, "resample": parameters}
        )
        assert not outcome.error
    for case, parameters in ALIGNMENTS.items():
        run_step("tweakreg", everything, steps.folder(case, "ours"), stars(runs, parameters))
    job.wait()
    return steps


def stars(runs: Runs, parameters: Parameters) -> Parameters:
    """The parameters with the file of the true stars for ``abs_refcat``."""
    if "abs_refcat" not in parameters:
        return parameters
    return {**parameters, "abs_refcat": str(runs.observation.reference_stars)}


def run_step(name: str, source: Path, output: Path, parameters: Parameters) -> None:
    """Run one of our steps on an association."""
    outcomes = run(name, source, output, steps={name: parameters})
    assert not [outcome.error for outcome in outcomes if outcome.error]


def pairs(steps: Steps, case: str) -> list[tuple[Path, Path]]:
    """Our products and theirs of a case, exposure by exposure."""
    ours, theirs = (sorted(steps.folder(case, who).glob("*.fits")) for who in ("ours", "theirs"))
    assert len(ours) == len(theirs) > 0
    return list(zip(ours, theirs, strict=True))


@pytest.mark.parametrize("case", SKY)
def test_sky_levels(steps: Steps, case: str):
    for ours, theirs in pairs(steps, case):
        a, b = keywords(ours), keywords(theirs)
        assert {name: a[name] for name in ("BKGSUB", "BKGMETH", "S_SKYMAT")} == {
            name: b[name] for name in ("BKGSUB", "BKGMETH", "S_SKYMAT")
        }
        allowed = 1e-5 * float(np.nanmedian(planes(theirs)["ERR"]))
        assert a["BKGLEVEL"] == pytest.approx(b["BKGLEVEL"], abs=allowed)
        assert np.allclose(
            planes(ours)["SCI"], planes(theirs)["SCI"], rtol=1e-6, atol=allowed, equal_nan=True
        )


@pytest.mark.parametrize("case", OUTLIERS)
def test_outliers(steps: Steps, case: str):
    """Flags equal in 99.99 % of the pixels, and NaN in the same places."""
    for ours, theirs in pairs(steps, case):
        a, b = planes(ours), planes(theirs)
        assert np.sum(b["DQ"] & Pixel.OUTLIER > 0) > 100
        assert unequal(a["DQ"], b["DQ"]) <= 1e-4
        if not unequal(a["DQ"], b["DQ"]):
            assert all(same_holes(a[name], b[name]) for name in ("SCI", "ERR", *VARIANCES))


@pytest.mark.parametrize("case", MOSAICS)
def test_mosaics(steps: Steps, case: str):
    """A Lanczos kernel is looked up in a table, where a position may fall on either side of an entry.

    Where the kernel is zero the peer has weights of 1e-33, left by rounding, and values by their ratio.
    """
    ((ours, theirs),) = pairs(steps, case)
    allowed = {"contexts": 1e-4, "least_weight": 1e-20} if "lanczos" in case else {}
    assert_same_mosaic(ours, theirs, **allowed)


@pytest.mark.parametrize("case", ALIGNMENTS)
def test_alignments(steps: Steps, case: str):
    for ours, theirs in pairs(steps, case):
        assert keywords(ours)["S_TWKREG"] == keywords(theirs)["S_TWKREG"] == "COMPLETE"
        assert_same_wcs(ours, theirs)


@pytest.mark.parametrize("case", CATALOGUES)
def test_catalogues(steps: Steps, runs: Runs, case: str):
    files = references(runs.observation, runs.observation.uncal[0])
    parameters = {"source_catalog": CATALOGUES[case]}
    ours, _ = jwpipe.source_catalog(runs.mosaics("i2d.fits")[1], overrides=files, steps=parameters)
    (path,) = steps.folder(case, "theirs").glob("*.ecsv")
    theirs = catalogue(path)
    assert len(ours) == len(theirs) > 15
    assert far_sources(ours, theirs, 1e-5) == {}
