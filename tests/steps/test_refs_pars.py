"""Parameter files of CRDS: read, and found for an exposure."""

from pathlib import Path
from typing import Any

import pytest
from refs_files import exposure, write_asdf

from jwpipe.refs import ReferenceRefused
from jwpipe.refs.pars import STEP_CLASSES, find_pars, pars_files, read_pars


def meta(kind: str, **instrument: str) -> dict[str, Any]:
    return {
        "reftype": kind,
        "telescope": "JWST",
        "useafter": "2020-01-01T00:00:00",
        "instrument": {"name": "NIRCAM", **instrument},
    }


def step(folder: Path, name: str, kind: str, values: dict[str, Any], **instrument: str) -> Path:
    class_name = STEP_CLASSES[kind]
    return write_asdf(
        folder / name,
        meta(f"pars-{class_name.lower()}", **instrument),
        **{"class": f"jwst.{kind}.{class_name}", "name": kind, "parameters": values},
    )


@pytest.fixture
def pipeline(tmp_path: Path) -> Path:
    steps = [
        {
            "class": "jwst.jump.jump_step.JumpStep",
            "name": "jump",
            "parameters": {"rejection_threshold": 5.0, "pre_hooks": [], "output_dir": None},
        },
        {
            "class": "jwst.dark_current.DarkCurrentStep",
            "name": "dark_current",
            "parameters": {"skip": True, "average_dark_current": "None"},
        },
        {"class": "jwst.step.IPCStep", "name": "ipc", "parameters": {"suffix": None}},
    ]
    return write_asdf(
        tmp_path / "pipeline.asdf",
        meta("pars-detector1pipeline"),
        **{
            "class": "jwst.pipeline.Detector1Pipeline",
            "name": "Detector1Pipeline",
            "parameters": {"save_calibrated_ramp": True, "output_ext": ".fits"},
            "steps": steps,
        },
    )


def test_a_pipeline_file_gives_its_steps_by_our_names(pipeline: Path) -> None:
    assert read_pars(pipeline) == {
        "detector1": {"save_calibrated_ramp": True},
        "jump": {"rejection_threshold": 5.0},
        "dark_current": {"skip": True, "average_dark_current": None},
    }


def test_a_step_file_keeps_parameters_nobody_knows(tmp_path: Path) -> None:
    path = step(tmp_path, "t.asdf", "tweakreg", {"searchrad": 1.0, "of_the_future": 2})
    assert read_pars(path) == {"tweakreg": {"searchrad": 1.0, "of_the_future": 2}}


def test_the_oldest_files_have_their_class_among_the_parameters(tmp_path: Path) -> None:
    values = {"class": "jwst.background.BackgroundStep", "sigma": 2.5}
    path = write_asdf(tmp_path / "old.asdf", meta("pars-backgroundstep"), parameters=values)
    assert read_pars(path) == {"bkg_subtract": {"sigma": 2.5}}


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = write_asdf(tmp_path / "gain.asdf", meta("gain"), data=1)
    with pytest.raises(ReferenceRefused, match="not a parameter file"):
        read_pars(path)
    with pytest.raises(ReferenceRefused, match="not a readable ASDF file"):
        read_pars(tmp_path / "gone.asdf")


def test_files_are_found_by_class_and_mode_the_pipeline_last(
    tmp_path: Path, pipeline: Path
) -> None:
    assert pipeline.parent == tmp_path
    step(tmp_path, "other.asdf", "jump", {"rejection_threshold": 7.0}, filter="F444W")
    own = step(tmp_path, "own.asdf", "jump", {"rejection_threshold": 4.5}, filter="F200W")
    steps = ["dq_init", "jump", "a_users_own"]
    files = pars_files("detector1", steps, exposure(), folders=[tmp_path], crds=False)
    assert [file.path for file in files] == [str(own), str(pipeline)]
    layers = find_pars("detector1", steps, exposure(), folders=[tmp_path], crds=False)
    assert layers == [
        {"jump": {"rejection_threshold": 4.5}},
        {"jump": {"rejection_threshold": 5.0}},
    ]


def test_time_series_have_files_of_their_own(tmp_path: Path) -> None:
    for name, tso in (("tso", True), ("imaging", False)):
        tree = {"class": "jwst.pipeline.Image2Pipeline", "parameters": {}, "steps": []}
        head = meta("pars-image2pipeline") | {"visit": {"tsovisit": tso}}
        write_asdf(tmp_path / f"{name}.asdf", head, **tree)
    for changes, name in (({"TSOVISIT": True}, "tso.asdf"), ({}, "imaging.asdf")):
        (file,) = pars_files("image2", [], exposure(**changes), folders=[tmp_path], crds=False)
        assert file.name == name


def test_without_parameter_files_there_are_no_layers(tmp_path: Path) -> None:
    assert find_pars("image3", ["resample"], exposure(), folders=[tmp_path], crds=False) == []
