"""MIRI's stage 1 against jwst 3.0.0: an observation of another simulator, options, and a full frame.

The data are found through ``JWPIPE_TEST_DATA``; without them tests are skipped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import asdf
import numpy as np
import pytest
from astropy.io import fits
from compare import IMAGE, RATE, assert_same_image
from peer import Peer, task

from jwpipe.dq import Group
from jwpipe.runner import run

DATA = Path(os.environ.get("JWPIPE_TEST_DATA") or Path(__file__).parents[2] / "../shared/data")
ROWS, COLUMNS = 1024, 1032
FREQUENCIES = {"Hz218a": 218.52055, "Hz10": 10.039216}
# Counts less a wave are rounded to 0.001 DN, in either direction where the wave differs in the last digits.
ROUNDED = replace(RATE, sci=1e-3)
Edit = Callable[[fits.HDUList], None]


@dataclass(frozen=True)
class Case:
    """Steps' parameters for an exposure after ``edit``."""

    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    edit: Edit | None = None


def bright(hdus: fits.HDUList) -> None:
    """Pixels that saturate from each group on, some of them long before the charge decay is over."""
    data = hdus["SCI"].data
    for group in range(data.shape[1]):
        data[:, group:, 20 + 9 * group, 40:60] = 65535
    data[1:, 1:, 120:124, 10:30] = 65535


def interference(hdus: fits.HDUList) -> None:
    """A wave on top of the ramps."""
    data = hdus["SCI"].data
    integrations, groups, rows, columns = data.shape
    clock = np.arange(rows)[:, None] * 96 + np.arange(columns) // 4
    frame = rows * 96 + (ROWS - rows) * 7
    for i in range(integrations):
        for g in range(groups):
            time = clock + g * frame + i * (groups * frame + 29952)
            wave = 15 * np.sin(2 * np.pi * (time * 1e-5 * FREQUENCIES["Hz218a"] + 0.3))
            data[i, g] = np.rint(np.clip(data[i, g] + wave, 0, 65535))


def shower(hdus: fits.HDUList) -> None:
    """Faint light over a wide area from the fifth group on."""
    y, x = np.mgrid[:256, :256]
    light = 60 * np.exp(-(((y - 90) / 20) ** 2) - ((x - 150) / 30) ** 2)
    hdus["SCI"].data[0, 4:] += np.rint(light).astype(np.uint16)


def later_segment(hdus: fits.HDUList) -> None:
    """The third and fourth integration of four."""
    segment = {"NINTS": 4, "INTSTART": 3, "INTEND": 4, "EXSEGNUM": 2, "EXSEGTOT": 2}
    hdus[0].header.update(segment)


CASES = {
    "bright": Case(edit=bright),
    "one group kept": Case({"ramp_fit": {"suppress_one_group": False}}, bright),
    "some groups": Case({"ramp_fit": {"firstgroup": 2, "lastgroup": 6}}, bright),
    "later segment": Case(edit=later_segment),
    "first frame": Case({"firstframe": {"skip": False}, "rscd": {"skip": True}}, bright),
    "all first frames": Case(
        {"firstframe": {"skip": False, "bright_use_group1": False}, "rscd": {"skip": True}}, bright
    ),
    "dark of its own": Case({"dark_current": {"average_dark_current": 1.5}}),
    "joint": Case({"emicorr": {"skip": False}}, interference),
    "joint, each by itself": Case(
        {"emicorr": {"skip": False, "fit_ints_separately": True}}, interference
    ),
    "sequential": Case({"emicorr": {"skip": False, "algorithm": "sequential"}}, interference),
    "sequential, all integrations": Case(
        {
            "emicorr": {
                "skip": False,
                "algorithm": "sequential",
                "use_n_cycles": None,
                "nbins": 100,
                "scale_reference": False,
            }
        },
        interference,
    ),
    "on the fly": Case(
        {
            "emicorr": {
                "skip": False,
                "onthefly_corr_freq": [FREQUENCIES["Hz218a"]],
                "save_intermediate_results": True,
            }
        },
        interference,
    ),
    "showers": Case({"jump": {"find_showers": True}}, shower),
    "showers, other rules": Case(
        {
            "jump": {
                "find_showers": True,
                "extend_snr_threshold": 1.05,
                "extend_min_area": 40,
                "extend_inner_radius": 0.5,
                "extend_outer_radius": 4.0,
                "extend_ellipse_expand_ratio": 1.4,
                "max_extended_radius": 20,
                "time_masked_after_shower": 0.4,
                "flag_4_neighbors": False,
            }
        },
        shower,
    ),
}


@pytest.fixture(scope="module")
def observation() -> Path:
    """The folder of the observation."""
    folder = DATA / "observations" / "miri_sub256"
    if not folder.exists():
        pytest.skip(f"{folder} is not there")
    return folder


