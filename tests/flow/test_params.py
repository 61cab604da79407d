"""Parameters: where they come from, what wins, and what is refused with the nearest valid word."""

import asdf
import pytest

from jwpipe.params import (
    ParameterError,
    check_steps,
    from_file,
    from_settings,
    nearest,
    parse_setting,
    resolve,
)
from jwpipe.request import all_steps

DETECTOR1 = all_steps()["detector1"]
IMAGE2 = all_steps()["image2"]


def test_later_layers_win():
    layers = (
        {"jump": {"rejection_threshold": 5.0, "flag_4_neighbors": False}},
        {"jump": {"rejection_threshold": 6.0}},
    )
    found = resolve("detector1", DETECTOR1, layers)["jump"]
    assert (found.rejection_threshold, found.flag_4_neighbors) == (6.0, False)
    assert resolve("detector1", DETECTOR1, ())["jump"].rejection_threshold == 4.0


def test_a_step_is_told_from_its_namesake_by_its_pipeline():
    layers = ({"resample": {"pixfrac": 0.5}, "image2.resample": {"pixfrac": 0.8}},)
    assert resolve("image2", IMAGE2, layers)["resample"].pixfrac == 0.8
    steps = all_steps()["image3"]
    assert resolve("image3", steps, layers)["resample"].pixfrac == 0.5


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"rejection_treshold": 5}, "no parameter 'rejection_treshold'; did you mean 'rejection_"),
        ({"zzz": 5}, "no parameter 'zzz'; valid: "),
        ({"rejection_threshold": "much"}, "rejection_threshold = 'much'"),
        ({"flag_4_neighbors": "perhaps"}, "flag_4_neighbors = 'perhaps'"),
    ],
)
def test_what_a_step_does_not_take_is_refused(values, told):
    with pytest.raises(ParameterError, match=told):
        resolve("detector1", DETECTOR1, ({"jump": values},))


@pytest.mark.parametrize("text", ["32,24", "[32, 24]", "(32, 24)", "32, 24"])
def test_lists_need_no_brackets(text):
    layer = from_settings([f"clean_flicker_noise.background_box_size={text}"])
    found = resolve("detector1", DETECTOR1, (layer,))["clean_flicker_noise"]
    assert found.background_box_size == (32, 24)


@pytest.mark.parametrize(("value", "listed"), [("390.6", (390.6,)), ("10,390.6", (10.0, 390.6))])
def test_a_single_value_is_a_list_of_one(value, listed):
    layer = from_settings([f"emicorr.onthefly_corr_freq={value}"])
    assert resolve("detector1", DETECTOR1, (layer,))["emicorr"].onthefly_corr_freq == listed


def test_lists_of_another_length_are_refused():
    layer = from_settings(["clean_flicker_noise.background_box_size=32"])
    with pytest.raises(ParameterError, match=r"background_box_size\.1 = .*Field required"):
        resolve("detector1", DETECTOR1, (layer,))


def test_valid_names_are_given_once():
    assert nearest("zzz", ["jump", "ipc", "jump"]) == "valid: ipc, jump"


def test_options_of_a_word_are_listed_in_the_refusal():
    with pytest.raises(ParameterError, match=r"'square', 'gaussian'"):
        resolve("image2", IMAGE2, ({"resample": {"kernel": "round"}},))


def test_steps_of_other_runs_are_refused():
    with pytest.raises(ParameterError, match="no step 'jmp' in this run; did you mean 'jump'"):
        check_steps([{"jmp": {}}], ["jump", "ramp_fit"])


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("jump.rejection_threshold=5", ("jump", "rejection_threshold", 5)),
        ("jump.rejection_threshold = 5.5", ("jump", "rejection_threshold", 5.5)),
        ("jump.skip=true", ("jump", "skip", True)),
        ("jump.skip=True", ("jump", "skip", True)),
        ("image3.resample.kernel=gaussian", ("image3.resample", "kernel", "gaussian")),
        ('jump.post_hooks=["a.b"]', ("jump", "post_hooks", ["a.b"])),
        ("resample.crval=[5.0, 6.0]", ("resample", "crval", [5.0, 6.0])),
        ("resample.weight_type=None", ("resample", "weight_type", None)),
        ("dq_init.user_supplied_dq=a=b.fits", ("dq_init", "user_supplied_dq", "a=b.fits")),
    ],
)
def test_settings_of_the_command_line(text, parsed):
    assert parse_setting(text) == parsed


@pytest.mark.parametrize("text", ["jump", "jump=5", ".skip=true", "jump.=5"])
def test_settings_of_another_form_are_refused(text):
    with pytest.raises(ParameterError, match=r"expected step\.parameter=value"):
        parse_setting(text)


def test_settings_gather_in_one_layer():
    layer = from_settings(["jump.skip=true", "jump.rejection_threshold=5"])
    assert layer == {"jump": {"skip": True, "rejection_threshold": 5}}


def test_a_toml_file_is_a_layer(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[jump]\nskip = true\n[image3.resample]\npixfrac = 0.5\n")
    assert from_file(path) == {"jump": {"skip": True}, "image3.resample": {"pixfrac": 0.5}}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("skip = true", "outside of a"),
        ("[jump\n", "cannot be read as TOML"),
        (None, "No such file"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path, text, told):
    path = tmp_path / "mine.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ParameterError, match=told) as refusal:
        from_file(path)
    assert str(path) in str(refusal.value)


def test_a_crds_parameter_file_is_a_layer(tmp_path):
    path = tmp_path / "pars-jumpstep.asdf"
    parameters = {"rejection_threshold": 6.0, "skip": False}
    content = {"class": "jwst.jump.JumpStep", "name": "jump", "parameters": parameters}
    asdf.AsdfFile(content).write_to(path)
    assert from_file(path) == {"jump": parameters}
    (tmp_path / "other.asdf").write_bytes(b"no asdf")
    with pytest.raises(ParameterError, match=r"other\.asdf"):
        from_file(tmp_path / "other.asdf")


def test_nearest():
    assert nearest("jmp", ["jump", "ramp_fit"]) == "did you mean 'jump'?"
    assert nearest("zzz", ["jump", "ramp_fit"]) == "valid: jump, ramp_fit"
