"""Stage 1, ramps to count rates: the ordered lists of steps."""

from jwpipe.stage1.dark_current import dark_current
from jwpipe.stage1.dq_init import dq_init
from jwpipe.stage1.emicorr import emicorr
from jwpipe.stage1.firstframe import firstframe
from jwpipe.stage1.gain_scale import gain_scale
from jwpipe.stage1.group_scale import group_scale
from jwpipe.stage1.ipc import ipc
from jwpipe.stage1.jump import jump
from jwpipe.stage1.lastframe import lastframe
from jwpipe.stage1.linearity import linearity
from jwpipe.stage1.ramp_fit import ramp_fit
from jwpipe.stage1.refpix import refpix
from jwpipe.stage1.refpix_miri import refpix_miri
from jwpipe.stage1.reset import reset
from jwpipe.stage1.rscd import rscd
from jwpipe.stage1.saturation import saturation
from jwpipe.stage1.superbias import superbias
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
    jump,
    ramp_fit,
    gain_scale,
)

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
    jump,
    ramp_fit,
    gain_scale,
)