@pytest.fixture(scope="module")
def files(observation, tmp_path_factory) -> dict[str, str]:
    """The reference files by type, one for the interference among them."""
    manifest = json.loads((observation / "refs" / "manifest.json").read_text())["MIRIMAGE"]
    folder = observation / "refs"
    named = {k: v if v == "N/A" else str(folder / v) for k, v in manifest.items() if k[0] != "_"}
    path = tmp_path_factory.mktemp("emicorr") / "emicorr.asdf"
    write_waves(path)
    return named | {"emicorr": str(path)}


def write_waves(path: Path) -> None:
    """A reference of the waves in subarrays of two kinds."""
    phase = (np.arange(500) + 0.5) / 500
    wave = np.sin(2 * np.pi * phase) + 0.2 * np.sin(4 * np.pi * phase)
    names = list(FREQUENCIES)
    case = {"freqs": {"FAST": names, "SLOW": {"MIRIMAGE": names}}}
    meta = {
        "author": "test",
        "description": "waves",
        "instrument": {"name": "MIRI"},
        "pedigree": "DUMMY",
        "reftype": "emicorr",
        "telescope": "JWST",
        "useafter": "2020-01-01T00:00:00",
    }
    tree = {
        "meta": meta,
        "frequencies": {
            name: {"frequency": frequency, "phase_amplitudes": wave}
            for name, frequency in FREQUENCIES.items()
        },
        "subarray_cases": {
            "SUB256": {"rowclocks": 96, "frameclocks": 29952, **case},
            "FULL_FAST": {"rowclocks": 271, "frameclocks": 277504, **case},
        },
    }
    asdf.AsdfFile(tree).write_to(path)


@pytest.fixture(scope="module")
def ours(observation, tmp_path_factory) -> Path:
    """The folder of our products of the observation."""
    output = tmp_path_factory.mktemp("miri")
    folders = [observation / "refs"]
    outcomes = run(
        "detector1,image2", observation / "uncal", output, refs=folders, save=["detector1"]
    )
    assert not [outcome.error for outcome in outcomes if outcome.error]
    return output


class TestObservation:
    """Against the products that the peer made of it; the peer itself is not needed."""

    @pytest.mark.parametrize(("suffix", "tolerance"), [("rate", RATE), ("cal", IMAGE)])
    def test_products(self, observation, ours, suffix, tolerance):
        (theirs,) = (observation / "peer").glob(f"*_{suffix}.fits")
        assert_same_image(ours / theirs.name, theirs, tolerance)

    def test_rates_are_true(self, observation, ours):
        """The median rate of clean pixels is within 2 % of the truth, as the peer's is."""
        for path in sorted((observation / "truth").glob("*_truth.npz")):
            name = path.name.removesuffix("_truth.npz")
            with (
                np.load(path, allow_pickle=True) as truth,
                fits.open(ours / f"{name}_rate.fits") as found,
            ):
                rate, dq, true = found["SCI"].data, found["DQ"].data, truth["rate_dn"]
            clean = (dq == 0) & (true > np.median(true))
            assert np.median(rate[clean] / true[clean]) == pytest.approx(1, abs=0.02)


def prepared(uncal: Path, edit: Edit | None, folder: Path) -> Path:
    """The exposure of a case in ``folder``."""
    folder.mkdir()
    path = folder / uncal.name
    with fits.open(uncal) as hdus:
        if edit is not None:
            hdus["SCI"].data = hdus["SCI"].data.copy()
            edit(hdus)
        hdus.writeto(path)
    return path


@pytest.fixture(scope="module")
def results(peer: Peer, observation, files, tmp_path_factory) -> dict[str, tuple[Path, Path]]:
    """Folders of our products and theirs for each case."""
    root = tmp_path_factory.mktemp("miri options")
    (uncal, _) = sorted((observation / "uncal").glob("*.fits"))
    folders = {name: root / str(number) for number, name in enumerate(CASES)}
    sources = {n: prepared(uncal, CASES[n].edit, folder) for n, folder in folders.items()}
    job = peer.start(
        "miri options",
        [
            task("Detector1Pipeline", sources[n], folder / "theirs", files, steps=CASES[n].steps)
            for n, folder in folders.items()
        ],
        processes=2,
    )
    for name, folder in folders.items():
        steps = CASES[name].steps
        (outcome,) = run("detector1", sources[name], folder / "ours", overrides=files, steps=steps)
        assert not outcome.error, outcome.error
    job.wait()
    return {name: (folder / "ours", folder / "theirs") for name, folder in folders.items()}


@pytest.mark.peer
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("suffix", ["rate", "rateints"])
def test_options(results, name: str, suffix: str):
    ours, theirs = results[name]
    (product,) = theirs.glob(f"*_{suffix}.fits")
    tolerance = ROUNDED if "emicorr" in CASES[name].steps else RATE
    assert_same_image(ours / product.name, product, tolerance)


def frequencies(path):
    with asdf.open(path, lazy_load=False, memmap=False) as file:
        return file["frequencies"]


