"""The WCS of every mode against jwst 3.0.0: slits, bounding boxes, coordinates, the way back, cut-outs.

One run of the peer solves all modes and keeps what it finds on a grid of pixels of each slit, slice and order.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from peer import Peer

sys.path.append(str(Path(__file__).parents[1] / "steps"))

import nirspec_examples
from wcs_catalogue import write_catalogue
from wcs_modes import MAKERS, SCI, Mode, modes

from jwpipe.exposure import header
from jwpipe.stage2.assign_wcs import AssignWcsParams, tie_to_sky
from jwpipe.wcs import Choice, map_of
from jwpipe.wcs.catalogue import Catalogue
from jwpipe.wcs.coordinates import TOLERANCE
from jwpipe.wcs.cutouts import (
    Cutout,
    Ranges,
    Wanted,
    slit_cutouts,
    slitless_cutouts,
    time_series_cutout,
)
from jwpipe.wcs.inspect import Part, part_of
from jwpipe.wcs.nirspec_slits import FIXED_SLITS, fixed_slit_id

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(
        not nirspec_examples.REFERENCES.exists(), reason=f"{nirspec_examples.REFERENCES} is absent"
    ),
]

MAS = 0.1
"""Positions on the sky agree within so many milliarcseconds."""
WAVES = 1e-6
"""Wavelengths agree within this part of themselves."""
PIXELS = 1e-3
"""Pixels agree within this, on the way back from the sky."""
LEFT_OUT = {
    "nirspec ifu nrs2",
    "nirspec ifu slices",
    "miri mrs short",
    "nircam wfss a c",
    "nircam wfss b r",
}
"""Modes that differ from others in their references only, and of which the peer takes 2 to 16 s each."""
NAMES = [name for name in MAKERS if name not in LEFT_OUT]
SOURCES = {"nircam": [[500.0, 600.0], [1500.0, 300.0]], "niriss": [[500.0, 600.0], [1500.0, 300.0]]}
WANTED = Wanted(faintest=26.5, brightest=6, half_height=5)
NO_WAY_BACK = {"niriss soss", "nirspec image"}
"""Modes whose peer does not come back from the sky to the pixels: it has no way, or its way leads a million off."""


@dataclass(frozen=True)
class Case:
    """A mode, our WCS of it, and what the peer found."""

    mode: Mode
    exposure: xr.Dataset
    theirs: dict[str, np.ndarray]
    said: dict[str, Any]
    folder: Path

    def choices(self) -> Iterator[tuple[int, Choice]]:
        """Our names of the peer's parts, with their numbers."""
        for n, label in enumerate(self.theirs["labels"].tolist()):
            yield n, _choice(self.mode.name, label)


def _choice(name: str, label: str) -> Choice:
    if label.startswith("order"):
        words = label.removeprefix("order ").partition(" of ")
        source = json.loads(words[2]) if words[2] else []
        return Choice(order=int(words[0]), source=tuple(source) if source else None)
    if not label:
        return Choice()
    if "ifu" in name:
        return Choice(slice=int(label))
    fixed = {str(fixed_slit_id(slit)): slit for slit in FIXED_SLITS}
    return Choice(slit=fixed.get(label, label))


@pytest.fixture(scope="module")
def cases(peer: Peer, tmp_path_factory) -> dict[str, Case]:
    """All modes, solved by both."""
    folder = tmp_path_factory.mktemp("wcs")
    found = list(modes(folder, *NAMES))
    ours = {}
    asked = [asked_for(mode, folder) for mode in found]
    listing = folder / "cases.json"
    solved = {}
    for mode, case in zip(found, asked, strict=True):
        if "catalog" in case:
            solved[mode.name] = _solved(mode, folder)
            write_catalogue(Path(case["catalog"]), solved[mode.name])
    listing.write_text(json.dumps(asked))
    job = peer.begin("wcs", Path(__file__).with_name("peer_wcs.py").read_text(), listing)
    for mode in found:
        ours[mode.name] = solved.get(mode.name) or _solved(mode, folder)
    job.wait()
    kept = {}
    for mode in found:
        with np.load(folder / f"{mode.name}.npz") as file:
            theirs = dict(file)
        said = json.loads(str(theirs.pop("said")))
        kept[mode.name] = Case(mode, ours[mode.name], theirs, said, folder)
    return kept


def _solved(mode: Mode, folder: Path) -> xr.Dataset:
    return tie_to_sky(mode.exposure(folder), mode.files(), AssignWcsParams(**mode.params))


