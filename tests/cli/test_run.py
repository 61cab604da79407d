"""``jwpipe run``: pipelines, chains, single steps, inputs of all kinds, and what is written."""

import json

import numpy as np
import pytest

import jwpipe


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def suffixes(folder):
    return sorted(name.partition("_nrcb1_")[2] or name for name in names(folder))


def test_a_pipeline_writes_its_products(jw, uncal, refs, tmp_path, left_over):
    ran = jw("run", "calwebb_detector1", uncal[0], "--refs", refs, "-o", tmp_path / "out")
    assert ran.status == 0, ran.output
    assert suffixes(tmp_path / "out") == ["rate.fits", "rateints.fits"]
    assert "1 done, 0 failed" in ran.output
    assert not left_over(tmp_path)


def test_a_chain_leaves_no_intermediate(jw, tiny, refs, tmp_path, left_over):
    folder = tiny.folder / "uncal"
    ran = jw("run", "detector1,image2,image3", folder, "--refs", refs, "-o", tmp_path)
    assert ran.status == 0, ran.output
    assert {name.rpartition("_")[2] for name in names(tmp_path)} >= {"crf.fits", "i2d.fits"}
    assert not any("_rate" in name or "_cal" in name for name in names(tmp_path))
    assert "kept for the mosaic" in ran.output
    assert not left_over(tmp_path)


@pytest.mark.parametrize(
    ("saved", "written"),
    [
        ("detector1", {"rate.fits", "rateints.fits"}),
        ("image2", {"cal.fits", "i2d.fits"}),
        ("linearity", {"linearity.fits"}),
        ("ramp_fit", {"0_ramp_fit.fits", "1_ramp_fit.fits"}),
        ("flat_field", {"flat_field.fits"}),
    ],
)
def test_results_on_the_way_are_saved_where_asked_for(jw, uncal, refs, tmp_path, saved, written):
    words = ("run", "detector1,image2,image3", uncal[0], "--refs", refs, "-o", tmp_path)
    assert jw(*words, "--save", saved, "--skip", "source_catalog").status == 0
    assert {name for name in suffixes(tmp_path) if not name.startswith("jw")} == written


def test_a_saved_ramp_holds_what_ramps_hold(jw, uncal, refs, tmp_path):
    assert (
        jw("run", "detector1", uncal[0], "--refs", refs, "-o", tmp_path, "--save", "dq_init").status
        == 0
    )
    ramp = jwpipe.open(next(tmp_path.glob("*_dq_init.fits")))
    assert ramp["sci"].dtype == np.float32
    assert {"groupdq", "pixeldq"} <= set(ramp)


def test_a_pipeline_goes_on_where_a_saved_result_stopped(jw, uncal, refs, tmp_path):
    at_once, later = tmp_path / "at_once", tmp_path / "later"
    assert (
        jw("run", "detector1", uncal[0], "--refs", refs, "-o", at_once, "--save", "jump").status
        == 0
    )
    saved = next(at_once.glob("*_jump.fits"))
    assert jw("run", "detector1", saved, "--refs", refs, "-o", later).status == 0
    one, other = (jwpipe.open(next(path.glob("*_rate.fits"))) for path in (at_once, later))
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])
    assert other.attrs["primary"]["S_LINEAR"] == "COMPLETE"
    done = [entry["step"] for entry in other.attrs["history"] if entry["status"] == "COMPLETE"]
    assert done.count("linearity") == 1


