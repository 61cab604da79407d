"""Runs from Python: outcomes, what is kept between pipelines, and what ends a run."""

import numpy as np
import pytest

import jwpipe
from jwpipe import runner
from jwpipe.build import build
from jwpipe.cluster import Executor, SchedulerError
from jwpipe.exposure import ExposureError
from jwpipe.inputs import ExposureInput
from jwpipe.params import ParameterError
from jwpipe.request import request_of
from jwpipe.runner import Outcome, Silent, message_of, run_request

NO_CATALOG = {"source_catalog": {"skip": True}}
CHAIN = "detector1,image2,image3"


class Watched(Silent):
    """Remembers what it is told."""

    def __init__(self):
        self.told = []

    def start(self, label):
        self.told.append(label)

    def phase(self, name):
        self.told.append(name)

    def finish(self, error=""):
        self.told.append(error or "done")

    def note(self, text):
        self.told.append(text)


def test_outcomes_tell_what_became_of_each_exposure(uncal, refs, tmp_path):
    bad = tmp_path / "bad_uncal.fits"
    bad.touch()
    watcher = Watched()
    good, refused = sorted(
        jwpipe.run("detector1", [bad, uncal[0]], tmp_path / "out", refs=refs, watcher=watcher),
        key=lambda outcome: outcome.error,
    )
    assert [path.name.rpartition("_")[2] for path in good.written] == ["rate.fits", "rateints.fits"]
    assert good.seconds > 0
    assert (refused.name, refused.written) == ("bad", ())
    assert "the file is empty" in refused.error
    assert watcher.told[-1] == "done"


def test_a_single_path_is_enough(uncal, refs, tmp_path):
    steps = {"ramp_fit": {"skip": True}}
    (outcome,) = jwpipe.run("detector1", uncal[0], tmp_path, refs=refs, steps=steps)
    assert [path.name for path in outcome.written] == [uncal[0].name.replace("uncal", "ramp")]


def test_wrong_words_are_exceptions(uncal, tmp_path):
    with pytest.raises(ParameterError, match="did you mean 'detector1'"):
        jwpipe.run("detektor1", uncal, tmp_path)


def test_phases_of_a_mosaic_are_told(tiny, refs, tmp_path):
    watcher = Watched()
    steps = NO_CATALOG | {"skymatch": {"skip": True}}
    outcomes = jwpipe.run(
        CHAIN, tiny.folder / "uncal", tmp_path, refs=refs, steps=steps, watcher=watcher
    )
    assert [outcome.stage for outcome in outcomes] == ["detector1,image2"] * 3 + ["image3"]
    places = [watcher.told.index(name) for name in ("tweakreg", "outlier_detection", "resample")]
    assert places == sorted(places)


def test_intermediates_beyond_memory_go_to_a_folder_that_vanishes(
    tiny, refs, products, tmp_path, monkeypatch
):
    monkeypatch.setattr(runner, "MEMORY_FOR_INTERMEDIATES", 0)
    jwpipe.run(CHAIN, tiny.folder / "uncal", tmp_path, refs=refs, steps=NO_CATALOG)
    names = {path.name for path in tmp_path.iterdir()}
    assert not any(name.startswith(".") for name in names)
    assert len(names) == 4
    mosaic = jwpipe.open(next(tmp_path.glob("*_i2d.fits")))
    cals = sorted(products.glob("*_cal.fits"))
    (other,) = jwpipe.run("image3", cals, tmp_path / "other", refs=refs, steps=NO_CATALOG)
    np.testing.assert_array_equal(mosaic["sci"], jwpipe.open(other.written[-1])["sci"])


def test_exposures_of_a_mosaic_that_lacks_references_are_not_begun(tiny, refs, tmp_path):
    watcher = Watched()
    (outcome,) = jwpipe.run(
        CHAIN,
        tiny.folder / "uncal",
        tmp_path / "out",
        refs=refs,
        overrides={"apcorr": tiny.files["NRCB1"]["gain"]},
        watcher=watcher,
    )
    assert "REFTYPE is 'GAIN', expected APCORR" in outcome.error
    assert watcher.told == [outcome.error]
    assert not (tmp_path / "out").exists()


def test_building_computes_nothing(uncal, refs, nothing_computed):
    request = request_of("detector1,image2", [str(uncal[0])], refs=[refs], save=["detector1"])
    built = build(request, ExposureInput("x", str(uncal[0])))
    assert [each.attrs["product"] for each in built.written] == ["rate", "rateints", "cal", "i2d"]
    assert built.result is built.written[2]


class Gone(Executor):
    """An executor whose scheduler is gone."""

    def compute(self, values, progress=None):
        raise SchedulerError("the scheduler does not answer any more")


def test_a_lost_scheduler_ends_the_run_and_leaves_nothing(uncal, refs, tmp_path):
    request = request_of(
        "detector1", [str(path) for path in uncal], refs=[refs], output=tmp_path / "out"
    )
    with pytest.raises(SchedulerError):
        run_request(request, Gone(1), Silent())
    assert list((tmp_path / "out").iterdir()) == []


def test_messages_name_what_they_befell():
    assert message_of(ExposureError("x: bad"), "x", "detector1") == "x: bad"
    assert message_of(ExposureError("bad"), "x", "detector1") == "x: detector1: bad"
    assert message_of(KeyError("k"), "x", "detector1") == "x: detector1: KeyError: 'k'"
    killed = type("KilledWorker", (Exception,), {})("task")
    assert "give workers more memory" in message_of(killed, "x", "detector1")


def test_an_outcome_is_plain_data():
    assert Outcome("x", "detector1").written == ()


def test_a_step_switched_on_that_cannot_run_is_told(uncal, refs, tmp_path):
    steps = {"clean_flicker_noise": {"skip": False, "fit_method": "fft"}}
    watcher = Watched()
    (outcome,) = jwpipe.run(
        "detector1", uncal[0], tmp_path, refs=refs, steps=steps, watcher=watcher
    )
    assert not outcome.error
    (note,) = (text for text in watcher.told if "clean_flicker_noise" in text)
    assert "fit_method fft is for spectra of NIRSpec" in note
    assert not any("gain_scale" in text or "jump:" in text for text in watcher.told)


def test_products_of_two_exposures_never_share_a_name(uncal, refs, tmp_path):
    steps = {"ramp_fit": {"int_name": "mine"}}
    first, second = jwpipe.run(
        "detector1", uncal[:2], tmp_path, refs=refs, steps=steps, watcher=Silent()
    )
    assert [path.name for path in first.written][-1] == "mine_rateints.fits"
    assert not second.written
    assert f"mine_rateints.fits is a product of {first.name} already" in second.error
