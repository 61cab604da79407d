"""Snowballs on flag arrays."""

import numpy as np
import pytest

from jwpipe.exposure import Header
from jwpipe.numerics.regions import find_regions
from jwpipe.stage1.events.snowballs import Ellipse, SnowballRules, flag_large_events, snowball_rules
from jwpipe.stage1.jump import JumpParams

DO_NOT_USE, SATURATED, JUMP = 1, 2, 4
RULES = SnowballRules(5, 1, 2.0, True, 2.5, 4, 25, 400, 20)
SHAPE = (120, 140)


def disk(y, x, radius):
    v, u = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return np.hypot(v - y, u - x) <= radius


def event(integrations=1, groups=4, group=1, core=4.0, halo=9.0, centre=(60, 70)):
    """A snowball: jumps around a core that is saturated from ``group`` on."""
    flags = np.zeros((integrations, groups, *SHAPE), np.uint8)
    flags[0, group][disk(*centre, halo)] = JUMP
    flags[0, group:, disk(*centre, core)] = SATURATED
    return flags


def radius(plane, bit, centre=(60, 70)):
    """Mean radius of the pixels with ``bit``, from their area including the core."""
    v, u = np.nonzero(plane & bit)
    return np.hypot(v - centre[0], u - centre[1]).max()


def test_halo_and_core_grow():
    flags = event()
    found = flag_large_events(flags, rules=RULES)
    # The second moment of a ring from 4 to 9 pixels makes full axes of 2 sqrt(4^2 + 9^2) = 19.7; less one pixel and
    # doubled they are 37.4, a radius of 19 whose border is left out.
    assert 18 < radius(found[0, 1], JUMP) < 19
    # The core's axes are 2 * 4 - 1 + 4 = 11 pixels.
    assert 4 < radius(found[0, 1], SATURATED) < 6
    np.testing.assert_array_equal(found[0, 2] & SATURATED, found[0, 1] & SATURATED)
    assert not (found[0, 2:] & JUMP).any()
    assert not ((found & JUMP != 0) & (found & SATURATED != 0)).any()
    np.testing.assert_array_equal(flags, event())


def test_small_cores_do_not_grow():
    found = flag_large_events(event(core=1.0), rules=RULES)
    np.testing.assert_array_equal(found & SATURATED, event(core=1.0) & SATURATED)
    assert radius(found[0, 1], JUMP) > 15


def test_core_flags_replace_all_others():
    flags = event()
    flags[0, 2, 63, 73] = DO_NOT_USE | JUMP
    assert flag_large_events(flags, rules=RULES)[0, 2, 63, 73] == SATURATED


def test_a_core_is_required_but_at_the_edge():
    lone = event(core=-1)
    np.testing.assert_array_equal(flag_large_events(lone, rules=RULES), lone)
    optional = SnowballRules(5, 1, 2.0, False, 2.5, 4, 25, 400, 20)
    assert radius(flag_large_events(lone, rules=optional)[0, 1], JUMP) > 15
    edge = event(core=-1, centre=(60, 15))
    assert radius(flag_large_events(edge, rules=RULES)[0, 1], JUMP, (60, 15)) > 15


def test_the_core_may_saturate_one_group_later():
    flags = event(core=-1)
    flags[0, 2:, disk(60, 70, 2)] = SATURATED
    assert radius(flag_large_events(flags, rules=RULES)[0, 1], JUMP) > 15
    late = event(core=-1)
    late[0, 3:, disk(60, 70, 2)] = SATURATED
    assert radius(flag_large_events(late, rules=RULES)[0, 1], JUMP) < 10


def test_old_saturation_makes_no_snowball():
    flags = event(group=2)
    flags[0, 1, disk(60, 70, 4)] = SATURATED
    flags[0, 0, disk(60, 70, 4)] = SATURATED
    np.testing.assert_array_equal(flag_large_events(flags, rules=RULES), flags)


def test_areas_below_the_limits():
    rules = SnowballRules(300, 1, 2.0, True, 2.5, 0, 25, 400, 20)
    flags = event()
    np.testing.assert_array_equal(flag_large_events(flags, rules=rules) & JUMP, flags & JUMP)
    rules = SnowballRules(5, 60, 2.0, True, 2.5, 4, 25, 400, 20)
    np.testing.assert_array_equal(flag_large_events(flags, rules=rules), flags)


def test_holes_count_as_area():
    ring = event(core=-1)
    ring[0, 1][disk(60, 70, 7)] = 0
    ring[0, 2:, disk(60, 70, 2)] = SATURATED
    area = int((ring[0, 1] & JUMP != 0).sum())
    rules = SnowballRules(area + 50, 1, 2.0, True, 2.5, 4, 25, 400, 20)
    assert radius(flag_large_events(ring, rules=rules)[0, 1], JUMP) > 15


def test_largest_axis():
    rules = SnowballRules(5, 1, 2.0, True, 2.5, 4, 25, 24, 20)
    assert radius(flag_large_events(event(), rules=rules)[0, 1], JUMP) == pytest.approx(12, abs=1)


def test_cores_mark_the_next_integration():
    flags = event(integrations=3, groups=5)
    found = flag_large_events(flags, rules=SnowballRules(5, 1, 2.0, True, 2.5, 4, 25, 400, 3))
    marked = found[1] & JUMP != 0
    assert marked.any(axis=(1, 2)).tolist() == [False, True, True, False, False]
    assert radius(found[1, 1], JUMP) == pytest.approx(3.5, abs=1)
    assert not found[2].any()
    rules = SnowballRules(5, 1, 2.0, True, 2.5, 4, 25, 400, 0)
    assert not flag_large_events(flags, rules=rules)[1].any()


def test_a_point_in_an_ellipse():
    upright = Ellipse(10.0, 20.0, 4.0, 8.0, 0.0)
    assert upright.holds(13.9, 20.0)
    assert not upright.holds(10.0, 22.1)
    assert not Ellipse(10.0, 20.0, 0.0, 8.0, 0.0).holds(10.0, 20.1)


@pytest.mark.parametrize("density", [0.02, 0.3, 0.5])
def test_regions_are_those_of_scikit_image(density):
    measure = pytest.importorskip("skimage.measure")
    rng = np.random.default_rng(4)
    flags = np.where(rng.random((60, 70)) < density, JUMP | DO_NOT_USE, SATURATED).astype(np.uint8)
    veto = np.where(rng.random((60, 70)) < 0.1, JUMP, DO_NOT_USE).astype(np.uint8)
    mask = (flags & ~veto & JUMP) != 0
    expected = measure.label(mask, connectivity=2)
    found = find_regions(flags, veto, np.uint8(JUMP))
    np.testing.assert_array_equal(found.label + 1, expected[mask])
    np.testing.assert_array_equal(found.area, np.bincount(expected[mask])[1:])
    boxes = [region.bbox for region in measure.regionprops(expected)]
    np.testing.assert_array_equal(found.box[:, [0, 2, 1, 3]], boxes)


def test_rules_of_an_exposure():
    header = Header({"primary": {"TGROUP": 100.0}})
    rules = snowball_rules(header, JumpParams(max_extended_radius=7, sat_expand=3))["rules"]
    assert (rules.largest_axis, rules.sat_expand, rules.next_groups) == (14, 6, 40)
    without = JumpParams(mask_snowball_core_next_int=False)
    assert snowball_rules(header, without)["rules"].next_groups == 0
