"""``plan``, ``refs``, ``steps``, ``asn`` and ``show``."""

import json

import dask
import pytest
from astropy.io import fits
from dask.callbacks import Callback

import jwpipe
from jwpipe.cluster import Executor
from jwpipe.io.fitsarray import FitsArray
from jwpipe.plan import plan_request
from jwpipe.refs.array import RefArray
from jwpipe.request import request_of
from jwpipe.runner import Silent, run_request


@pytest.fixture
def no_pixels(monkeypatch, nothing_computed):
    """Whoever reads a pixel of an exposure or a reference fails."""

    def refuse(*_):
        raise AssertionError("a pixel was read")

    monkeypatch.setattr(FitsArray, "__getitem__", refuse)
    monkeypatch.setattr(RefArray, "read", refuse)


def test_a_plan_tells_all_and_computes_nothing(jw, tiny, refs, tmp_path, no_pixels):
    folder = tiny.folder / "uncal"
    words = ("detector1,image2,image3", folder, "--refs", refs, "-o", tmp_path / "out")
    ran = jw("plan", *words, "--skip", "jump", "--set", "linearity.save_results=true")
    assert ran.status == 0, ran.output
    for told in (
        "saturation: jwst_nircam_saturation_nrcb1.fits",
        "skip = true",
        "reference ipc is N/A",
        "1 integration x 5 group x 64 y x 64 x in 1 blocks",
        "predicted peak per worker",
        "jw90210-o001_t001_nircam_f200w_i2d.fits",
        "jw90210001001_02101_00002_nrcb1_o001_crf.fits",
        "jw90210001001_02101_00001_nrcb1_linearity.fits",
        "apcorr: jwst_nircam_apcorr",
    ):
        assert told in ran.output, told
    assert not (tmp_path / "out").exists()


def test_a_plan_names_what_the_run_writes(jw, tiny, refs, tmp_path):
    words = ("detector1,image2,image3", tiny.folder / "uncal", "--refs", refs, "-o", tmp_path)
    options = ("--save", "detector1", "--save", "tweakreg", "--format", "zarr")
    options += ("--set", "source_catalog.npixels=4")
    plan = jw("plan", *words, *options).output
    planned = {line.split()[1] for line in plan.splitlines() if line.strip().startswith("writes ")}
    assert jw("run", *words, *options).status == 0
    assert {path.name for path in tmp_path.iterdir()} == planned


class _Counted(Callback):
    def __init__(self):
        super().__init__()
        self.done = 0

    def _posttask(self, *_):
        self.done += 1


def test_planned_tasks_and_memory_are_those_of_the_run(uncal, refs, tmp_path):
    request = request_of("detector1,image2", [str(uncal[0])], output=tmp_path, refs=[refs])
    plans = plan_request(request)
    with dask.config.set(scheduler="sync"), _Counted() as counted:
        (outcome,) = run_request(request, Executor(1), Silent())
    assert not outcome.error
    assert counted.done == pytest.approx(plans[-1].tasks, rel=0.5)
    assert plans[0].memory == pytest.approx(Executor(1).peak_memory(), rel=0.5)


def test_a_plan_tells_what_cannot_run(jw, uncal, tmp_path):
    (tmp_path / "empty_uncal.fits").touch()
    ran = jw("plan", "detector1", tmp_path / "empty_uncal.fits", uncal[0])
    assert ran.status == 1
    assert "the file is empty" in ran.output
    assert "references are missing" in ran.output


def test_references_are_listed_with_their_origin(jw, uncal, refs):
    ran = jw("refs", uncal[0], "--refs", refs, "--override", "linearity=N/A")
    assert ran.status == 0
    lines = {line.split()[0]: line.split()[1:] for line in ran.output.splitlines() if line.strip()}
    assert lines["flat"] == ["jwst_nircam_flat_nrcb1.fits", "folder", str(refs)]
    assert lines["linearity"] == ["N/A", "N/A"]
    assert "apcorr" in lines


def test_references_are_those_of_the_steps_ahead(jw, products, refs):
    ran = jw("refs", next(products.glob("*_rate.fits")), "--refs", refs)
    assert "superbias" not in ran.output
    assert "flat" in ran.output


def test_references_of_stage_1_are_listed_where_stage_2_takes_no_such_exposure(
    jw, uncal, refs, tmp_path
):
    path = tmp_path / "grism_uncal.fits"
    with fits.open(uncal[0]) as hdus:
        hdus[0].header["EXP_TYPE"] = "NRC_WFSS"
        hdus.writeto(path)
    told = jw("refs", path, "--refs", refs, "--override", "dark=N/A")
    assert "NRC_WFSS is not an image" in told.output
    assert "jwst_nircam_linearity_nrcb1.fits" in told.output


def test_missing_references_are_listed_together(jw, uncal, tmp_path):
    ran = jw("refs", uncal[0], "--refs", tmp_path)
    assert ran.status == 1
    for kind in ("mask", "gain", "readnoise", "flat", "distortion", "photom"):
        assert f"  {kind}: INSTRUME=NIRCAM" in ran.output
    assert "--override" in ran.output


def test_an_association_that_cannot_be_read_is_told(jw, tmp_path):
    ran = jw("refs", tmp_path / "none.json")
    assert (ran.status, "cannot be read" in ran.output) == (1, True)


@pytest.mark.parametrize("name", ["jump", "calwebb_image2", "image3"])
def test_steps_lists_parameters(jw, name):
    ran = jw("steps", name)
    assert ran.status == 0
    assert "save_results" in ran.output


def test_steps_lists_pipelines_and_options(jw):
    assert (
        "tweakreg > skymatch > outlier_detection > resample > source_catalog" in jw("steps").output
    )
    assert "one of square, gaussian, point, turbo" in jw("steps", "resample").output
    ran = jw("steps", "jmp")
    assert (ran.status, "did you mean 'jump'?" in ran.output) == (2, True)


def test_associations_are_made_and_used(jw, products, refs, copied, tmp_path):
    cals = copied(sorted(products.glob("*_cal.fits")))
    path = cals[0].parent / "asn.json"
    ran = jw("asn", *cals, "-o", path)
    assert ran.status == 0, ran.output
    (product,) = json.loads(path.read_text())["products"]
    assert product["name"] == "jw90210-o001_t001_nircam_f200w"
    assert [member["expname"] for member in product["members"]] == [cal.name for cal in cals]
    plan = jw("plan", "image3", path, "--refs", refs)
    assert "jw90210-o001_t001_nircam_f200w_i2d.fits" in plan.output
    rule = jw("asn", *cals, "-o", path, "--rule", "image2")
    assert (rule.status, len(json.loads(path.read_text())["products"])) == (0, 3)


@pytest.mark.parametrize("missing", ["nowhere_cal.fits", ""])
def test_associations_need_readable_members_below_them(jw, products, tmp_path, missing):
    member = missing or next(products.glob("*_cal.fits"))
    ran = jw("asn", member, "-o", tmp_path / "asn.json")
    assert ran.status == 1
    assert ("no such file" if missing else "does not lie in the association's folder") in ran.output
    assert not (tmp_path / "asn.json").exists()


def test_show_draws_a_picture(jw, uncal, tmp_path):
    ran = jw("show", uncal[0], "-o", tmp_path / "look.png")
    assert ran.status == 0
    assert (tmp_path / "look.png").read_bytes().startswith(b"\x89PNG")
    assert jw("show", tmp_path / "none.fits").status == 1


def test_opening_reads_no_pixels(uncal, no_pixels):
    assert jwpipe.open(uncal[0])["sci"].dtype == "uint16"