def asked_for(mode: Mode, folder: Path) -> dict[str, Any]:
    """What the peer has to do."""
    case = {
        "name": mode.name,
        "primary": {key: value for key, value in mode.keywords.items() if key not in SCI},
        "sci": {key: value for key, value in mode.keywords.items() if key in SCI},
        "shape": mode.shape,
        "references": {kind: path and str(path) for kind, path in mode.references.items()},
        "params": mode.params,
        "folder": str(folder),
        "output": str(folder / f"{mode.name}.npz"),
    }
    if "wfss" in mode.name:
        case["sources"] = SOURCES.get(mode.name.split()[0], [[500.0, 600.0]])
        case["catalog"] = str(folder / f"{mode.name} cat.ecsv".replace(" ", "_"))
        case["cutouts"] = {
            "mmag_extract": WANTED.faintest,
            "nbright": WANTED.brightest,
            "wfss_extract_half_height": WANTED.half_height,
        }
    elif cut_by_slit(mode.name) or mode.name == "nircam tsgrism":
        case["cutouts"] = {}
    return case


def cut_by_slit(name: str) -> bool:
    """Whether extract_2d cuts out the slits of a mode."""
    return name in ("nirspec fixed slits", "nirspec mos nrs2", "nirspec bright object")


@pytest.mark.parametrize("name", NAMES)
def test_frames_units_and_slits(cases: dict[str, Case], name: str) -> None:
    """The same frames and units, the same region, and the same is said of each slit."""
    case = cases[name]
    wcs = case.exposure.attrs["wcs"]
    assert list(wcs.available_frames) == case.said["frames"]
    assert [str(unit) for unit in wcs.output_frame.unit] == case.said["units"]
    _same_region(case.exposure.attrs["sci"].get("S_REGION"), case.said["s_region"])
    slits = []
    if "slit_frame" in wcs.available_frames:
        slits = wcs.get_transform("gwa", "slit_frame").slits
    ours = [list(slit) if hasattr(slit, "_fields") else slit for slit in slits]
    assert json.loads(json.dumps(ours, default=float)) == case.said["slits"]


def _same_region(ours: str | None, theirs: str | None) -> None:
    """Corners within a hundredth of a milliarcsecond; both may be absent."""
    if theirs is None:
        return
    assert ours is not None
    corners = [np.array(region.split()[2:], float) for region in (ours, theirs)]
    np.testing.assert_allclose(*corners, rtol=0, atol=3e-9)


@pytest.mark.parametrize("name", NAMES)
def test_coordinates(cases: dict[str, Case], name: str) -> None:
    """Positions, wavelengths, pixels without light, bounding boxes and the way back, in each slit, slice and order."""
    case = cases[name]
    for n, choice in case.choices():
        part = part_of(case.exposure, choice, internal=True)
        theirs = {
            kind: case.theirs.get(f"{kind}{n}") for kind in ("x", "y", "world", "back", "box")
        }
        if theirs["box"] is not None:
            np.testing.assert_allclose(part.box, theirs["box"], rtol=0, atol=1e-6)
        if choice.slice is not None:
            # The peer's WCS of a slice lets in the pixels of neighbours in the corners of its box.
            x, y = theirs["x"].astype(int), theirs["y"].astype(int)
            theirs["world"][:, case.theirs["regions"][y, x] != choice.slice + 1] = np.nan
        ours = world(part, theirs["x"], theirs["y"], mode=name)
        assert_same_world(ours, theirs["world"], case.said["units"])
        if theirs["back"] is not None and name not in NO_WAY_BACK:
            assert_same_back(part, theirs["world"], theirs["back"])


def test_the_slice_of_each_pixel(cases: dict[str, Case]) -> None:
    """The map of slices is the same, pixel by pixel."""
    case = cases["nirspec ifu"]
    np.testing.assert_array_equal(case.exposure["regions"], case.theirs["regions"])


def test_back_through_the_mirror(cases: dict[str, Case]) -> None:
    """Where the peer's way back fails, ours leads to the pixels that were begun with."""
    case = cases["nirspec image"]
    x, y, world = (case.theirs[f"{kind}0"] for kind in ("x", "y", "world"))
    found = case.exposure.attrs["wcs"].invert(*world, with_bounding_box=False)
    np.testing.assert_allclose(found[:2], (x, y), rtol=0, atol=3)


def world(part: Part, x: np.ndarray, y: np.ndarray, mode: str) -> np.ndarray:
    """Our coordinates of pixels, in the units of the WCS."""
    beside = [np.full_like(x, value) for value in part.beside]
    if mode.startswith("nircam"):
        beside = list(part.beside)
    with np.errstate(all="ignore"):
        found = part.wcs(x, y, *beside)
    return np.stack([np.broadcast_to(v, x.shape) for v in found[: 3 if part.spectral else 2]])


def assert_same_world(ours: np.ndarray, theirs: np.ndarray, units: list[str]) -> None:
    """Both have coordinates for the same pixels, and the same ones."""
    theirs = theirs[: len(ours)]
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))
    seen = np.isfinite(theirs).all(axis=0)
    if not seen.any():
        return
    ours, theirs = ours[:, seen], theirs[:, seen]
    if units[0] == "deg":
        apart = (ours[0] - theirs[0] + 180) % 360 - 180
        apart = np.hypot(apart * np.cos(np.radians(theirs[1])), ours[1] - theirs[1])
        assert apart.max() * 3.6e6 < MAS
    else:
        np.testing.assert_allclose(ours[:2], theirs[:2], rtol=0, atol=1e-9)
    np.testing.assert_allclose(ours[2:], theirs[2:], rtol=WAVES)


