"""Which reference an exposure gets: overrides, folders by the rules of CRDS, and what is said where none fits."""

import json
import pickle
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from refs_files import CORNER, exposure, image, write, write_asdf

from jwpipe.exposure import ExposureError
from jwpipe.refs import MissingReferences, ReferenceRefused, References, select

FRAME = image(np.ones((24, 32), np.float32))


@pytest.fixture(autouse=True)
def without_crds(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CRDS_PATH", "CRDS_SERVER_URL", "CRDS_CONTEXT"):
        monkeypatch.delenv(name, raising=False)


def add(folder: Path, name: str, reftype: str, **keywords: Any) -> None:
    write(folder / f"{name}.fits", reftype, FRAME, **(CORNER | keywords))


def chosen(folder: Path, kind: str, **changes: Any) -> str | None:
    file = select(exposure(**changes), [kind], folders=[folder], optional={kind})[kind]
    return None if file is None else Path(file.path).stem


def test_only_the_selection_keywords_of_the_type_are_compared(tmp_path: Path) -> None:
    add(tmp_path, "gain", "GAIN", FILTER="F444W", READPATT="RAPID", EXP_TYPE="NRC_DARK")
    assert chosen(tmp_path, "gain") == "gain"


@pytest.mark.parametrize(
    ("keywords", "matches"),
    [
        ({"FILTER": "F200W"}, True),
        ({"FILTER": "f200w "}, True),
        ({"FILTER": "F444W"}, False),
        ({"FILTER": "ANY"}, True),
        ({"FILTER": "N/A"}, True),
        ({"FILTER": "GENERIC"}, True),
        ({}, True),
        ({"FILTER": "F444W|F200W|"}, True),
        ({"FILTER": "F200*"}, True),
        ({"FILTER": "F444W", "P_FILTER": "F070W | F200W |"}, True),
        ({"FILTER": "F200W", "P_FILTER": "F070W|F444W|"}, False),
        ({"FILTER": "F200W", "DETECTOR": "NRCA1"}, False),
        ({"FILTER": "F200W", "INSTRUME": "NIRISS"}, False),
    ],
)
def test_values_wildcards_and_patterns(
    tmp_path: Path, keywords: dict[str, str], matches: bool
) -> None:
    add(tmp_path, "flat", "FLAT", **keywords)
    assert (chosen(tmp_path, "flat") is not None) == matches


def test_a_keyword_that_the_exposure_lacks_matches_only_wildcards(tmp_path: Path) -> None:
    add(tmp_path, "a", "FLAT", PUPIL="CLEAR")
    assert chosen(tmp_path, "flat", PUPIL=None) is None
    add(tmp_path, "b", "FLAT", PUPIL="ANY")
    assert chosen(tmp_path, "flat", PUPIL=None) == "b"


def test_the_specific_reference_beats_the_wildcard_even_if_older(tmp_path: Path) -> None:
    add(tmp_path, "a_general", "FLAT", FILTER="ANY", USEAFTER="2023-01-01T00:00:00")
    add(tmp_path, "specific", "FLAT", FILTER="F200W", USEAFTER="2016-01-01T00:00:00")
    add(tmp_path, "z_general", "FLAT", USEAFTER="2023-06-01T00:00:00")
    assert chosen(tmp_path, "flat") == "specific"
    assert chosen(tmp_path, "flat", FILTER="F070W") == "z_general"


def test_the_latest_useafter_that_is_not_after_the_observation(tmp_path: Path) -> None:
    add(tmp_path, "old", "GAIN", USEAFTER="2015-01-01T00:00:00")
    add(tmp_path, "same", "GAIN", USEAFTER="2024-05-06T07:08:09")
    add(tmp_path, "future", "GAIN", USEAFTER="2024-05-06T07:08:10")
    assert chosen(tmp_path, "gain") == "same"
    assert chosen(tmp_path, "gain", TIME_OBS="07:08:08.999") == "old"
    assert chosen(tmp_path, "gain", DATE_OBS="2014-12-31") is None
    assert chosen(tmp_path, "gain", DATE_OBS=None) == "future"


def test_a_specific_reference_from_the_future_leaves_the_wildcard(tmp_path: Path) -> None:
    add(tmp_path, "future", "FLAT", FILTER="F200W", USEAFTER="2025-01-01T00:00:00")
    add(tmp_path, "general", "FLAT", FILTER="ANY", USEAFTER="2015-01-01T00:00:00")
    assert chosen(tmp_path, "flat") == "general"


def test_nonsense_dates_of_the_exposure_are_an_error(tmp_path: Path) -> None:
    add(tmp_path, "gain", "GAIN")
    with pytest.raises(ExposureError, match="DATE-OBS='yesterday'"):
        chosen(tmp_path, "gain", DATE_OBS="yesterday")


def test_equal_references_are_reported(tmp_path: Path) -> None:
    add(tmp_path, "a", "GAIN")
    add(tmp_path, "b", "GAIN")
    with pytest.warns(UserWarning, match=r"a\.fits and .*b\.fits are both gain references"):
        assert chosen(tmp_path, "gain") == "b"


@pytest.mark.parametrize("kind", ["gain", "saturation"])
def test_the_reference_of_the_subarray_is_preferred_to_the_full_frame(
    tmp_path: Path, kind: str
) -> None:
    full = image(np.full((2048, 2048), 2, np.float32))
    write(tmp_path / "full.fits", kind, full, SUBARRAY="FULL", USEAFTER="2023-01-01T00:00:00")
    assert chosen(tmp_path, kind) == "full"
    add(tmp_path, "another", kind, SUBARRAY="SUB64P")
    assert chosen(tmp_path, kind) == "full"
    add(tmp_path, "own", kind, SUBARRAY="SUB8", USEAFTER="2016-01-01T00:00:00")
    assert chosen(tmp_path, kind) == "own"
    file = select(exposure(), [kind], folders=[tmp_path])[kind]
    assert file is not None
    array = file.array("sci")
    assert array is not None
    assert array.shape == (6, 8)


def test_a_full_frame_dark_is_not_for_subarrays(tmp_path: Path) -> None:
    dark = image(np.ones((3, 6, 8), np.float32))
    write(tmp_path / "full.fits", "DARK", dark, SUBARRAY="FULL")
    assert chosen(tmp_path, "dark") is None
    write(tmp_path / "own.fits", "DARK", dark, SUBARRAY="SUB8")
    assert chosen(tmp_path, "dark") == "own"


def test_asdf_json_and_subfolders_are_searched_and_other_files_left_alone(tmp_path: Path) -> None:
    below = tmp_path / "nircam"
    below.mkdir()
    meta = {
        "reftype": "ABVEGA_OFFSET",
        "instrument": {"name": "nircam"},
        "useafter": "2015-01-01",
        "exposure": {"type": "N/A", "p_exptype": "NRC_IMAGE|NRC_WFSS|"},
    }
    write_asdf(below / "vega.asdf", meta)
    head = {"REFTYPE": "EXTRACT1D", "INSTRUME": "NIRCAM", "EXP_TYPE": "NRC_IMAGE"}
    (below / "extract.json").write_text(json.dumps(head))
    (tmp_path / "manifest.json").write_text('{"gain": "no reference"}')
    (tmp_path / "list.json").write_text("[1, 2]")
    (tmp_path / "notes.txt").write_text("nothing")
    assert chosen(tmp_path, "abvegaoffset") == "vega"
    assert chosen(tmp_path, "extract1d") == "extract"
    assert chosen(tmp_path, "abvegaoffset", EXP_TYPE="NRC_TACQ") is None


def test_an_unreadable_file_in_a_folder_is_left_out_with_a_warning(tmp_path: Path) -> None:
    add(tmp_path, "gain", "GAIN")
    (tmp_path / "broken.fits").write_bytes(b"not FITS")
    with pytest.warns(UserWarning, match=r"broken\.fits"):
        assert chosen(tmp_path, "gain") == "gain"


def test_files_added_to_a_folder_are_seen(tmp_path: Path) -> None:
    assert chosen(tmp_path, "gain") is None
    add(tmp_path, "gain", "GAIN")
    assert chosen(tmp_path, "gain") == "gain"


def test_overrides_go_before_folders_and_the_first_folder_before_the_second(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for each in (first, second):
        each.mkdir()
        add(each, f"gain_{each.name}", "GAIN")
        add(each, f"flat_{each.name}", "FLAT")
    add(second, "readnoise_second", "READNOISE")
    own = write(tmp_path / "own.fits", "GAIN", FRAME, **CORNER)
    found = select(
        exposure(),
        ["gain", "flat", "readnoise", "area", "mask"],
        overrides={"gain": own, "mask": "N/A"},
        folders=[first, second],
    )
    names = {kind: file.name if file else None for kind, file in found.items()}
    assert names == {
        "gain": "own.fits",
        "flat": "flat_first.fits",
        "readnoise": "readnoise_second.fits",
        "area": None,
        "mask": None,
    }
    assert found.sources == {
        "gain": "override",
        "flat": f"folder {first}",
        "readnoise": f"folder {second}",
        "area": "N/A",
        "mask": "N/A",
    }


def test_all_that_is_missing_is_told_at_once(tmp_path: Path) -> None:
    add(tmp_path, "gain", "GAIN", DETECTOR="NRCA1", SUBARRAY="SUB64P")
    with pytest.raises(MissingReferences) as error:
        select(exposure(), ["gain", "dark", "area"], folders=[tmp_path])
    assert str(error.value).splitlines() == [
        "exposure_uncal.fits: 2 references are missing",
        "  gain: INSTRUME=NIRCAM DETECTOR=NRCB1 SUBARRAY=SUB8 USEAFTER<=2024-05-06",
        f"    {tmp_path}: 1 of this type; gain.fits is for DETECTOR=NRCA1 SUBARRAY=SUB64P",
        "  dark: INSTRUME=NIRCAM DETECTOR=NRCB1 EXP_TYPE=NRC_IMAGE NOUTPUTS=4 SUBARRAY=SUB8 "
        "USEAFTER<=2024-05-06",
        f"    {tmp_path}: 0 of this type",
        "  CRDS was not asked: CRDS_PATH and CRDS_SERVER_URL are not set",
        "give each with --override gain=FILE (N/A to do without), a folder of references with "
        "--refs DIR, or CRDS with CRDS_PATH and CRDS_SERVER_URL",
    ]


def test_without_crds_settings_nothing_is_asked_and_nothing_imported(tmp_path: Path) -> None:
    started = time.perf_counter()
    with pytest.raises(MissingReferences):
        select(exposure(), ["gain"])
    assert time.perf_counter() - started < 0.2


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"reftype": "DARK"}, "REFTYPE is 'DARK', expected GAIN"),
        ({"INSTRUME": "NIRISS"}, "INSTRUME=NIRISS, exposure_uncal.fits has INSTRUME=NIRCAM"),
        ({"DETECTOR": "NRCA1"}, "DETECTOR=NRCA1, exposure_uncal.fits has DETECTOR=NRCB1"),
        ({"SUBSTRT1": 500}, "the exposure needs SUBSTRT1=101"),
    ],
)
def test_wrong_overrides_are_refused(
    tmp_path: Path, keywords: dict[str, Any], message: str
) -> None:
    kind = keywords.pop("reftype", "GAIN")
    path = write(tmp_path / "wrong.fits", kind, FRAME, **(CORNER | keywords))
    with pytest.raises(ReferenceRefused, match=message) as error:
        select(exposure(), ["gain"], overrides={"gain": path})
    assert str(path) in str(error.value)


def test_override_files_and_folders_must_exist_and_types_be_known(tmp_path: Path) -> None:
    with pytest.raises(ReferenceRefused, match=r"gone\.fits: .*No such file"):
        select(exposure(), ["gain"], overrides={"gain": tmp_path / "gone.fits"})
    with pytest.raises(ReferenceRefused, match="no such folder"):
        select(exposure(), ["gain"], folders=[tmp_path / "gone"])
    with pytest.raises(ReferenceRefused, match="did you mean 'readnoise'"):
        select(exposure(), [], overrides={"readnois": "x.fits"})


def test_references_survive_pickling_and_explain_what_was_not_selected(tmp_path: Path) -> None:
    add(tmp_path, "gain", "GAIN")
    found = select(exposure(), ["gain"], folders=[tmp_path])
    again: References = pickle.loads(pickle.dumps(found))
    assert again == found
    with pytest.raises(KeyError, match="no dark reference was selected"):
        again["dark"]
