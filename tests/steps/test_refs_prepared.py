"""Prepared references wait on disk."""

import numpy as np
import pytest

from jwpipe.io import spool
from jwpipe.refs import RefArray, prepared
from jwpipe.refs.cache import CACHE
from jwpipe.refs.prepared import InMemory, OnDisk, Store

LARGE = np.arange(3 * 512 * 256, dtype=np.float32).reshape(3, 512, 256)


def test_large_arrays_come_back_from_disk():
    store = Store()
    one, other = store.put(LARGE), store.put(2 * LARGE)
    assert isinstance(one, OnDisk)
    assert one.nbytes == 0
    np.testing.assert_array_equal(one.read(), LARGE)
    np.testing.assert_array_equal(other.read(), 2 * LARGE)
    assert one.read().flags.writeable


def test_small_arrays_stay_in_memory():
    assert isinstance(Store().put(LARGE[:1, :8]), InMemory)


@pytest.mark.parametrize("failing", ["TemporaryFile", "ROOM"])
def test_without_room_arrays_stay_in_memory(monkeypatch, failing):
    def full(**_):
        raise OSError("no space left on device")

    if failing == "ROOM":
        monkeypatch.setattr(prepared, "ROOM", LARGE.nbytes - 1)
    else:
        monkeypatch.setattr(spool.tempfile, "TemporaryFile", full)
    kept = Store().put(LARGE)
    assert isinstance(kept, InMemory)
    np.testing.assert_array_equal(kept.read(), LARGE)


def test_what_is_prepared_is_not_held():
    def doubled(pixels):
        return 2 * pixels

    CACHE.clear()
    array = RefArray.from_numpy(LARGE).map(doubled)
    np.testing.assert_array_equal(array.read(), 2 * LARGE)
    np.testing.assert_array_equal(array.read(), 2 * LARGE)
    assert CACHE.nbytes == 0
