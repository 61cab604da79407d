"""Stage 2, count rates to calibrated exposures: the ordered list of steps."""

from jwpipe.stage2.assign_wcs import assign_wcs
from jwpipe.stage2.bkg_subtract import bkg_subtract
from jwpipe.stage2.flat_field import flat_field
from jwpipe.stage2.photom import photom
from jwpipe.stage3.resample import resample
from jwpipe.step import AnyStep

IMAGE: tuple[AnyStep, ...] = (bkg_subtract, assign_wcs, flat_field, photom, resample)
