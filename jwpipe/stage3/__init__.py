"""Stage 3, calibrated exposures to a mosaic and its catalogue: the ordered list of steps."""

from jwpipe.stage3.assign_mtwcs import assign_mtwcs
from jwpipe.stage3.outlier_detection import outlier_detection
from jwpipe.stage3.resample import ResampleParams
from jwpipe.stage3.skymatch import skymatch
from jwpipe.stage3.source_catalog import source_catalog
from jwpipe.stage3.tweakreg import tweakreg
from jwpipe.step import CombiningStep

resample_all = CombiningStep("resample", ResampleParams)

IMAGE3 = (
    assign_mtwcs,
    tweakreg,
    skymatch,
    outlier_detection,
    resample_all,
    source_catalog,
)
"""Exposures of a moving target are aligned on the target by assign_mtwcs, others on their stars by tweakreg."""
