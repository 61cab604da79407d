"""A time series in segments against jwst 3.0.0, which calibrates each segment by itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from compare import RATE, assert_same_image, planes
from peer import Peer, task
from series_examples import SEGMENTS, in_segments, series

from jwpipe.io import open as open_exposure
from jwpipe.runner import run

pytestmark = pytest.mark.peer


@pytest.fixture(scope="module")
def folders(peer: Peer, tmp_path_factory) -> dict[str, Path]:
    """Products of both of each segment, and ours of the whole exposure."""
    root = tmp_path_factory.mktemp("series")
    observation = series(root / "observation")
    (files,) = observation.files.values()
    segments = in_segments(observation.uncal[0], root / "segments")
    tasks = [task("Detector1Pipeline", path, root / "theirs", files) for path in segments]
    job = peer.start("series", tasks)
    refs = [observation.references]
    for who, whole in (("ours", False), ("whole", True)):
        outcomes = run("detector1", segments, root / who, refs=refs, whole=whole)
        assert not any(outcome.error for outcome in outcomes)
    job.wait()
    return {name: root / name for name in ("ours", "theirs", "whole")}


@pytest.mark.parametrize("product", ["rate", "rateints"])
def test_products_of_each_segment(folders, product):
    ours = sorted(folders["ours"].glob(f"*_{product}.fits"))
    assert len(ours) == len(SEGMENTS)
    for path in ours:
        assert_same_image(path, folders["theirs"] / path.name, RATE)


def test_the_whole_has_the_integrations_of_all_segments(folders):
    (path,) = folders["whole"].glob("*_rateints.fits")
    assert "-seg" not in path.name
    ours = planes(path)
    segments = [planes(each) for each in sorted(folders["theirs"].glob("*_rateints.fits"))]
    for name in ("SCI", "ERR", "VAR_POISSON", "VAR_RNOISE"):
        theirs = np.concatenate([each[name] for each in segments])
        assert ours[name].shape == theirs.shape
        close = np.isclose(ours[name], theirs, rtol=1e-4, atol=1e-6, equal_nan=True)
        assert close.mean() > 0.999
    keywords = open_exposure(path).attrs["primary"]
    assert (keywords["INTSTART"], keywords["INTEND"]) == (1, sum(SEGMENTS))


def test_rate_of_the_whole(folders):
    """It is the mean of the segments' rates, weighted with their read variances."""
    (path,) = folders["whole"].glob("*_rate.fits")
    ours = planes(path)
    segments = [planes(each) for each in sorted(folders["theirs"].glob("*_rate.fits"))]
    rates = np.array([each["SCI"] for each in segments], float)
    weights = 1 / np.array([each["VAR_RNOISE"] for each in segments], float)
    good = np.isfinite(rates).all(axis=0) & np.isfinite(weights).all(axis=0)
    mean = np.average(rates[:, good], axis=0, weights=weights[:, good])
    assert np.isclose(ours["SCI"][good], mean, rtol=1e-5, atol=1e-4).mean() > 0.999
