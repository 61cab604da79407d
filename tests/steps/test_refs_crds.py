"""Selection through CRDS from a real offline cache, compared with what its library recommends."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from refs_files import exposure

from jwpipe.exposure import Header
from jwpipe.refs import MissingReferences, select
from jwpipe.refs.crds import configured, recommend

DATA = Path(os.environ.get("JWPIPE_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
CACHE = DATA / "crds"
CONTEXT = "jwst_0676.pmap"

NIRISS = {
    "INSTRUME": "NIRISS",
    "DETECTOR": "NIS",
    "FILTER": "CLEAR",
    "PUPIL": "F200W",
    "EXP_TYPE": "NIS_IMAGE",
    "READPATT": "NIS",
}
MIRI = {"INSTRUME": "MIRI", "DETECTOR": "MIRIMAGE", "READPATT": "FASTR1", "EXP_TYPE": "MIR_IMAGE"}
MRS = {"INSTRUME": "MIRI", "EXP_TYPE": "MIR_MRS", "READPATT": "FASTR1"}
NIRSPEC = {
    "INSTRUME": "NIRSPEC",
    "DETECTOR": "NRS1",
    "EXP_TYPE": "NRS_MSASPEC",
    "LAMP": "NONE",
    "OPMODE": "MSASPEC",
    "READPATT": "NRSRAPID",
}

MODES: list[dict[str, Any]] = [
    {"DETECTOR": "NRCALONG", "CHANNEL": "LONG", "MODULE": "A", "FILTER": "F444W"},
    {"DETECTOR": "NRCBLONG", "CHANNEL": "LONG", "FILTER": "F444W", "PUPIL": "F405N"},
    {"DETECTOR": "NRCB1", "SUBARRAY": "SUB400P"},
    {"DETECTOR": "NRCA4", "MODULE": "A", "FILTER": "F070W", "EXP_TYPE": "NRC_TSIMAGE"},
    {
        "DETECTOR": "NRCALONG",
        "CHANNEL": "LONG",
        "MODULE": "A",
        "EXP_TYPE": "NRC_WFSS",
        "PUPIL": "GRISMC",
    },
    NIRISS,
    NIRISS | {"EXP_TYPE": "NIS_WFSS", "FILTER": "GR150R", "PUPIL": "F115W"},
    NIRISS | {"EXP_TYPE": "NIS_SOSS", "PUPIL": "GR700XD", "SUBARRAY": "SUBSTRIP256"},
    MIRI | {"FILTER": "F770W"},
    MIRI | {"FILTER": "F2300C", "EXP_TYPE": "MIR_LYOT", "SUBARRAY": "MASKLYOT"},
    MIRI | {"FILTER": "P750L", "EXP_TYPE": "MIR_LRS-FIXEDSLIT"},
    MRS | {"DETECTOR": "MIRIFUSHORT", "CHANNEL": "12", "BAND": "LONG"},
    MRS | {"DETECTOR": "MIRIFULONG", "CHANNEL": "34", "BAND": "SHORT"},
    NIRSPEC | {"FILTER": "F100LP", "GRATING": "G140M"},
    NIRSPEC | {"FILTER": "CLEAR", "GRATING": "PRISM", "EXP_TYPE": "NRS_FIXEDSLIT"},
    NIRSPEC | {"FILTER": "F170LP", "GRATING": "G235H", "EXP_TYPE": "NRS_IFU", "OPMODE": "IFU"},
    {"INSTRUME": "FGS", "DETECTOR": "GUIDER1", "EXP_TYPE": "FGS_IMAGE", "READPATT": "FGS"},
]

PATHS = {
    "INSTRUME": "instrument.name",
    "DETECTOR": "instrument.detector",
    "CHANNEL": "instrument.channel",
    "MODULE": "instrument.module",
    "FILTER": "instrument.filter",
    "PUPIL": "instrument.pupil",
    "GRATING": "instrument.grating",
    "BAND": "instrument.band",
    "LAMP": "instrument.lamp_state",
    "OPMODE": "instrument.lamp_mode",
    "EXP_TYPE": "exposure.type",
    "READPATT": "exposure.readpatt",
    "SUBARRAY": "subarray.name",
    "SUBSTRT1": "subarray.xstart",
    "SUBSTRT2": "subarray.ystart",
    "SUBSIZE1": "subarray.xsize",
    "SUBSIZE2": "subarray.ysize",
    "DATE-OBS": "observation.date",
    "TIME-OBS": "observation.time",
    "TSOVISIT": "visit.tsovisit",
}


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch) -> Path:
    if not (CACHE / "mappings").is_dir():
        pytest.skip(f"no CRDS cache at {CACHE}")
    monkeypatch.setenv("CRDS_PATH", str(CACHE))
    monkeypatch.setenv("CRDS_SERVER_URL", "https://jwst-serverless-mode.stsci.edu")
    monkeypatch.setenv("CRDS_CONTEXT", CONTEXT)
    monkeypatch.setenv("CRDS_READONLY_CACHE", "1")
    return CACHE


def header(mode: dict[str, Any], date: str) -> Header:
    return exposure(**{"SUBARRAY": "FULL"} | mode | {"DATE_OBS": date})


def recommended(head: Header) -> dict[str, str]:
    """What CRDS recommends for every type that its context has for the instrument."""
    import crds

    imap = crds.get_cached_mapping(CONTEXT).get_imap(str(head["INSTRUME"]).lower())
    parameters = {f"META.{path.upper()}": head[key] for key, path in PATHS.items() if key in head}
    types = list(imap.selections)
    answers: dict[str, str] = crds.getrecommendations(parameters, reftypes=types, context=CONTEXT)
    return answers


@pytest.mark.parametrize("date", ["2016-02-10", "2020-06-01", "2024-05-06"])
@pytest.mark.parametrize("mode", MODES, ids=lambda m: "-".join(map(str, m.values())))
def test_selection_is_what_crds_recommends(cache: Path, mode: dict[str, Any], date: str) -> None:
    head = header(mode, date)
    expected = recommended(head)
    answers = recommend(head, list(expected)).types
    for kind, name in expected.items():
        if name == "NOT FOUND n/a":
            assert not answers[kind].applies
        elif (path := in_cache(cache, head, name)).is_file():
            chosen = select(head, [kind])
            assert chosen[kind].path == str(path)  # type: ignore[union-attr]
            assert chosen.sources[kind] == f"crds {CONTEXT}"
        else:
            assert name.removeprefix("NOT FOUND ") in answers[kind].problem


def in_cache(cache: Path, head: Header, name: str) -> Path:
    return cache / "references" / "jwst" / str(head["INSTRUME"]).lower() / name


def test_the_comparison_meets_many_real_files(cache: Path) -> None:
    heads = [header(mode, "2024-05-06") for mode in MODES]
    names = {in_cache(cache, head, name) for head in heads for name in recommended(head).values()}
    assert sum(path.is_file() for path in names) >= 30


def test_some_real_references_by_name(cache: Path) -> None:
    head = header(MODES[0], "2024-05-06")
    names = {kind: file and file.name for kind, file in select(head, ["filteroffset"]).items()}
    assert names == {"filteroffset": "jwst_nircam_filteroffset_0002.asdf"}


def test_types_that_do_not_apply_are_none(cache: Path) -> None:
    found = select(header(MODES[2], "2024-05-06"), ["refpix"])
    assert found["refpix"] is None
    assert found.sources["refpix"] == "N/A"


def test_files_that_the_cache_lacks_are_named(cache: Path) -> None:
    with pytest.raises(MissingReferences) as error:
        select(header(MODES[2], "2024-05-06"), ["gain", "sirskernel", "nonsense"])
    text = str(error.value)
    assert "2 references are missing" in text
    assert f"{CONTEXT} chooses jwst_nircam_gain_0053.fits, which is not at" in text
    assert "Unknown reference type 'nonsense'" in text


def test_fifteen_types_are_selected_in_milliseconds(cache: Path) -> None:
    kinds = list(recommended(header(MODES[2], "2024-05-06")))[:15]
    recommend(header(MODES[2], "2024-05-06"), kinds)
    started = time.perf_counter()
    recommend(header(MODES[3], "2024-05-06"), kinds)
    assert time.perf_counter() - started < 0.05


def test_nothing_is_printed(cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    recommend(header(MODES[2], "2024-05-06"), ["gain", "distortion", "nonsense"])
    assert capfd.readouterr() == ("", "")


def test_a_context_that_is_nowhere_is_a_problem_not_an_exit(tmp_path: Path) -> None:
    """In a process of its own: the library remembers its settings."""
    script = (
        "from refs_files import exposure\n"
        "from jwpipe.refs.crds import recommend\n"
        "print(recommend(exposure(), ['gain']).types['gain'].problem)\n"
    )
    settings = {
        "CRDS_PATH": str(tmp_path),
        "CRDS_SERVER_URL": "https://jwst-serverless-mode.stsci.edu",
        "PYTHONPATH": f"{Path(__file__).parent}{os.pathsep}{Path(__file__).parents[2]}",
    }
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert f"CRDS failed with CRDS_PATH={tmp_path}" in done.stdout
    assert "no rules" in done.stdout


def test_without_settings_crds_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CRDS_PATH", "CRDS_SERVER_URL", "CRDS_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    assert not configured()
