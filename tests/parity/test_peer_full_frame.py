"""Reference pixels of a full frame against jwst 3.0.0: four amplifiers, and the columns on the sides."""

import numpy as np
import pytest
from astropy.io import fits
from both import exposure_name, references
from compare import beyond, planes, unequal
from peer import task

from jwpipe.dq import Pixel
from jwpipe.runner import run
from jwpipe.simulate import fitsfile

pytestmark = pytest.mark.peer

SIDE = 2048
ALONE = ("dq_init", "refpix")
SKIPPED = (
    "saturation",
    "ipc",
    "superbias",
    "linearity",
    "dark_current",
    "jump",
    "ramp_fit",
    "gain_scale",
)


@pytest.fixture(scope="module")
def ramps(peer, observation, tmp_path_factory):
    """Our ramp and theirs: an exposure of noise, amplifier by amplifier and row by row, with wild reference pixels."""
    folder = tmp_path_factory.mktemp("full frame")
    uncal = observation.uncal[0]
    source, mask = folder / uncal.name, folder / "mask.fits"
    write_exposure(uncal, source)
    write_mask(references(observation, uncal)["mask"], mask)
    steps = {name: {"skip": True} for name in SKIPPED}
    job = peer.start(
        "full frame",
        [
            task(
                "Detector1Pipeline",
                source,
                folder / "theirs",
                {"mask": mask},
                steps=steps,
                save=["refpix"],
            )
        ],
    )
    (outcome,) = run(
        "detector1", source, folder / "ours", overrides={"mask": str(mask)}, steps=steps
    )
    assert not outcome.error
    job.wait()
    name = exposure_name(uncal)
    return planes(folder / "ours" / f"{name}_ramp.fits"), planes(
        folder / "theirs" / f"{name}_refpix.fits"
    )


def write_exposure(like, path):
    """Two groups of a full frame, with the header of another exposure but for its shape."""
    rng = np.random.default_rng(7)
    data = np.empty((1, 2, SIDE, SIDE), np.uint16)
    for group in data[0]:
        values = rng.normal(12000.0, 8.0, (SIDE, SIDE)) + rng.normal(0.0, 20.0, (SIDE, 1))
        values += np.repeat(rng.normal(0.0, 50.0, 4), SIDE // 4) + np.tile(
            rng.normal(0.0, 10.0, 2), SIDE // 2
        )
        struck = rng.uniform(size=(SIDE, SIDE)) < 0.01
        group[:] = np.where(struck, values + 2000.0, values)
    with fits.open(like) as hdus:
        words = {"SUBARRAY": "FULL", "SUBSTRT1": 1, "SUBSTRT2": 1, "SUBSIZE1": SIDE, "SUBSIZE2": SIDE,
                 "NOUTPUTS": 4, "NINTS": 1, "NGROUPS": 2, "ZEROFRAM": False}  # fmt: skip
        hdus[0].header.update(words)
        hdus["SCI"].data = data
        del hdus["ZEROFRAME"]
        hdus.writeto(path)


def write_mask(like, path):
    """Reference pixels around the frame, some of them and of the others unusable."""
    dq = np.full((SIDE, SIDE), Pixel.REFERENCE_PIXEL, np.uint32)
    dq[4:-4, 4:-4] = 0
    dq[np.random.default_rng(8).uniform(size=dq.shape) < 0.02] |= np.uint32(Pixel.DO_NOT_USE)
    values, names = fitsfile.flags(dq, ("DO_NOT_USE", "REFERENCE_PIXEL"))
    with fits.open(like) as hdus:
        words = {
            "SUBARRAY": "FULL",
            "SUBSTRT1": 1,
            "SUBSTRT2": 1,
            "SUBSIZE1": SIDE,
            "SUBSIZE2": SIDE,
        }
        hdus[0].header.update(words)
        fits.HDUList([hdus[0], values, names]).writeto(path)


def test_counts(ramps):
    """Two thousandths of a DN: the spacing of single-precision numbers at the 12000 DN that are averaged."""
    ours, theirs = (ramp["SCI"] for ramp in ramps)
    assert np.ptp(theirs) > 2000
    assert beyond(ours, theirs, 0.002) == 0


def test_flags(ramps):
    ours, theirs = ramps
    assert unequal(ours["PIXELDQ"], theirs["PIXELDQ"]) == 0
    assert unequal(ours["GROUPDQ"], theirs["GROUPDQ"]) == 0
