"""A run that goes on where an earlier one was stopped."""

import os
from pathlib import Path

import pytest

import jwpipe
from jwpipe.runner import Silent

OPTIONS = {"steps": {"jump": {"rejection_threshold": 5.0}}}


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in sorted(folder.glob("*.fits"))}


@pytest.fixture
def raw(uncal, tmp_path) -> Path:
    """A raw file of our own, an hour old."""
    path = tmp_path / uncal[0].name
    path.write_bytes(uncal[0].read_bytes())
    made = path.stat().st_mtime - 3600
    os.utime(path, (made, made))
    return path


@pytest.fixture
def again(raw, refs, tmp_path):
    """Run stage 1 once more; what was written."""
    out = tmp_path / "out"

    def run(**options):
        (outcome,) = jwpipe.run(
            "detector1", raw, out, refs=refs, resume=True, watcher=Silent(), **options
        )
        assert not outcome.error
        assert outcome.written or outcome.unwritten == "made before"
        return [path.name.rpartition("_")[2] for path in outcome.written]

    assert run(**OPTIONS) == ["rate.fits", "rateints.fits"]
    return run


def test_what_is_made_is_left(again, tmp_path):
    before = times(tmp_path / "out")
    assert again(**OPTIONS) == []
    assert times(tmp_path / "out") == before


def test_a_missing_product_is_made(again, raw, tmp_path):
    (tmp_path / "out" / raw.name.replace("uncal", "rateints")).unlink()
    assert again(**OPTIONS) == ["rate.fits", "rateints.fits"]


def test_other_parameters_make_it_anew(again):
    assert again() == ["rate.fits", "rateints.fits"]


def test_another_reference_makes_it_anew(again, refs, tmp_path):
    (source,) = refs.glob("*gain*")
    other = tmp_path / source.name
    other.write_bytes(source.read_bytes())
    assert again(**OPTIONS, overrides={"gain": str(other)}) == ["rate.fits", "rateints.fits"]


def test_a_newer_ramp_makes_it_anew(again, raw):
    later = raw.stat().st_mtime + 7200
    os.utime(raw, (later, later))
    assert again(**OPTIONS) == ["rate.fits", "rateints.fits"]


def test_without_asking_all_is_made(again, raw, refs, tmp_path):
    (outcome,) = jwpipe.run("detector1", raw, tmp_path / "out", refs=refs, **OPTIONS)
    assert len(outcome.written) == 2


def test_mosaics_take_what_is_made(uncal, refs, tmp_path):
    options = {
        "refs": refs,
        "save": ["image2"],
        "steps": {"source_catalog": {"skip": True}},
        "resume": True,
    }
    chain = "detector1,image2,image3"
    first = jwpipe.run(chain, uncal, tmp_path, **options)
    assert not any(outcome.error for outcome in first)
    again = jwpipe.run(chain, uncal, tmp_path, **options)
    assert [bool(outcome.written) for outcome in again] == [False] * len(uncal) + [True]
    assert again[-1].written == first[-1].written