@pytest.mark.parametrize(
    ("step", "taken", "written"),
    [
        ("jump", "uncal", ["jump.fits"]),
        ("ramp_fit", "uncal", ["rate.fits", "rateints.fits"]),
        ("flat_field", "rate", ["flat_field.fits"]),
        ("assign_wcs", "rate", ["assign_wcs.fits"]),
        ("resample", "cal", ["i2d.fits"]),
        ("tweakreg", "cal", ["o001_tweakreg.fits"]),
        ("outlier_detection", "all cal", ["o001_crf.fits"] * 3),
        ("image3.resample", "all cal", ["jw90210-o001_t001_nircam_f200w_i2d.fits"]),
    ],
)
def test_any_step_runs_alone(jw, uncal, products, refs, tmp_path, step, taken, written):
    one = {"uncal": uncal[0]}
    many = sorted(products.glob("*_cal.fits"))
    suffix = taken.rpartition(" ")[2]
    inputs = many if taken.startswith("all") else [one.get(suffix) or _first(products, suffix)]
    ran = jw("run", step, *inputs, "--refs", refs, "-o", tmp_path)
    assert ran.status == 0, ran.output
    assert suffixes(tmp_path) == written


def _first(folder, suffix):
    return sorted(folder.glob(f"*_{suffix}.fits"))[0]


def test_a_step_alone_says_that_it_does_not_apply(jw, products, refs, tmp_path):
    ran = jw("run", "gain_scale", _first(products, "rate"), "--refs", refs, "-o", tmp_path)
    assert ran.status == 0
    assert "gain_scale: neither the exposure nor its gain reference has GAINFACT" in ran.output


def test_folders_and_lists_give_the_same_exposures(jw, products, refs, tmp_path):
    rates = sorted(products.glob("*_rate.fits"))
    for output, inputs in (("folder", [products]), ("list", rates)):
        words = ("run", "image2", *inputs, "--refs", refs, "-o", tmp_path / output)
        assert jw(*words, "--skip", "resample").status == 0
    assert names(tmp_path / "folder") == names(tmp_path / "list")
    assert len(names(tmp_path / "list")) == 3


def association(folder, members, name="product", kind="image3"):
    path = folder / "asn.json"
    content = {"asn_type": kind, "asn_id": "c1001", "products": [{"name": name}]}
    content["products"][0]["members"] = [
        {"expname": file.name, "exptype": exptype} for file, exptype in members
    ]
    path.write_text(json.dumps(content))
    return path


def test_a_level_2_association_brings_its_backgrounds(jw, products, refs, copied, tmp_path):
    rates = copied(sorted(products.glob("*_rate.fits")))
    kinds = ["science", "background", "background"]
    path = association(rates[0].parent, list(zip(rates, kinds, strict=True)), "mine", "image2")
    ran = jw("run", "image2", path, "--refs", refs, "-o", tmp_path / "out")
    assert ran.status == 0, ran.output
    assert names(tmp_path / "out") == ["mine_cal.fits", "mine_i2d.fits"]
    calibrated = jwpipe.open(tmp_path / "out" / "mine_cal.fits")
    assert calibrated.attrs["primary"]["S_BKDSUB"] == "COMPLETE"
    plan = jw("plan", "image2", path, "--refs", refs)
    assert "bkg_subtract  yes" in plan.output


def test_a_level_3_association_makes_its_product(jw, products, refs, copied, tmp_path):
    cals = copied(sorted(products.glob("*_cal.fits"))[:2])
    path = association(cals[0].parent, [(cal, "science") for cal in cals])
    ran = jw("run", "image3", path, "--refs", refs, "-o", tmp_path / "out")
    assert ran.status == 0, ran.output
    assert "product_i2d.fits" in names(tmp_path / "out")
    assert sum("_c1001_crf" in name for name in names(tmp_path / "out")) == 2
    mosaic = jwpipe.open(tmp_path / "out" / "product_i2d.fits")
    assert mosaic.attrs["primary"]["ASNTABLE"] == "asn.json"


def test_a_chain_takes_raw_files_for_the_members_of_an_association(
    jw, uncal, refs, copied, tmp_path
):
    raws = copied(uncal[:2])
    cals = [raw.with_name(raw.name.replace("uncal", "cal")) for raw in raws]
    path = association(raws[0].parent, [(cal, "science") for cal in cals])
    words = ("run", "detector1,image2,image3", path, "--refs", refs, "-o", tmp_path / "out")
    ran = jw(*words, "--skip", "source_catalog")
    assert ran.status == 0, ran.output
    assert "product_i2d.fits" in names(tmp_path / "out")