@pytest.mark.peer
def test_waves_found_on_the_fly(results):
    ours, theirs = results["on the fly"]
    (product,) = theirs.glob("*_emi_ref_waves.asdf")
    found, expected = (frequencies(folder / product.name) for folder in (ours, theirs))
    assert list(found) == list(expected)
    for name, wave in expected.items():
        assert found[name]["frequency"] == wave["frequency"]
        values = np.array(wave["phase_amplitudes"])
        np.testing.assert_allclose(found[name]["phase_amplitudes"], values, atol=1e-4)


def tiled(path: Path, folder: Path) -> Path:
    """A reference of the full frame from copies of one of a subarray."""
    with fits.open(path) as hdus:
        for hdu in hdus[1:]:
            if hdu.is_image and hdu.data is not None:
                lead = (1,) * (hdu.data.ndim - 2)
                hdu.data = np.tile(hdu.data, (*lead, 5, 5))[..., :ROWS, :COLUMNS].copy()
        if "RSCD_GROUP_SKIP" in hdus:
            hdus["RSCD_GROUP_SKIP"].data["subarray"] = "FULL"
        if "REFERENCE" in str(hdus[-1].data) and path.name.endswith("mask.fits"):
            mark_references(hdus)
        hdus[0].header.update(FULL_FRAME)
        hdus.writeto(folder / path.name)
    return folder / path.name


FULL_FRAME = {
    "SUBARRAY": "FULL",
    "SUBSTRT1": 1,
    "SUBSTRT2": 1,
    "SUBSIZE1": COLUMNS,
    "SUBSIZE2": ROWS,
}


def mark_references(hdus: fits.HDUList) -> None:
    """Reference pixels at both ends of each row, a few of them bad."""
    values = {row["NAME"]: int(row["VALUE"]) for row in hdus["DQ_DEF"].data}
    flags = hdus["DQ"].data
    flags[:, :4] = flags[:, -4:] = values["REFERENCE_PIXEL"]
    flags[100:140, 1] |= values["DO_NOT_USE"]


def full_frame(hdus: fits.HDUList) -> None:
    """A full frame of six groups with drifting outputs."""
    draw = np.random.default_rng(7)
    sci = np.tile(hdus["SCI"].data[:1, :6], (1, 1, 5, 5))[..., :ROWS, :COLUMNS].astype(np.float64)
    sci[..., :4] = sci[..., -4:] = draw.normal(9000, 30, (ROWS, 4))
    parity, output = np.arange(ROWS)[:, None] % 2, np.arange(COLUMNS) % 4
    for group in range(1, 6):
        sci[:, group] += draw.normal(0, 4, (2, 4))[parity, output]
        sci[:, group, :, :4] += draw.normal(0, 3, (ROWS, 4))
        sci[:, group, :, -4:] += draw.normal(0, 3, (ROWS, 4))
    hdus["SCI"].data = np.rint(np.clip(sci, 0, 65535)).astype(np.uint16)
    hdus["REFOUT"].data = np.zeros((1, 6, ROWS, COLUMNS // 4), np.uint16)
    words = {"NINTS": 1, "INTEND": 1, "NGROUPS": 6, "TFRAME": 2.775, "TGROUP": 2.775}
    hdus[0].header.update(FULL_FRAME | words)


@pytest.mark.peer
def test_full_frame(peer: Peer, observation, files, tmp_path):
    """The outputs' drifts come off, and waves are fitted where they are read in 277 504 clocks."""
    (uncal, _) = sorted((observation / "uncal").glob("*.fits"))
    source = prepared(uncal, full_frame, tmp_path / "full")
    whole = ("mask", "saturation", "linearity", "dark", "reset", "rscd", "readnoise", "gain")
    given = files | {kind: str(tiled(Path(files[kind]), tmp_path)) for kind in whole}
    steps = {"emicorr": {"skip": False}}
    saved = ["emicorr", "refpix", "jump"]
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    work = task("Detector1Pipeline", source, theirs, given, steps=steps, save=saved)
    job = peer.start("miri full", [work])
    (outcome,) = run(
        "detector1", source, ours, overrides=given, steps=steps, save=["detector1", *saved]
    )
    assert not outcome.error, outcome.error
    job.wait()
    for step in saved:
        (product,) = theirs.glob(f"*_{step}.fits")
        with fits.open(ours / product.name) as mine, fits.open(product) as other:
            np.testing.assert_allclose(mine["SCI"].data, other["SCI"].data, rtol=3e-7, atol=0.004)
            differ = mine["GROUPDQ"].data ^ other["GROUPDQ"].data
            assert not (differ & ~np.uint8(Group.JUMP_DET)).any()
            assert np.mean(differ != 0) < 1e-6
    with fits.open(ours / f"{source.stem.removesuffix('_uncal')}_refpix.fits") as corrected:
        before = fits.getdata(source, "SCI").astype(np.float64)
        change = corrected["SCI"].data - before
        assert np.abs(change[0, 1:] - change[0, :1]).max() > 1
    for suffix in ("rate", "rateints"):
        (product,) = theirs.glob(f"*_{suffix}.fits")
        assert_same_image(ours / product.name, product, RATE)
