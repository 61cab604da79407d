"""Requests: the words of a run, resolved before any file is opened."""

import asdf
import pytest

from jwpipe.exposure import Header
from jwpipe.params import ParameterError
from jwpipe.request import all_steps, find_step, parse_pipelines, request_of


@pytest.mark.parametrize(
    ("text", "pipelines", "single"),
    [
        ("detector1", ("detector1",), ""),
        ("calwebb_image3", ("image3",), ""),
        ("detector1,image2,image3", ("detector1", "image2", "image3"), ""),
        ("image2, calwebb_image3", ("image2", "image3"), ""),
        ("jump", ("detector1",), "jump"),
        ("resample", ("image2",), "resample"),
        ("image3.resample", ("image3",), "resample"),
        ("tweakreg", ("image3",), "tweakreg"),
    ],
)
def test_pipelines_chains_and_steps(text, pipelines, single):
    assert parse_pipelines(text) == (pipelines, single)


@pytest.mark.parametrize("pipeline", ["detector1", "dark"])
def test_steps_of_all_detectors_are_known(pipeline):
    names = [step.name for step in all_steps()[pipeline]]
    assert names[names.index("refpix") :][:3] == ["refpix", "superstripes", "linearity"]
    assert {"emicorr", "reset", "rscd"} <= set(names)
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("pipeline", "takes", "combines"),
    [
        ("detector1", ("uncal", "ramp"), False),
        ("detector1,image2,image3", ("uncal", "ramp"), True),
        ("image2", ("rate", "rateints"), False),
        ("image3", ("cal",), True),
        ("jump", ("uncal", "ramp"), False),
        ("gain_scale", ("rate", "rateints"), False),
        ("outlier_detection", ("cal",), True),
        ("source_catalog", ("i2d",), False),
    ],
)
def test_what_a_run_takes(pipeline, takes, combines):
    request = request_of(pipeline, ["x.fits"])
    assert (request.takes, request.combines) == (takes, combines)


def test_words_become_layers_in_order(tmp_path):
    (tmp_path / "a.toml").write_text("[jump]\nrejection_threshold = 5\n")
    request = request_of(
        "detector1",
        ["x.fits"],
        params=[tmp_path / "a.toml"],
        sets=["jump.rejection_threshold=6"],
        skip=["ipc"],
        overrides=["DARK=N/A"],
        refs=[tmp_path],
    )
    file, line, skipped, _ = request.settings.layers
    assert (file, line) == (
        {"jump": {"rejection_threshold": 5}},
        {"jump": {"rejection_threshold": 6}},
    )
    assert skipped == {"ipc": {"skip": True}}
    assert request.settings.overrides == {"dark": "N/A"}
    assert request.settings.refs == (tmp_path,)


def test_a_crds_file_may_hold_steps_of_other_modes(tmp_path):
    path = tmp_path / "pars-detector1pipeline.asdf"
    steps = [
        {"class": "jwst.jump.JumpStep", "name": "jump", "parameters": {"rejection_threshold": 7.0}},
        {
            "class": "jwst.straylight.StraylightStep",
            "name": "straylight",
            "parameters": {"x": 1},
        },
    ]
    head = {"class": "jwst.pipeline.Detector1Pipeline", "name": "detector1", "parameters": {}}
    asdf.AsdfFile({**head, "steps": steps}).write_to(path)
    request = request_of("detector1", ["x.fits"], params=[path])
    assert request.settings.layers[0] == {"jump": {"rejection_threshold": 7.0}}


def test_parameters_are_checked_at_once():
    with pytest.raises(ParameterError, match="did you mean 'pixfrac'"):
        request_of("detector1,image2,image3", ["x.fits"], sets=["resample.pixfrak=1"])


def test_steps_alone_are_found_or_named():
    keywords = Header({"primary": {"INSTRUME": "NIRCAM"}})
    assert find_step("jump", keywords).name == "jump"
    with pytest.raises(ParameterError, match="did you mean 'jump'"):
        find_step("jmp", keywords)


def test_steps_have_the_names_of_the_community():
    names = {name: [step.name for step in steps] for name, steps in all_steps().items()}
    assert names["image2"] == ["bkg_subtract", "assign_wcs", "flat_field", "photom", "resample"]
    assert names["image3"] == [
        "assign_mtwcs", "tweakreg", "skymatch", "outlier_detection", "resample", "source_catalog",
    ]  # fmt: skip
    assert names["detector1"][-2:] == ["ramp_fit", "gain_scale"]


def test_every_parameter_is_described():
    for steps in all_steps().values():
        for step in steps:
            for name, field in step.params.model_fields.items():
                assert field.description, f"{step.name}.{name}"
