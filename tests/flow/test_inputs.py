"""Inputs sorted into exposures and mosaics."""

import json

import pytest

from jwpipe.exposure import Header
from jwpipe.inputs import collect, mosaic_name
from jwpipe.request import request_of


def asked(pipeline, *inputs):
    return collect(request_of(pipeline, [str(path) for path in inputs]))


def touch(folder, *names):
    for name in names:
        (folder / name).touch()
    return [folder / name for name in names]


def test_a_folder_gives_what_the_pipeline_takes(tmp_path):
    touch(tmp_path, "a_uncal.fits", "b_uncal.fits.gz", "a_rate.fits", "a_rateints.fits", "x.txt")
    found = asked("detector1", tmp_path).exposures
    assert [unit.name for unit in found] == ["a", "b"]
    assert [unit.name for unit in asked("image2", tmp_path).exposures] == ["a"]
    assert asked("image2", tmp_path).exposures[0].path.endswith("a_rate.fits")


def test_a_folder_without_input_is_a_problem(tmp_path):
    ((name, problem),) = asked("image2", tmp_path).problems
    assert name == str(tmp_path)
    assert "expected *_rate.fits or *_rateints.fits" in problem


def test_files_of_one_name_would_overwrite_each_other(tmp_path):
    (tmp_path / "other").mkdir()
    (one,) = touch(tmp_path, "a_rate.fits")
    (other,) = touch(tmp_path / "other", "a_rate.fits")
    work = asked("image2", one, one, other)
    assert [unit.path for unit in work.exposures] == [str(one)]
    ((name, problem),) = work.problems
    assert name == str(other)
    assert f"the same exposure as {one}" in problem


def test_integrations_and_their_average_are_two_inputs(tmp_path):
    paths = touch(tmp_path, "a_rate.fits", "a_rateints.fits")
    assert len(asked("image2", *paths).exposures) == 2


def test_loose_files_make_a_mosaic_for_each_filter(products, edited, tmp_path):
    cals = sorted(products.glob("*_cal.fits"))

    def red(hdus):
        hdus[0].header["FILTER"] = "F356W"

    other = edited(cals[2], red)
    one, two = asked("image3", *cals[:2], other).mosaics
    assert one.members == tuple(map(str, cals[:2]))
    assert (one.name, one.asn_id) == ("jw90210-o001_t001_nircam_f200w", "o001")
    assert (two.name, two.members) == ("jw90210-o001_t001_nircam_f356w", (str(other),))


@pytest.mark.parametrize(
    ("keywords", "name"),
    [
        ({"PROGRAM": "1345", "OBSERVTN": "2", "INSTRUME": "NIRCAM", "FILTER": "F115W"},
         ("jw01345-o002_t001_nircam_f115w", "o002")),
        ({"PROGRAM": "01345", "OBSERVTN": "002", "INSTRUME": "NIRCAM", "FILTER": "F322W2",
          "PUPIL": "F323N"}, ("jw01345-o002_t001_nircam_f322w2-f323n", "o002")),
        ({}, ("jw00000-a3001_t001_jwst_clear", "a3001")),
    ],
)  # fmt: skip
def test_mosaics_are_named_as_the_archive_names_them(keywords, name):
    assert mosaic_name([Header({"primary": keywords})]) == name


def test_exposures_of_several_observations_share_an_id():
    headers = [Header({"primary": {"PROGRAM": "1", "OBSERVTN": n}}) for n in ("001", "002")]
    assert mosaic_name(headers)[1] == "a3001"


def association(folder, kind, *products):
    path = folder / "asn.json"
    content = [
        {"name": name, "members": [{"expname": m, "exptype": t} for m, t in members]}
        for name, members in products
    ]
    path.write_text(json.dumps({"asn_type": kind, "asn_id": "c1", "products": content}))
    return path


def test_level_2_products_keep_their_names_and_backgrounds(tmp_path):
    touch(tmp_path, "a_rate.fits", "b_rate.fits")
    members = [("a_rate.fits", "science"), ("b_rate.fits", "background")]
    path = association(tmp_path, "image2", ("mine", members))
    (unit,) = asked("image2", path).exposures
    assert (unit.name, unit.path) == ("mine", str(tmp_path / "a_rate.fits"))
    assert unit.backgrounds == (str(tmp_path / "b_rate.fits"),)


def test_level_3_products_are_mosaics(tmp_path):
    touch(tmp_path, "a_cal.fits", "b_cal.fits", "b_cat.ecsv")
    members = [("a_cal.fits", "science"), ("b_cal.fits", "science")]
    path = association(tmp_path, "image3", ("one", members), ("two", members[:1]))
    work = asked("image3", path)
    assert [unit.name for unit in work.exposures] == ["a", "b"]
    assert [(mosaic.name, len(mosaic.members)) for mosaic in work.mosaics] == [
        ("one", 2),
        ("two", 1),
    ]
    assert work.mosaics[0].association == "asn.json"


def test_one_bad_input_does_not_hide_the_others(tmp_path):
    (good,) = touch(tmp_path, "a_uncal.fits")
    work = asked("detector1", tmp_path / "none.json", tmp_path / "nowhere", good)
    assert sorted(unit.name for unit in work.exposures) == ["a", "nowhere"]
    assert [name for name, _ in work.problems] == [str(tmp_path / "none.json")]
