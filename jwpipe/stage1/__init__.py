"""Stage 1, ramps to count rates: the ordered lists of steps.

Each step has a file here; the folders hold what single steps are made of.
"""

from jwpipe.stage1.charge_migration import charge_migration
from jwpipe.stage1.clean_flicker_noise import clean_flicker_noise
from jwpipe.stage1.dark_current import dark_current
from jwpipe.stage1.dq_init import dq_init
from jwpipe.stage1.dq_init_guider import dq_init_guider
from jwpipe.stage1.emicorr import emicorr
from jwpipe.stage1.firstframe import firstframe
from jwpipe.stage1.gain_scale import gain_scale
from jwpipe.stage1.group_scale import group_scale
from jwpipe.stage1.guider_cds import guider_cds
from jwpipe.stage1.ipc import ipc
from jwpipe.stage1.jump import jump
from jwpipe.stage1.lastframe import lastframe
from jwpipe.stage1.linearity import linearity
from jwpipe.stage1.persistence import persistence
from jwpipe.stage1.picture_frame import picture_frame
from jwpipe.stage1.ramp_fit import ramp_fit
from jwpipe.stage1.refpix import refpix
from jwpipe.stage1.refpix_irs2 import refpix_irs2
from jwpipe.stage1.refpix_miri import refpix_miri
from jwpipe.stage1.refpix_stripes import refpix_stripes
from jwpipe.stage1.reset import reset
from jwpipe.stage1.rscd import rscd
from jwpipe.stage1.saturation import saturation
from jwpipe.stage1.superbias import superbias
from jwpipe.stage1.superstripes import superstripes
from jwpipe.stage1.time_jump import time_jump
from jwpipe.step import AnyStep

NEAR_INFRARED: tuple[AnyStep, ...] = (
    group_scale,
    dq_init,
    saturation,
    ipc,
    superbias,
    refpix,
    linearity,
    dark_current,
    charge_migration,
    jump,
    time_jump,
    picture_frame,
    clean_flicker_noise,
    persistence,
    ramp_fit,
    gain_scale,
)

STRIPED: tuple[AnyStep, ...] = tuple(
    each
    for step in NEAR_INFRARED
    for each in ((refpix_stripes, superstripes) if step is refpix else (step,))
)
"""Multistripe readouts have reference pixels among their rows; superstripes are put together after these."""

INTERLEAVED: tuple[AnyStep, ...] = tuple(
    refpix_irs2 if step is refpix else step for step in NEAR_INFRARED
)
"""NIRSpec's IRS2 readout patterns have reference reads between the pixels; refpix takes them out."""

MIRI: tuple[AnyStep, ...] = (
    group_scale,
    dq_init,
    emicorr,
    saturation,
    ipc,
    firstframe,
    lastframe,
    reset,
    linearity,
    rscd,
    dark_current,
    refpix_miri,
    charge_migration,
    jump,
    time_jump,
    picture_frame,
    clean_flicker_noise,
    persistence,
    ramp_fit,
    gain_scale,
)

GUIDER: tuple[AnyStep, ...] = (dq_init_guider, guider_cds)
"""Guide stars; the flat field of stage 2 follows."""


def before_dark(steps: tuple[AnyStep, ...]) -> tuple[AnyStep, ...]:
    """The steps that a dark exposure goes through to become a reference itself."""
    return steps[: steps.index(dark_current)]
