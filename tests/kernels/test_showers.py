"""Showers in MIRI frames: wide faint events are flagged, and nothing else."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from jwpipe.dq import Group
from jwpipe.engine.pipeline import run_steps
from jwpipe.engine.preparing import Planned, Prepared
from jwpipe.numerics.ellipses import Ellipse
from jwpipe.numerics.shower_signal import clipped_scatter, mean_step, medians_of_all, ring
from jwpipe.refs import RefArray, References
from jwpipe.stage1.events.showers import (
    MARK,
    flag_showers,
    mark_raised,
    settle_showers,
    shower_rules,
)
from jwpipe.stage1.jump import JumpParams, jump

JUMP, SATURATED, DO_NOT_USE = int(Group.JUMP_DET), int(Group.SATURATED), int(Group.DO_NOT_USE)
ROWS, COLUMNS, GROUPS = 96, 80, 14
RATE, NOISE, GAIN = 50.0, 2.0, 4.0


class Reference:
    """A reference file of one array."""

    path = "reference.fits"

    def __init__(self, array):
        self._array = array

    def array(self, name):
        """The pixels, whatever the name."""
        return RefArray.from_numpy(self._array)


@pytest.fixture
def shower():
    """Where light falls, and with how much: 30 pixels across, 5 DN in group 6, as much as noise."""
    y, x = np.mgrid[:ROWS, :COLUMNS]
    return ((y - 50) ** 2 + (x - 30) ** 2 < 15**2) * 5.0


@pytest.fixture
def ramps(shower):
    draw = np.random.default_rng(3)
    steps = np.full((1, GROUPS, ROWS, COLUMNS), RATE / GAIN)
    steps[0, 6] += shower
    steps[:, 1:] += draw.normal(0, 2, (1, GROUPS - 1, ROWS, COLUMNS))
    return np.cumsum(steps, axis=1).astype(np.float32)


def plane(value):
    return np.full((ROWS, COLUMNS), value, np.float32)


def header(**keywords):
    given = {"INSTRUME": "MIRI", "NFRAMES": 1, "TGROUP": 3.0, "NGROUPS": GROUPS, "NINTS": 1}
    return given | keywords


def run(sci, groupdq=None, pixeldq=None, **parameters):
    """Group flags after the jump step."""
    ramp, image = ("integration", "group", "y", "x"), ("y", "x")
    variables = {"sci": (ramp, da.from_array(sci))}
    if groupdq is not None:
        variables["groupdq"] = (ramp, da.from_array(groupdq))
    if pixeldq is not None:
        variables["pixeldq"] = (image, da.from_array(pixeldq))
    attrs = {"primary": header(NGROUPS=sci.shape[1], NINTS=sci.shape[0]), "sci": {}}
    files = {"gain": Reference(plane(GAIN)), "readnoise": Reference(plane(NOISE))}
    params = JumpParams(**({"find_showers": True, "extend_snr_threshold": 1.1} | parameters))
    planned = (Planned(jump, params, ""),)
    references = References(files, dict.fromkeys(files, "given"))
    # Nothing is recorded about files that are none.
    bare = Prepared(xr.Dataset(variables, attrs=attrs), planned, references)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jwpipe.engine.pipeline._recorded", lambda exposure, *_: exposure)
        result = run_steps(bare)
    return result["groupdq"].compute(scheduler="sync").values


def test_the_ring_is_what_lies_between_its_radii():
    # Squared distances from 1 to 3.6 ** 2 = 12.96: without the centre, with (2, 2), (3, 1), not (3, 2).
    offsets, reach = ring(1.0, 2.6)
    squares = (offsets**2).sum(axis=1)
    assert reach == 3
    assert squares.min() == 1
    assert squares.max() == 10
    assert len(offsets) == 36


def test_a_shower_is_flagged_where_it_falls_and_for_a_while(ramps, shower):
    flags = run(ramps, time_masked_after_shower=6.0)
    lit = shower > 0
    # Two groups of 3 s after the one where it shows, enlarged by a tenth; flags elsewhere are single jumps.
    for group in range(GROUPS):
        share = (flags[0, group][lit] & JUMP != 0).mean()
        assert share > 0.99 if 6 <= group <= 8 else share < 0.02
    assert (flags[0, 6][~lit] & JUMP != 0).mean() < 0.1
    assert not (flags & MARK).any()


def test_without_a_shower_or_without_looking_nothing_is_flagged(ramps, shower):
    quiet = ramps.copy()
    quiet[:, 6:] -= shower.astype(np.float32)
    np.testing.assert_array_equal(run(quiet), run(quiet, find_showers=False))
    assert (run(ramps, find_showers=False)[0, 6] & JUMP != 0).mean() < 0.02


def test_blocks_do_not_matter(ramps, monkeypatch):
    whole = run(ramps)
    monkeypatch.setattr("jwpipe.engine.graph.row_blocks", lambda ny, planes: (40, 30, 26))
    monkeypatch.setattr("jwpipe.engine.chain.strip_rows", lambda planes, nx: 9)
    np.testing.assert_array_equal(run(ramps), whole)


def test_small_areas_are_no_showers(ramps):
    assert (run(ramps, extend_min_area=5000)[0, 6] & JUMP != 0).mean() < 0.02


def test_saturated_pixels_and_reference_pixels_are_spared(ramps):
    groupdq = np.zeros(ramps.shape, np.uint8)
    groupdq[0, 7:, 50, 30] = SATURATED
    pixeldq = np.zeros((ROWS, COLUMNS), np.uint32)
    pixeldq[48, 28] = 1 << 31
    flags = run(ramps, groupdq, pixeldq)
    assert flags[0, 6:, 50, 30].tolist() == [JUMP] + [SATURATED] * (GROUPS - 7)
    assert not flags[0, 6:, 48, 28].any()
    assert flags[0, 6, 48, 29] == JUMP


def test_the_change_of_rate_is_limited(ramps, shower):
    # 5 DN in thirteen differences, of which few remain: the rate changes by about 5 / 13 DN a group, or 0.13 DN/s.
    lit = shower > 0
    assert (run(ramps)[0, 6][lit] & JUMP != 0).all()
    for amplitude, found in ((1.0, True), (0.01, False)):
        share = (run(ramps, max_shower_amplitude=amplitude)[0, 6][lit] & JUMP != 0).mean()
        assert share > 0.95 if found else share < 0.2


def test_fewer_than_ten_differences_are_too_few(ramps):
    short = np.ascontiguousarray(ramps[:, :10])
    assert (run(short)[0, 6] & JUMP != 0).mean() < 0.02
    # Eleven groups of which one is unusable throughout are nine differences by this count.
    longer = np.ascontiguousarray(ramps[:, :11])
    groupdq = np.zeros(longer.shape, np.uint8)
    assert (run(longer, groupdq)[0, 6] & JUMP != 0).mean() > 0.05
    groupdq[:, -1] = DO_NOT_USE
    assert (run(longer, groupdq)[0, 6] & JUMP != 0).mean() < 0.02


def test_with_many_integrations_the_scatter_is_measured(shower):
    draw = np.random.default_rng(1)
    steps = np.full((12, 4, ROWS, COLUMNS), RATE / GAIN) + draw.normal(0, 2, (12, 4, ROWS, COLUMNS))
    steps[5, 2] += shower
    sci = np.cumsum(steps, axis=1).astype(np.float32)
    flags = run(sci, minimum_sigclip_groups=10)
    lit = shower > 0
    assert (flags[5, 2][lit] & JUMP != 0).mean() > 0.9
    assert (flags[4, 2][lit] & JUMP != 0).mean() < 0.05


def test_medians_and_scatter_by_hand():
    sci = np.array([0, 1, 5, 7, 100, 103], np.float32).reshape(1, 6, 1, 1)
    flags = np.zeros(sci.shape, np.uint8)
    gain = np.full((1, 1), 2.0, np.float32)
    # Differences 1 4 2 93 3, twice as many electrons.
    assert medians_of_all(sci, flags, gain)[0, 0] == 6
    flags[0, 4] = JUMP
    assert medians_of_all(sci, flags, gain)[0, 0] == 4
    # A jump that is also persistence counts, so that 93 and 3 are back.
    flags[0, 4] = JUMP | int(Group.PERSISTENCE)
    assert medians_of_all(sci, flags, gain)[0, 0] == 6
    flags[:] = DO_NOT_USE
    assert np.isnan(medians_of_all(sci, flags, gain)[0, 0])
    column = np.append(np.tile([-1.0, 1.0], 20), [0, 500]).astype(np.float32)
    column = np.sort(column)[:, None]
    # 500 is clipped; of forty values of 1 or -1 and a 0 the median is 0, the deviation the root of 40 / 41.
    centre, width = clipped_scatter(column, 42, 0)
    assert centre == 0
    assert width == pytest.approx(np.sqrt(40 / 41))


def test_mean_difference_by_hand():
    sci = np.array([0, 1, 5, 7, 100, 103], np.float32).reshape(1, 6, 1, 1)
    flags = np.zeros(sci.shape, np.uint8)
    flags[0, 4] = JUMP
    gain = np.ones((1, 1), np.float32)
    assert mean_step(sci, flags, gain, 0, 0, 0, np.uint8(7)) == pytest.approx((1 + 4 + 2) / 3)
    flags[:] = SATURATED
    assert np.isnan(mean_step(sci, flags, gain, 0, 0, 0, np.uint8(7)))


def test_marks_become_ellipses_of_the_following_groups():
    rules = shower_rules(header(), JumpParams(find_showers=True))
    flags = np.zeros((1, 8, 40, 40), np.uint8)
    flags[0, 2, 10:25, 8:28] = MARK
    flags[0, 2, 35, 35] = MARK
    found = flag_showers(flags, rules=rules)
    # 15 s are five groups of 3 s after the first; the lone mark is gone.
    assert [(plane != 0).any() for plane in found[0]] == [False, False] + [True] * 6
    assert found[0, 2, 17, 18] == MARK
    assert found[0, 2, 35, 35] == 0
    assert flags[0, 2, 35, 35] == MARK


def test_marks_settle_and_inputs_stay():
    sci = np.arange(12, dtype=np.float32).reshape(1, 12, 1, 1) * np.ones((1, 1, 1, 2), np.float32)
    flags = np.zeros(sci.shape, np.uint8)
    flags[0, 5] = MARK
    sci[0, 5:, 0, 1] += 30
    given = sci.copy(), flags.copy()
    unit = np.ones((1, 2), np.float32)
    pixeldq = np.zeros((1, 2), np.uint32)
    # The second pixel's mean difference falls by 30 / 11 electrons without group 5.
    (settled,) = settle_showers(sci, flags, pixeldq, unit, limit=2.0, in_counts=False)
    assert settled[0, 5, 0].tolist() == [JUMP, 0]
    (settled,) = settle_showers(sci, flags, pixeldq, 2 * unit, limit=2.8, in_counts=True)
    assert settled[0, 5, 0].tolist() == [JUMP, JUMP]
    np.testing.assert_array_equal(sci, given[0])
    np.testing.assert_array_equal(flags, given[1])


def test_marks_take_no_input_along():
    rules = shower_rules(header(), JumpParams(find_showers=True))
    draw = np.random.default_rng(2)
    sci = draw.normal(0, 1, (1, 12, 16, 16)).astype(np.float32)
    groupdq = np.zeros(sci.shape, np.uint8)
    unit = np.ones((16, 16), np.float32)
    marked = mark_raised(sci, groupdq, np.zeros((16, 16), np.uint32), unit, unit, None, rules)
    assert not groupdq.any()
    assert set(np.unique(marked)) <= {0, int(MARK)}


def test_ellipses_gain_as_much_on_both_axes():
    wide = Ellipse(0, 0, 20, 50, 0).enlarged(1.5, 400)
    assert wide[2:4] == (30, 60)
    assert Ellipse(0, 0, 20, 50, 0).enlarged(1.5, 40)[2:4] == (30, 40)
