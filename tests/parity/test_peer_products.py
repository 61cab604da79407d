"""Products stand in for those of jwst 3.0.0: each pipeline reads and goes on from what the other wrote."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from both import MOSAIC, Runs, association, references
from compare import IMAGE, RATE, assert_same_image, assert_same_mosaic, keywords
from peer import Peer, task

from jwpipe.inputs import make_association
from jwpipe.runner import run

pytestmark = pytest.mark.peer

# Opens each product with the data models; prints its model, what its WCS says of a pixel, and all warnings.
OPEN = """
import json, sys, warnings
from stdatamodels.jwst import datamodels
for path in sys.argv[1:]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with datamodels.open(path) as model:
            model.validate()
            wcs = getattr(model.meta, "wcs", None)
            found = {"model": type(model).__name__, "sky": None if wcs is None else wcs(30.0, 40.0)}
            found["trees"] = [name for name, node in model.instance.items() if hasattr(node, "items")]
    print(json.dumps({**found, "warnings": [str(w.message) for w in caught]}))
"""
MODELS = {
    "rate": "ImageModel", "rateints": "CubeModel", "cal": "ImageModel", "i2d": "ImageModel",
    "o001_crf": "ImageModel",
}  # fmt: skip


@pytest.fixture(scope="module")
def products(runs: Runs):
    """Our products of the first exposure and of the mosaic, and the data model each should be."""
    first = {
        runs.ours / f"{runs.names[0]}_{suffix}.fits": model for suffix, model in MODELS.items()
    }
    ramp = {runs.steps / f"{runs.names[0]}_jump.fits": "RampModel"}
    mosaic = {"i2d": "ImageModel", "segm": "SegmentationMapModel"}
    return (
        first
        | ramp
        | {runs.ours / f"{MOSAIC}_{suffix}.fits": model for suffix, model in mosaic.items()}
    )


@pytest.fixture(scope="module", params=["here", "there"])
def opened(request, products, peer: Peer):
    """What the data models say of our products, as installed here and beside the peer."""
    if request.param == "here":
        output = subprocess.run(
            [sys.executable, "-c", OPEN, *products], capture_output=True, text=True, check=True
        ).stdout
    else:
        output = peer.execute("open", OPEN, *products)
    return dict(zip(products, map(json.loads, output.splitlines()), strict=True))


class TestModels:
    def test_no_warnings(self, opened):
        assert {
            path.name: found["warnings"] for path, found in opened.items() if found["warnings"]
        } == {}

    def test_model(self, opened, products):
        assert {path: found["model"] for path, found in opened.items()} == products

    def test_nothing_stray(self, opened):
        """Arrays are in the file, not remembered from the file before."""
        known = {"meta", "jwpipe", "extra_fits", "history", "asdf_library"}
        stray = {path.name: set(found["trees"]) - known for path, found in opened.items()}
        assert not any(stray.values()), stray

    def test_wcs(self, opened):
        for path, found in opened.items():
            calibrated = not path.name.endswith(("rate.fits", "rateints.fits", "jump.fits"))
            assert (found["sky"] is not None) == calibrated
            assert found["sky"] is None or np.allclose(found["sky"], (53.162, -27.791), atol=0.01)


# Steps of the peer that are off by default and not among ours.
NOT_OURS = {"S_CHGMIG", "S_CLNFNS", "S_PCTFRM", "S_PERSIS"}
# Counted in the pixels: our headers are written before any pixel is computed.
COUNTED = {"PRIMECRS", "EXTNCRS"}


@pytest.mark.parametrize("suffix", ["rate", "rateints", "cal", "i2d", "o001_crf"])
class TestKeywords:
    def test_step_status(self, runs: Runs, suffix: str):
        ours, theirs = (keywords(path) for path in next(runs.pairs(suffix)))
        steps = {name for name in theirs if name.startswith("S_") and name != "S_REGION"} - NOT_OURS
        assert {name: ours.get(name) for name in steps} == {name: theirs[name] for name in steps}

    def test_references(self, runs: Runs, suffix: str):
        """The same files; the peer's names carry its mark of CRDS, and types of other modes as N/A."""
        ours, theirs = (keywords(path) for path in next(runs.pairs(suffix)))
        names = {
            k: v.removeprefix("crds://")
            for k, v in theirs.items()
            if k.startswith("R_") and v != "N/A"
        }
        assert {name: ours.get(name) for name in names} == names

    def test_the_rest(self, runs: Runs, suffix: str):
        """All other keywords of the peer's, but those of its software and of counts, are there with its values."""
        ours, theirs = (keywords(path) for path in next(runs.pairs(suffix)))
        apart = (
            "S_",
            "R_",
            "CRDS_",
            "CAL_V",
            "A_",
            "B_",
            "AP_",
            "BP_",
            "CD",
            "ASN",
            "NAXIS",
            "EXTEN",
        )
        found = {}
        for name in theirs:
            if name.startswith(apart) or name in COUNTED | {"COMMENT", "DATE", ""}:
                continue
            same = ours.get(name) == theirs[name]
            if isinstance(theirs[name], float) and name in ours:
                same = ours[name] == pytest.approx(theirs[name], rel=1e-5)
            if not same:
                found[name] = (ours.get(name), theirs[name])
        assert found == {}


