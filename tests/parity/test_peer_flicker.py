"""clean_flicker_noise against jwst 3.0.0: every detector and option, on ramps, integrations and rates.

Both start from the same ramp after the jump step, and from the same rates. Where lines are medians the results are
equal bit by bit; a smooth background and Fourier coefficients are computed in another order.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from both import exposure_name, references
from compare import planes
from detector_examples import simulated
from peer import Peer, task

from jwpipe import simulate
from jwpipe.runner import run
from jwpipe.simulate import Instrument, Observation, Scene

pytestmark = pytest.mark.peer

STRIPED = Instrument(one_over_f=12.0, cosmic_ray_rate=60.0)
CROWDED = Scene(star_density=2.0, separation=0.3)
SAVED = {"save_mask": True, "save_background": True, "save_noise": True}


@dataclass(frozen=True)
class Case:
    """Parameters for a product of a detector; ``near``: equal but for rounding, in DN or DN/s."""

    detector: str = "NIRCam"
    product: str = "jump"
    params: dict[str, Any] = field(default_factory=dict)
    near: float = 0.0


CASES = {
    "ramp": Case(params=SAVED),
    "integrations": Case(product="rateints", params=SAVED),
    "rate": Case(product="rate", params=SAVED),
    "a mask for each": Case(params={"single_mask": False, **SAVED}),
    "histogram": Case(params={"fit_histogram": True, "n_sigma": 2.5, "save_mask": True}),
    "no clipping": Case(product="rateints", params={"n_sigma": 0.0, "single_mask": False, "save_mask": True}),
    "smooth background": Case(params={"background_method": "model", **SAVED}, near=1e-4),
    "smooth background in boxes": Case(
        product="rate", params={"background_method": "model", "background_box_size": [9, 12], **SAVED}, near=1e-5
    ),
    "no background": Case(params={"background_method": None, "save_background": True}),
    "flat": Case(params={"apply_flat_field": True, **SAVED}),
    "median image": Case(params={"background_method": "median_image", **SAVED}),
    "median image, integrations": Case(product="rateints", params={"background_method": "median_image", **SAVED}),
    "automatic": Case(params={"autoparam": True, "save_background": True}, near=1e-4),
    "NIRISS": Case("NIRISS", params=SAVED),
    "NIRISS, automatic": Case("NIRISS", "rate", {"autoparam": True, **SAVED}, near=1e-4),
    "MIRI": Case("MIRI", params=SAVED),
    "MIRI's sky": Case("MIRI", "rateints", {"mask_science_regions": True, "single_mask": False, **SAVED}),
    "in frequencies": Case("NIRSpec 2", params={"fit_method": "fft", **SAVED}, near=5e-3),
    "rate in frequencies": Case("NIRSpec 2", "rate", {"fit_method": "fft", **SAVED}, near=5e-4),
}  # fmt: skip


@dataclass(frozen=True)
class Sources:
    """A detector's ramp after the jump step and its rates, by product, and the references."""

    files: dict[str, Path]
    references: dict[str, Path]


def sources(name: str, folder: Path) -> Sources:
    """Simulate a detector, and make what the step takes."""
    if name == "NIRCam":
        observation: Observation = simulate.observation(
            folder / "raw",
            detectors=("NRCB1",),
            dithers=1,
            subarray="SUB160",
            size=72,
            ngroups=8,
            nints=3,
            instrument=STRIPED,
            scene=CROWDED,
        )
    else:
        observation = simulated(name, folder / "raw")
    (uncal,) = observation.uncal
    files = references(observation, uncal)
    overrides = {kind: str(path) for kind, path in files.items()}
    (outcome,) = run("detector1", uncal, folder / "made", overrides=overrides, save=("jump",))
    assert not outcome.error
    root = folder / "made" / exposure_name(uncal)
    made = {product: Path(f"{root}_{product}.fits") for product in ("jump", "rate", "rateints")}
    return Sources(made, files)


@pytest.fixture(scope="module")
def results(peer: Peer, tmp_path_factory) -> dict[str, tuple[Path, Path]]:
    """Folders of our products and theirs for each case."""
    root = tmp_path_factory.mktemp("flicker")
    detectors = {case.detector for case in CASES.values()}
    made = {name: sources(name, root / name.replace(" ", "")) for name in sorted(detectors)}
    folders = {
        name: (root / f"{k}" / "ours", root / f"{k}" / "theirs") for k, name in enumerate(CASES)
    }
    tasks = [
        task(
            "CleanFlickerNoiseStep",
            made[case.detector].files[case.product],
            folders[name][1],
            made[case.detector].references,
        )
        | {"parameters": {"skip": False, **case.params}}
        for name, case in CASES.items()
    ]
    job = peer.start("flicker", tasks)
    for name, case in CASES.items():
        found = made[case.detector]
        (outcome,) = run(
            "clean_flicker_noise",
            found.files[case.product],
            folders[name][0],
            overrides={kind: str(path) for kind, path in found.references.items()},
            steps={"clean_flicker_noise": case.params},
        )
        assert not outcome.error
    job.wait()
    return folders


@pytest.mark.parametrize("name", CASES)
def test_products(results, name: str):
    """The same products under the same names, with the same pixels."""
    ours, theirs = results[name]
    # Alone, the peer names the result after its class.
    for path in theirs.glob("*_cleanflickernoisestep.fits"):
        path.rename(
            path.with_name(path.name.replace("cleanflickernoisestep", "clean_flicker_noise"))
        )
    names = sorted(path.name for path in theirs.iterdir())
    assert sorted(path.name for path in ours.iterdir()) == names
    for product in names:
        a, b = (planes(folder / product)["SCI"].astype(np.float64) for folder in results[name])
        near = 0.0 if product.endswith("_mask.fits") else CASES[name].near
        np.testing.assert_allclose(a, b, rtol=0, atol=near, err_msg=product)


def test_something_is_removed(results):
    """The products compared are not those of a step that does nothing."""
    for name, (ours, _) in results.items():
        noise = [path for path in ours.iterdir() if path.name.endswith("_flicker_noise.fits")]
        for path in noise:
            assert np.nanstd(fits.getdata(path)) > 0, name
