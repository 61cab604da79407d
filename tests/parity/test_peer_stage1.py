"""Stage 1 against jwst 3.0.0: the ramp after each step, and the count rates."""

import numpy as np
import pytest
from both import RAMP_STEPS, Runs
from compare import RATE, assert_same_image, beyond, planes, same_holes, unequal

from jwpipe.dq import Group

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module", params=RAMP_STEPS)
def ramps(request, runs: Runs):
    """Our ramp and theirs after a step."""
    product = f"{runs.names[0]}_{request.param}.fits"
    return planes(runs.steps / product), planes(runs.theirs / product)


class TestRamp:
    def test_counts(self, ramps):
        """A thousandth of the read noise of a group, 5 DN, or the spacing of the numbers where that is more."""
        ours, theirs = (ramp["SCI"] for ramp in ramps)
        assert same_holes(ours, theirs)
        assert beyond(ours, theirs, np.maximum(0.005, 2 * np.spacing(np.abs(theirs)))) == 0

    def test_pixel_flags(self, ramps):
        assert unequal(*(ramp["PIXELDQ"] for ramp in ramps)) == 0

    def test_group_flags_but_jumps(self, ramps):
        ours, theirs = (ramp["GROUPDQ"] & ~np.uint8(Group.JUMP_DET) for ramp in ramps)
        assert unequal(ours, theirs) == 0

    def test_jumps(self, ramps):
        """A difference that hits the threshold may fall on either side of it: one in ten thousand."""
        ours, theirs = (ramp["GROUPDQ"] & Group.JUMP_DET for ramp in ramps)
        assert np.sum(ours != theirs) <= 1e-4 * np.sum(theirs != 0)


@pytest.mark.parametrize("suffix", ["rate", "rateints"])
def test_rates(runs: Runs, suffix: str):
    for ours, theirs in runs.pairs(suffix):
        assert_same_image(ours, theirs, RATE)


def test_one_pass_or_step_by_step(runs: Runs):
    """Steps run strip by strip in one pass, or with a file after each: not a bit differs."""
    for suffix in ("rate", "rateints"):
        whole, stepwise = (
            planes(folder / f"{runs.names[0]}_{suffix}.fits") for folder in (runs.ours, runs.steps)
        )
        assert all(
            np.array_equal(whole[name], stepwise[name], equal_nan=whole[name].dtype.kind == "f")
            for name in whole
        )
