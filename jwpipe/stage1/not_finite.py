"""Leave out samples that are no numbers: goes first where raw ramps are floating point, as the archive's never are."""

import numpy as np

from jwpipe.dq import Group
from jwpipe.step import Step


def flag_not_finite(sci: np.ndarray, groupdq: np.ndarray) -> tuple[np.ndarray]:
    """Flag samples (i, g, y, x) that are NaN or infinite, so that no step counts with them."""
    return (np.where(np.isfinite(sci), groupdq, groupdq | np.uint8(Group.DO_NOT_USE)),)


not_finite = Step("not_finite", flag_not_finite, ("sci", "groupdq"), ("groupdq",))
