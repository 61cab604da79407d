"""Words that cannot be meant: exit status 2, the nearest valid word, and nothing started."""

import pytest


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["detektor1"], "did you mean 'detector1'?"),
        (["jmp"], "did you mean 'jump'?"),
        (["image2,detector1"], "do not follow each other"),
        (["detector1,image3"], "do not follow each other"),
        (
            ["detector1", "--set", "jump.rejection_treshold=5"],
            "did you mean 'rejection_threshold'?",
        ),
        (["detector1", "--set", "jmp.rejection_threshold=5"], "did you mean 'jump'?"),
        (["detector1", "--set", "jump.rejection_threshold=much"], "rejection_threshold = 'much'"),
        (["detector1", "--set", "jump"], "expected step.parameter=value"),
        (["detector1", "--set", "flat_field.skip=true"], "no step 'flat_field' in this run"),
        (["detector1", "--set", 'jump.post_hooks=["nowhere.f"]'], "No module named 'nowhere'"),
        (["detector1", "--skip", "jmp"], "did you mean 'jump'?"),
        (["detector1", "--save", "jmp"], "did you mean 'jump'?"),
        (["detector1", "--override", "drk=N/A"], "did you mean 'dark'?"),
        (["detector1", "--override", "dark"], "expected TYPE=FILE"),
        (["detector1", "--override", "dark=nowhere.fits"], "no such file"),
        (["detector1", "--refs", "nowhere"], "no such folder"),
        (["detector1", "--params", "nowhere.toml"], "cannot be read as TOML"),
        (["detector1", "--scheduler", "thread"], "expected threads, sync, local or tcp://"),
        (["detector1", "--workers", "0"], "not in the range"),
        (["detector1", "--format", "asdf"], "is not one of 'fits', 'zarr'"),
        (["detector1", "--nonsense"], "No such option"),
    ],
)
def test_wrong_words_are_told_with_the_right_one(jw, uncal, refs, tmp_path, words, told):
    ran = jw("run", words[0], uncal[0], "--refs", refs, "-o", tmp_path / "out", *words[1:])
    assert (ran.status, told in ran.output) == (2, True), ran.output
    assert not (tmp_path / "out").exists()


def test_output_must_be_a_folder(jw, uncal, refs, tmp_path):
    (tmp_path / "out").touch()
    ran = jw("run", "detector1", uncal[0], "--refs", refs, "-o", tmp_path / "out")
    assert (ran.status, "expected a folder" in ran.output) == (2, True)


def test_output_must_be_a_path(jw, uncal):
    ran = jw("run", "detector1", uncal[0], "-o", "s3://bucket/out")
    assert (ran.status, "local or shared folders" in ran.output) == (2, True)


def test_inputs_are_needed(jw):
    assert jw("run", "detector1").status == 2


@pytest.mark.parametrize(
    "command", ["run", "plan", "refs", "steps", "asn", "show", "wcs", "adjust-wcs", "demo"]
)
def test_help_explains_every_option(jw, command):
    ran = jw(command, "--help")
    assert ran.status == 0
    options = [line.strip() for line in ran.output.partition("Options:")[2].splitlines()]
    named = [line for line in options if line.startswith("-")]
    bare = [line for line in named if len(line.split("  ", 1)) == 1]
    explained = [options[options.index(line) + 1] for line in bare]
    assert not any(line.startswith("-") for line in explained), ran.output
