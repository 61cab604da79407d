"""What plans predict: chunks, memory, and the steps as they would run."""

import pytest

from jwpipe.inputs import ExposureInput
from jwpipe.plan import mosaic_bytes, plan_request
from jwpipe.request import request_of


def plans_of(pipeline, *inputs, refs, threads=1, **options):
    request = request_of(pipeline, [str(path) for path in inputs], refs=[refs], **options)
    return plan_request(request, threads)


def test_each_pipeline_of_a_chain_has_its_plan(uncal, refs, nothing_computed):
    one, two = plans_of("detector1,image2", uncal[0], refs=refs, save=["detector1"])
    assert (one.pipeline, two.pipeline) == ("detector1", "image2")
    assert (one.products, one.tasks) == ([], 0)
    assert [name.rpartition("_")[2] for name in two.products] == [
        "rate.fits", "rateints.fits", "cal.fits", "i2d.fits",
    ]  # fmt: skip
    rows = {row.name: row for row in one.steps}
    assert rows["ipc"].reason == "reference ipc is N/A"
    assert rows["jump"].references["gain"] == "jwst_nircam_gain_nrcb1.fits"
    assert not rows["jump"].parameters


def test_parameters_that_differ_are_shown(uncal, refs):
    (plan,) = plans_of("detector1", uncal[0], refs=refs, sets=["jump.rejection_threshold=5"])
    (row,) = [row for row in plan.steps if row.parameters]
    assert (row.name, row.parameters) == ("jump", {"rejection_threshold": 5.0})


def test_more_threads_need_more_memory(uncal, refs):
    one, four = (plans_of("detector1", uncal[0], refs=refs, threads=n)[0].memory for n in (1, 4))
    assert four > one


def test_the_noise_of_interleaved_groups_counts(uncal, refs, monkeypatch):
    """What each thread holds of it, and once what they share."""
    (without,) = plans_of("detector1", uncal[0], refs=refs, threads=2)
    monkeypatch.setattr("jwpipe.plan.noise_bytes", lambda exposure, steps: (1 << 30, 1 << 28))
    (with_noise,) = plans_of("detector1", uncal[0], refs=refs, threads=2)
    assert with_noise.memory - without.memory == pytest.approx(2.25 * (1 << 30), rel=0.05)


@pytest.mark.parametrize(
    ("pipeline", "written"),
    [
        ("tweakreg", ["tweakreg.fits"] * 3),
        ("outlier_detection", ["crf.fits"] * 3),
        ("image3.resample", ["i2d.fits"]),
    ],
)
def test_steps_that_combine_are_planned_alone(products, refs, nothing_computed, pipeline, written):
    cals = sorted(products.glob("*_cal.fits"))
    (plan,) = plans_of(pipeline, *cals, refs=refs)
    assert [name.rpartition("_")[2] for name in plan.products] == written
    assert [row.name for row in plan.steps if not row.reason] == [pipeline.rpartition(".")[2]]


def test_a_catalogue_is_planned_alone(products, refs):
    (plan,) = plans_of("source_catalog", next(products.glob("*_i2d.fits")), refs=refs)
    assert [name.rpartition("_")[2] for name in plan.products] == ["cat.ecsv", "segm.fits"]
    assert "apcorr" in plan.steps[0].references


def test_one_exposure_has_no_outliers(products, refs):
    (plan,) = plans_of("image3", next(products.glob("*_cal.fits")), refs=refs)
    rows = {row.name: row.reason for row in plan.steps}
    assert "outliers need at least two" in rows["outlier_detection"]
    assert not any("crf" in name for name in plan.products)


def test_what_cannot_run_has_its_error(tmp_path, refs):
    (tmp_path / "x_uncal.fits").touch()
    (plan,) = plans_of("detector1", tmp_path / "x_uncal.fits", refs=refs)
    assert (plan.name, "the file is empty" in plan.error) == ("x", True)


def test_memory_of_a_mosaic_does_not_grow_with_exposures():
    assert mosaic_bytes(8, 2, 1 << 20) == mosaic_bytes(800, 2, 1 << 20)


def test_units_are_plain_data():
    assert ExposureInput("x", "x.fits").backgrounds == ()


def test_a_hook_that_fails_is_told(uncal, refs):
    def broken(exposure):
        raise KeyError("nowhere")

    steps = {"jump": {"pre_hooks": (broken,)}}
    request = request_of("detector1", [str(uncal[0])], refs=[refs], steps=steps)
    (plan,) = plan_request(request)
    assert "KeyError: 'nowhere'" in plan.error
    assert uncal[0].name.removesuffix("_uncal.fits") in plan.error