@pytest.mark.parametrize("suffix", ["rate", "rateints", "cal", "i2d", "o001_crf"])
def test_extensions(runs: Runs, suffix: str):
    """The same extensions in the same order, of the same types, shapes, versions and units."""
    ours, theirs = (extensions(path) for path in next(runs.pairs(suffix)))
    assert ours == theirs


def extensions(path: Path) -> list[tuple]:
    """What a FITS file consists of, but for the size of its ASDF tree."""
    with fits.open(path) as hdus:
        found = []
        for hdu in hdus:
            words = {
                name: hdu.header.get(name)
                for name in ("BUNIT", "BITPIX", "BZERO", "EXTVER", "XTENSION")
            }
            shape = (
                None if hdu.name == "ASDF" else [hdu.header.get(f"NAXIS{n}") for n in range(1, 5)]
            )
            found.append((hdu.name, words, shape))
        return found


def test_integration_times(runs: Runs):
    ours, theirs = (fits.getdata(path, "INT_TIMES") for path in next(runs.pairs("rateints")))
    assert ours.dtype == theirs.dtype
    assert ours.tolist() == theirs.tolist()


def test_table_of_headers(runs: Runs):
    """The mosaic tells the keywords of its exposures, in the same order, but for those that jwpipe does not have."""
    ours, theirs = (fits.getdata(path, "HDRTAB") for path in runs.mosaics("i2d.fits"))
    apart = ("S_", "R_", "CRDS_", "CAL_V", "ASN", *COUNTED)
    names = [name for name in theirs.names if not name.startswith(apart)]
    assert len(names) > 80
    assert [name for name in ours.names if not name.startswith(apart)] == names
    for name in names:
        if theirs[name].dtype.kind == "f":
            # The sky's level is a mean of pixels, whose rates agree to 1e-5 of their errors.
            rtol = 1e-5 if name == "BKGLEVEL" else 1e-9
            assert np.allclose(ours[name], theirs[name], rtol=rtol, equal_nan=True), name
        elif name != "DATE":
            assert ours[name].tolist() == theirs[name].tolist(), name


@pytest.fixture(scope="module")
def crossed(runs: Runs, peer: Peer, tmp_path_factory):
    """Folders of what the peer made of our products, and what we made of the peer's."""
    folder = tmp_path_factory.mktemp("crossed")
    theirs, ours = folder / "theirs", folder / "ours"
    files = references(runs.observation, runs.observation.uncal[0])
    members = [str(ours_cal) for ours_cal, _ in runs.pairs("cal")]
    asn = make_association(members, str(runs.ours / "asn.json"), MOSAIC, "image3")
    job = peer.start(
        "crossed",
        [
            task("RampFitStep", runs.steps / f"{runs.names[0]}_jump.fits", theirs, files),
            task("Image2Pipeline", runs.ours / f"{runs.names[0]}_rate.fits", theirs, files),
            task("Image3Pipeline", asn, theirs, files),
        ],
    )
    overrides = {kind: str(path) for kind, path in files.items()}
    outcomes = [
        outcome
        for pipeline, source in (
            ("ramp_fit", runs.theirs / f"{runs.names[0]}_jump.fits"),
            ("image2", runs.theirs / f"{runs.names[0]}_rate.fits"),
            ("image3", association(runs.theirs, runs.names)),
        )
        for outcome in run(pipeline, source, ours, overrides=overrides)
    ]
    assert not [outcome.error for outcome in outcomes if outcome.error]
    job.wait()
    return ours, theirs


class TestCrossed:
    """After either pipeline took over from the other the products are what they were."""

    def test_rates(self, crossed, runs: Runs):
        name = runs.names[0]
        ours, theirs = crossed
        for number, suffix in enumerate(("rate", "rateints")):
            expected = runs.theirs / f"{name}_{suffix}.fits"
            assert_same_image(ours / f"{name}_{suffix}.fits", expected, RATE)
            assert_same_image(theirs / f"{name}_{number}_rampfitstep.fits", expected, RATE)

    def test_calibrated(self, crossed, runs: Runs):
        name = f"{runs.names[0]}_cal.fits"
        for path in (folder / name for folder in crossed):
            assert_same_image(path, runs.theirs / name, IMAGE)

    def test_mosaic(self, crossed, runs: Runs):
        for folder in crossed:
            assert_same_mosaic(folder / f"{MOSAIC}_i2d.fits", runs.theirs / f"{MOSAIC}_i2d.fits")