def assert_same_back(part: Part, world: np.ndarray, theirs: np.ndarray) -> None:
    """The same pixels for the same coordinates."""
    seen = np.isfinite(theirs).all(axis=0) & np.isfinite(world).all(axis=0)
    if not seen.any():
        return
    light = [values[seen] for values in world[: 3 if part.spectral else 2]]
    after = [np.full(seen.sum(), float(value)) for value in part.after]
    with np.errstate(all="ignore"):
        ours = part.wcs.invert(*light, *after, with_bounding_box=False)[:2]
    ours = np.stack([np.broadcast_to(v, seen.sum()) for v in ours])
    np.testing.assert_allclose(ours, theirs[:, seen], rtol=0, atol=PIXELS)


@pytest.mark.parametrize(
    "name", ["miri mrs long", "nirspec ifu", "nirspec fixed slits", "nirspec mos nrs2", "miri lyot"]
)
def test_maps_of_coordinates(cases: dict[str, Case], name: str) -> None:
    """Interpolated coordinates, too, are the peer's within the tolerance of the map, and NaN in the same pixels."""
    case = cases[name]
    for n, choice in case.choices():
        whole = Choice() if "ifu" in name else choice
        planes = map_of(case.exposure, whole).planes()
        theirs = case.theirs[f"world{n}"]
        x, y = (case.theirs[f"{axis}{n}"].astype(int) for axis in "xy")
        ours = planes[: len(theirs), y, x]
        both = np.isfinite(ours).all(axis=0) & np.isfinite(theirs).all(axis=0)
        if "ifu" not in name:
            np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))
        apart = np.abs(ours - theirs)[:, both]
        assert np.max(apart[:2], initial=0) < TOLERANCE * 0.27 / 3600 / np.cos(np.radians(30))
        np.testing.assert_allclose(ours[2:][:, both], theirs[2:][:, both], rtol=WAVES)


@pytest.mark.parametrize("name", [name for name in NAMES if cut_by_slit(name)])
def test_cutouts_of_slits(cases: dict[str, Case], name: str) -> None:
    """The same slits and sources, and the same boxes."""
    case = cases[name]
    found = slit_cutouts(case.exposure.attrs["wcs"], (2048, 2048))
    assert [plain(each, with_place=False) for each in found] == [
        [name, source, None, box] for name, source, _, box, _ in case.said["cutouts"]
    ]


@pytest.mark.parametrize("name", [name for name in NAMES if "wfss" in name])
def test_cutouts_of_slitless_spectra(cases: dict[str, Case], name: str) -> None:
    """The same sources and orders in the same sequence, and the same boxes."""
    case = cases[name]
    catalogue = Catalogue.read(asked_for(case.mode, case.folder)["catalog"])
    ranges = Ranges.read(case.mode.files()["wavelengthrange"].tree())
    keywords = header(case.exposure)
    wcs = case.exposure.attrs["wcs"]
    found = slitless_cutouts(wcs, keywords, case.mode.shape, catalogue, ranges, WANTED)
    theirs = case.said["cutouts"]
    assert len(theirs) > 5
    assert [plain(each)[:4] for each in found] == [each[:4] for each in theirs]
    places = [plain(each)[4] for each in found]
    np.testing.assert_allclose(places, [each[4] for each in theirs], rtol=0, atol=1e-6)


def test_cutout_of_a_time_series(cases: dict[str, Case]) -> None:
    """The same rows, and the star in the same column."""
    case = cases["nircam tsgrism"]
    keywords = header(case.exposure)
    found = time_series_cutout(case.exposure.attrs["wcs"], keywords, case.mode.shape)
    (theirs,) = case.said["cutouts"]
    assert plain(found)[:4] == theirs[:4]
    assert plain(found)[4] == pytest.approx(theirs[4], abs=1e-6)


def plain(cutout: Cutout, *, with_place: bool = True) -> list[Any]:
    """A cut-out as the peer's job writes it: corners counted from 1."""
    rows, columns = cutout.rows, cutout.columns
    box = [columns.start + 1, rows.start + 1, columns.stop - columns.start, rows.stop - rows.start]
    found = [cutout.name, cutout.source_id, cutout.order, box]
    return [*found, [cutout.x, cutout.y]] if with_place else found


def test_slits_are_chosen_by_name_and_source(cases: dict[str, Case]) -> None:
    """By names first, then by sources, each once."""
    wcs = cases["nirspec mos prism"].exposure.attrs["wcs"]
    found = slit_cutouts(wcs, (2048, 2048), names=[3], source_ids=[20116, -9])
    assert [each.name for each in found] == ["3", "S200A1"]