def test_zarr_holds_the_same_as_fits(jw, uncal, refs, tmp_path):
    for form in ("fits", "zarr"):
        words = ("run", "detector1,image2", uncal[0], "--refs", refs, "-o", tmp_path / form)
        assert jw(*words, "--format", form, "--save", "detector1").status == 0
    assert len(names(tmp_path / "zarr")) == 4
    for path in (tmp_path / "zarr").iterdir():
        ours = jwpipe.open(path)
        other = jwpipe.open(tmp_path / "fits" / path.with_suffix(".fits").name)
        for name in other:
            np.testing.assert_array_equal(ours[name], other[name])
    again = jw("run", "image2", tmp_path / "zarr", "--refs", refs, "-o", tmp_path / "again")
    assert again.status == 0, again.output
    assert "cal.fits" in suffixes(tmp_path / "again")


def test_parameters_come_from_all_places(jw, uncal, refs, tmp_path):
    (tmp_path / "mine.toml").write_text(
        "[jump]\nrejection_threshold = 5.0\nflag_4_neighbors = false\n[image2.resample]\nskip = true\n"
    )
    words = ("run", "detector1,image2", uncal[0], "--refs", refs, "-o", tmp_path / "out")
    options = ("--params", tmp_path / "mine.toml", "--set", "jump.rejection_threshold=6")
    ran = jw(*words, *options, "--skip", "photom", "--set", "ramp_fit.maximum_cores=2")
    assert ran.status == 0, ran.output
    assert suffixes(tmp_path / "out") == ["cal.fits"]
    calibrated = jwpipe.open(next((tmp_path / "out").glob("*_cal.fits")))
    history = {entry["step"]: entry for entry in calibrated.attrs["history"]}
    assert history["jump"]["parameters"]["rejection_threshold"] == 6.0
    assert history["jump"]["parameters"]["flag_4_neighbors"] is False
    assert history["photom"]["reason"] == "skip = true"
    assert calibrated.attrs["primary"]["S_PHOTOM"] == "SKIPPED"


def test_references_are_overridden_and_disabled(jw, uncal, tiny, refs, tmp_path):
    gain = tiny.files["NRCB1"]["gain"]
    other = tmp_path / "other_gain.fits"
    other.write_bytes(gain.read_bytes())
    words = ("run", "detector1", uncal[0], "--refs", refs, "-o", tmp_path / "out")
    ran = jw(*words, "--override", f"gain={other}", "--override", "dark=N/A")
    assert ran.status == 0, ran.output
    primary = jwpipe.open(next((tmp_path / "out").glob("*_rate.fits"))).attrs["primary"]
    assert (primary["R_GAIN"], primary["S_DARK"]) == ("other_gain.fits", "SKIPPED")


@pytest.mark.parametrize(
    "hook", ["ramp_fit.pre_hooks", "ramp_fit.post_hooks", "gain_scale.post_hooks"]
)
def test_hooks_are_named_on_the_command_line(
    jw, uncal, refs, own_functions, tmp_path, monkeypatch, hook
):
    monkeypatch.syspath_prepend(own_functions)
    words = ("run", "detector1", uncal[0], "--refs", refs, "-o")
    assert jw(*words, tmp_path / "plain").status == 0
    hooked = jw(*words, tmp_path / "hooked", "--set", f'{hook}=["mine.doubled"]')
    assert hooked.status == 0, hooked.output
    for suffix in ("rate", "rateints"):
        plain, doubled = (
            jwpipe.open(next((tmp_path / each).glob(f"*_{suffix}.fits")))["sci"].values
            for each in ("plain", "hooked")
        )
        np.testing.assert_allclose(np.nanmedian(doubled / plain), 2.0, rtol=1e-3)
