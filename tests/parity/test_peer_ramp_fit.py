"""ramp_fit against jwst 3.0.0: the likelihood fit, the products of ``save_opt``, lost charge, uneven reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from both import exposure_name, references
from compare import RATE, Tolerance, assert_same_image, beyond, keywords, planes, unequal
from peer import Peer, task

from jwpipe import simulate
from jwpipe.runner import run
from jwpipe.simulate import Instrument, Observation, Scene

pytestmark = pytest.mark.peer

STORMY = Instrument(cosmic_ray_rate=100.0, snowball_rate=2.0)
CALM = Instrument(cosmic_ray_rate=0.0, snowball_rate=0.0)
CROWDED = Scene(star_density=2.0, separation=0.3)
# With two or three differences left chi^2 is as good without one as without another: rounding decides which goes.
LIKELY = Tolerance(sci=1e-4, few=1e-3, noise=1e-4, few_noise=2e-3, flags=1e-3)


@dataclass(frozen=True)
class Case:
    """Parameters of steps for an exposure, and the products beside the rates."""

    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    exposure: str = "stormy"
    more: tuple[str, ...] = ()
    tolerance: Tolerance = RATE


def fit(**parameters: Any) -> dict[str, dict[str, Any]]:
    """Parameters of ramp_fit."""
    return {"ramp_fit": parameters}


CASES = {
    "segments": Case(fit(save_opt=True), more=("fitopt",)),
    "segments of some groups": Case(
        fit(save_opt=True, firstgroup=2, lastgroup=8, suppress_one_group=False), more=("fitopt",)
    ),
    "no jumps": Case(
        fit(save_opt=True) | {"jump": {"skip": True}}, exposure="calm", more=("fitopt",)
    ),
    "likely": Case(
        fit(algorithm="LIKELY", save_opt=True), more=("likely_chisq",), tolerance=LIKELY
    ),
    "likely, jumps left to the fit": Case(
        fit(algorithm="LIKELY") | {"jump": {"skip": True}}, tolerance=LIKELY
    ),
    "likely, one integration": Case(
        fit(algorithm="LIKELY", firstgroup=1) | {"dark_current": {"average_dark_current": 0.3}},
        exposure="calm",
        tolerance=LIKELY,
    ),
    "likely, three groups": Case(
        fit(algorithm="LIKELY", save_opt=True), exposure="short", more=("fitopt",)
    ),
    "lost charge": Case(
        {"charge_migration": {"skip": False, "signal_threshold": 12.0}, **fit(save_opt=True)},
        more=("fitopt",),
    ),
    "lost charge, likely": Case(
        {
            "charge_migration": {"skip": False, "signal_threshold": 12.0},
            **fit(algorithm="LIKELY"),
        },
        tolerance=LIKELY,
    ),
}


@pytest.fixture(scope="module")
def exposures(tmp_path_factory) -> dict[str, Observation]:
    """Small frames: two integrations of 12 groups, one of four frames' average, one of three groups."""
    shapes = {
        "stormy": (STORMY, {"size": 56, "ngroups": 12, "nints": 2}),
        "calm": (CALM, {"size": 48, "ngroups": 6, "nints": 1, "readpatt": "BRIGHT2"}),
        "short": (STORMY, {"size": 48, "ngroups": 3, "nints": 2}),
    }
    return {
        name: simulate.observation(
            tmp_path_factory.mktemp(name),
            detectors=("NRCB1",),
            dithers=1,
            subarray="SUB160",
            instrument=instrument,
            scene=CROWDED,
            **shape,
        )
        for name, (instrument, shape) in shapes.items()
    }


@pytest.fixture(scope="module")
def results(peer: Peer, exposures, tmp_path_factory) -> dict[str, tuple[Path, Path]]:
    """Folders of our products and theirs for each case."""
    root = tmp_path_factory.mktemp("ramp_fit")
    folders = {
        name: (root / f"{number}-ours", root / f"{number}-theirs")
        for number, name in enumerate(CASES)
    }
    tasks, work = [], []
    for name, case in CASES.items():
        (source,) = exposures[case.exposure].uncal
        files = references(exposures[case.exposure], source)
        tasks.append(task("Detector1Pipeline", source, folders[name][1], files, steps=case.steps))
        work.append((source, files, case, folders[name][0]))
    job = peer.start("ramp_fit", tasks)
    for source, files, case, ours in work:
        overrides = {kind: str(path) for kind, path in files.items()}
        (outcome,) = run("detector1", source, ours, overrides=overrides, steps=case.steps)
        assert not outcome.error
    job.wait()
    return folders


def pair(results, exposures, name: str, suffix: str) -> tuple[Path, Path]:
    """Our product of a case, and theirs."""
    root = exposure_name(exposures[CASES[name].exposure].uncal[0])
    ours, theirs = results[name]
    return ours / f"{root}_{suffix}.fits", theirs / f"{root}_{suffix}.fits"


@pytest.mark.parametrize("suffix", ["rate", "rateints"])
@pytest.mark.parametrize("name", CASES)
def test_rates(results, exposures, name: str, suffix: str):
    ours, theirs = pair(results, exposures, name, suffix)
    assert_same_image(ours, theirs, CASES[name].tolerance)


@pytest.mark.parametrize(
    ("name", "suffix"), [(name, suffix) for name, case in CASES.items() for suffix in case.more]
)
def test_further_products(results, exposures, name: str, suffix: str):
    ours, theirs = pair(results, exposures, name, suffix)
    a, b = planes(ours), planes(theirs)
    assert list(a) == list(b)
    few = CASES[name].tolerance.few
    for plane in b:
        assert unequal(np.isnan(a[plane]), np.isnan(b[plane])) <= few, plane
        allowed = 1e-4 * np.abs(b[plane]) + 1e-6 * np.nanmax(np.abs(b[plane]), initial=0.0)
        assert beyond(a[plane], b[plane], allowed) <= few, plane
    for word in ("DATAMODL", "S_RAMP", "S_JUMP", "NINTS", "FILENAME", "MJD-BEG"):
        assert keywords(ours).get(word) == keywords(theirs).get(word), word
    with fits.open(ours) as first, fits.open(theirs) as second:
        assert [hdu.name for hdu in first] == [hdu.name for hdu in second]


def test_charge_is_lost(results, exposures):
    """The threshold of charge_migration is low enough for the comparison to say something."""
    whole, lost = (
        planes(pair(results, exposures, name, "rate")[1])["VAR_POISSON"]
        for name in ("segments", "lost charge")
    )
    assert np.mean(whole != lost) > 0.05
