"""The persistence step on lazy exposures, and the file that carries its state."""

import asdf
import dask.array as da
import numpy as np
import pytest
import xarray as xr

from jwpipe.dq import Group
from jwpipe.exposure import RAMP, ExposureError
from jwpipe.io import save
from jwpipe.refs import References
from jwpipe.stage1.persistence import PersistenceParams, apply_persistence, state_of

START = 60000.0
NOTHING = References({}, {})


def exposure(number=0, *, detector="NRCB1", corner=(1, 1), shape=(2, 3, 12, 8), saturated=()):
    """A dark exposure, ``number`` minutes after the first, with pixels saturated in the last integration."""
    groupdq = np.zeros(shape, np.uint8)
    for y, x in saturated:
        groupdq[-1, :, y, x] = Group.SATURATED
    primary = {
        "DETECTOR": detector,
        "EXPSTART": START + number / 1440,
        "EFFINTTM": 15.0,
        "TGROUP": 5.0,
        "SUBSTRT2": corner[0],
        "SUBSTRT1": corner[1],
    }
    arrays = {"sci": np.zeros(shape, np.float32), "groupdq": groupdq}
    chunks = (1, -1, 5, -1)
    lazy = {name: (RAMP, da.from_array(values, chunks)) for name, values in arrays.items()}
    return xr.Dataset(lazy, attrs={"primary": primary, "filename": f"{detector}_{number}"})


def processed(given, path, **options):
    """The flags of an exposure; the state goes through the file at ``path``."""
    params = PersistenceParams(
        persistence_time=100,
        persistence_array_file=str(path),
        save_persistence=str(path),
        **options,
    )
    result = apply_persistence(given, NOTHING, params)
    flags = result["groupdq"].values
    state = state_of(result)
    assert state is not None
    assert save(state, state.attrs["file"]) == path
    return flags


def branch(path, detector="NRCB1"):
    with asdf.open(path, lazy_load=False, memmap=False) as file:
        return dict(file.tree[detector])


def test_the_state_goes_from_exposure_to_exposure(tmp_path):
    """Saturated from 20 s on: suspect until 120 s, which is in the next exposure, a minute later."""
    path = tmp_path / "state.asdf"
    first = processed(exposure(saturated=[(2, 3), (7, 0)]), path)
    assert (first[1, :, [2, 7], [3, 0]] & Group.PERSISTENCE).all()
    assert not first[0].any()
    assert branch(path)["rows"].tolist() == [2, 7]
    assert branch(path)["vals"] == pytest.approx((START - 40587) * 86400 + 120)
    second = processed(exposure(1), path)
    assert (second[:, :, [2, 7], [3, 0]] == Group.PERSISTENCE).all()
    assert np.count_nonzero(second) == 12
    third = processed(exposure(2), path)
    assert not third.any()
    assert branch(path)["vals"].size == 0


def test_pixels_keep_their_place_on_the_detector(tmp_path):
    path = tmp_path / "state.asdf"
    processed(exposure(saturated=[(2, 3), (7, 0)]), path)
    flags = processed(exposure(1, corner=(3, 4), shape=(1, 2, 4, 4)), path)
    assert flags[0, 0].nonzero()[0].tolist() == [0]
    assert flags[0, 0, 0, 0] == Group.PERSISTENCE


def test_detectors_have_states_of_their_own(tmp_path):
    path = tmp_path / "state.asdf"
    processed(exposure(saturated=[(2, 3)]), path)
    assert not processed(exposure(1, detector="NRCB2"), path).any()
    assert branch(path)["rows"].tolist() == [2]
    assert branch(path, "NRCB2")["rows"].size == 0


def test_a_run_that_is_done_again_starts_anew(tmp_path):
    path = tmp_path / "state.asdf"
    runs = [[processed(exposure(n, saturated=[(2, n)]), path) for n in (0, 1)] for _ in (1, 2)]
    np.testing.assert_array_equal(runs[0], runs[1])


def test_the_state_goes_from_segment_to_segment(tmp_path):
    """As if the two were one exposure."""
    path = tmp_path / "state.asdf"
    params = PersistenceParams(persistence_time=100, save_persistence=str(path))
    one = apply_persistence(exposure(saturated=[(2, 3)]), NOTHING, params)
    two = apply_persistence(exposure(1).assign(persistence=one["persistence"]), NOTHING, params)
    flags = two["groupdq"].values
    assert (flags[:, :, 2, 3] == Group.PERSISTENCE).all()
    assert np.count_nonzero(flags) == 6
    assert two["persistence"].attrs["start"] == one["persistence"].attrs["start"]


def test_windows_of_another_length_are_no_state(tmp_path):
    path = tmp_path / "state.asdf"
    processed(exposure(saturated=[(2, 3)]), path)
    params = PersistenceParams(persistence_time=90, persistence_array_file=str(path))
    result = apply_persistence(exposure(1), NOTHING, params)
    assert not result["groupdq"].values.any()
    assert state_of(result) is None


def test_the_name_gets_its_ending(tmp_path):
    params = PersistenceParams(persistence_time=90, save_persistence=str(tmp_path / "a.dat"))
    state = state_of(apply_persistence(exposure(), NOTHING, params))
    assert state is not None
    assert state.attrs["file"] == str(tmp_path / "a.asdf")


def test_what_is_no_state_is_refused(tmp_path):
    path = tmp_path / "state.asdf"
    path.write_text("no ASDF")
    with pytest.raises(ExposureError, match=r"state.asdf: persistence: .*save_persistence"):
        processed(exposure(), path)
