"""Observations by another simulator: the products that jwst 3.0.0 made of them, and what is true of them.

The data are found through ``JWPIPE_TEST_DATA``; jwst itself is not needed.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import Table
from compare import (
    IMAGE,
    RATE,
    assert_same_image,
    assert_same_mosaic,
    assert_same_wcs,
    keywords,
    planes,
    wcs_of,
)
from compare_tables import catalogue, far_sources

from jwpipe.dq import Pixel
from jwpipe.runner import run

DATA = Path(os.environ.get("JWPIPE_TEST_DATA") or Path(__file__).parents[2] / "../shared/data")
# Pixels that hold light and were not struck.
UNUSABLE = np.uint32(Pixel.DO_NOT_USE | Pixel.JUMP_DET | Pixel.REFERENCE_PIXEL)
RATES = (0.0, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 100.0, np.inf)


@dataclass(frozen=True)
class Processed:
    """An observation's folder, and that of our products."""

    folder: Path
    ours: Path

    @property
    def names(self) -> list[str]:
        """The exposures' names."""
        return [
            path.name.removesuffix("_uncal.fits")
            for path in sorted((self.folder / "uncal").glob("*.fits"))
        ]

    def pair(self, product: str) -> tuple[Path, Path]:
        """Our product of this name and theirs."""
        return self.ours / product, self.folder / "peer" / product

    def truth(self, name: str) -> dict[str, np.ndarray]:
        """What is true of an exposure."""
        with np.load(self.folder / "truth" / f"{name}_truth.npz", allow_pickle=True) as stored:
            return {key: stored[key] for key in stored.files}

    def stars(self) -> Table:
        """The true sources."""
        return Table.read(self.folder / "truth" / "catalog.ecsv")

    def verdict(self, quantity: str) -> list[float]:
        """What the peer's products were found to be, against the truth."""
        text = (self.folder / "peer_vs_truth.txt").read_text()
        return [float(value) for value in re.findall(rf"\b{quantity} +(\S+)", text)]


def processed(name: str, pipelines: str, output: Path) -> Processed:
    """The observation ``name`` after ``pipelines``; skipped where it is not at hand."""
    folder = DATA / "observations" / name
    if not folder.exists():
        pytest.skip(f"{folder} is not there")
    outcomes = run(
        pipelines, folder / "uncal", output, refs=[folder / "refs"], save=pipelines.split(",")[:2]
    )
    assert not [outcome.error for outcome in outcomes if outcome.error]
    return Processed(folder, output)


@pytest.fixture(scope="module")
def nircam(tmp_path_factory) -> Processed:
    output = tmp_path_factory.mktemp("nircam")
    return processed("nircam_sub400p", "detector1,image2,image3", output)


@pytest.fixture(scope="module")
def niriss(tmp_path_factory) -> Processed:
    output = tmp_path_factory.mktemp("niriss")
    return processed("niriss_sub256", "detector1,image2,image3", output)


class TestNircam:
    MOSAIC = "jw90001-o001_t001_nircam_f200w"

    def test_rate(self, nircam):
        assert_same_image(*nircam.pair(f"{nircam.names[0]}_rate.fits"), RATE)

    def test_calibrated(self, nircam):
        product = nircam.pair(f"{nircam.names[0]}_cal.fits")
        assert_same_image(*product, IMAGE)
        assert_same_wcs(*product)

    def test_mosaic(self, nircam):
        assert_same_mosaic(*nircam.pair(f"{self.MOSAIC}_i2d.fits"))

    def test_catalogue(self, nircam):
        ours, theirs = (catalogue(path) for path in nircam.pair(f"{self.MOSAIC}_cat.ecsv"))
        assert len(ours) == len(theirs) > 30
        # The mosaic's positions come from a fit to sources whose values are rounded differently.
        assert far_sources(ours, theirs, 1e-3) == {}


class TestNircamTruth:
    def test_pull_width(self, nircam):
        """Rates scatter about the truth by as many ERR as the peer's, to 1 %: what is clean is defined anew here."""
        for name, theirs in zip(nircam.names, nircam.verdict("pull_std_mad"), strict=True):
            pull = pulls(nircam.ours / f"{name}_rate.fits", nircam.truth(name)["rate_dn"])
            assert 1.4826 * np.median(np.abs(pull - np.median(pull))) < 1.01 * theirs

    def test_bias(self, nircam):
        """In no range of rates are ours further off than the peer's, but for a ten thousandth."""
        name = nircam.names[0]
        truth = nircam.truth(name)["rate_dn"]
        ours, theirs = (biases(path, truth) for path in nircam.pair(f"{name}_rate.fits"))
        assert np.all(np.abs(ours) < np.abs(theirs) + 1e-4)

    def test_star_photometry(self, nircam):
        """Stars brighter than 22 mag are off by less than 1 %."""
        table, stars = catalogue(nircam.ours / f"{TestNircam.MOSAIC}_cat.ecsv"), nircam.stars()
        stars = stars[stars["abmag"] < 22.0]
        true = SkyCoord(stars["ra"], stars["dec"], unit="deg")
        index, apart, _ = true.match_to_catalog_sky(table["sky_centroid"])
        found = apart.arcsec < 0.1
        ratio = (
            table["aper_total_flux"][index].to_value("Jy")[found]
            / np.asarray(stars["flux_jy"])[found]
        )
        assert found.sum() >= 15
        assert abs(np.median(ratio) - 1.0) < 0.01

    def test_alignment(self, nircam):
        """Exposures agree on where the stars are as well as the peer's do."""
        stars = nircam.stars()
        offsets = []
        for name in nircam.names:
            wcs, shape = wcs_of(nircam.ours / f"{name}_o001_crf.fits")
            truth = nircam.truth(name)
            x, y = truth["star_x"], truth["star_y"]
            inside = (x > 0) & (x < shape[1] - 1) & (y > 0) & (y < shape[0] - 1)
            ra, dec = wcs(x[inside], y[inside])
            east = (ra - stars["ra"][inside]) * np.cos(np.radians(dec))
            offsets.append([np.mean(east) * 3.6e6, np.mean(dec - stars["dec"][inside]) * 3.6e6])
        scatter = np.hypot(*np.std(offsets, axis=0))
        (theirs,) = nircam.verdict("alignment_rms_mas")
        assert scatter < 1.1 * theirs


def usable(path: Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The planes of a rate, and which of its pixels can be held against the truth."""
    image = planes(path)
    return image, (image["DQ"] & UNUSABLE == 0) & np.isfinite(image["SCI"])


def pulls(path: Path, truth: np.ndarray) -> np.ndarray:
    """How many ERR the usable pixels are off."""
    image, good = usable(path)
    return ((image["SCI"] - truth) / image["ERR"])[good]


def biases(path: Path, truth: np.ndarray) -> np.ndarray:
    """The fraction by which rates are off, for each range of true rates."""
    image, good = usable(path)
    ranges = [good & (truth >= low) & (truth < high) for low, high in pairwise(RATES)]
    return np.array(
        [np.sum((image["SCI"] - truth)[pixels]) / np.sum(truth[pixels]) for pixels in ranges]
    )


class TestNiriss:
    def test_rate(self, niriss):
        assert_same_image(*niriss.pair(f"{niriss.names[0]}_rate.fits"), RATE)

    def test_calibrated(self, niriss):
        product = niriss.pair(f"{niriss.names[0]}_cal.fits")
        assert_same_image(*product, IMAGE)
        assert_same_wcs(*product)

    def test_catalogue(self, niriss):
        ours, theirs = (
            catalogue(path) for path in niriss.pair("jw90041-o001_t001_niriss_f200w_cat.ecsv")
        )
        assert len(ours) == len(theirs) > 20
        assert far_sources(ours, theirs, 1e-3) == {}


def test_nircam_time_series(tmp_path):
    """120 integrations: jumps are found by sigma clipping among them."""
    series = processed("nircam_tso_sub64p", "detector1", tmp_path)
    assert_same_image(*series.pair(f"{series.names[0]}_rateints.fits"), RATE)


class TestMiri:
    def test_calibrated(self, tmp_path):
        """Their rate through our stage 2."""
        folder = DATA / "observations" / "miri_sub256"
        if not folder.exists():
            pytest.skip(f"{folder} is not there")
        (rate,) = (folder / "peer").glob("*_rate.fits")
        (outcome,) = run("image2", rate, tmp_path, refs=[folder / "refs"])
        assert not outcome.error
        product = rate.name.replace("_rate", "_cal")
        assert_same_image(tmp_path / product, folder / "peer" / product, IMAGE)
        assert_same_wcs(tmp_path / product, folder / "peer" / product)
        assert (
            keywords(tmp_path / product)["PHOTMJSR"]
            == keywords(folder / "peer" / product)["PHOTMJSR"]
        )

    def test_from_raw_ramps(self, tmp_path):
        miri = processed("miri_sub256", "detector1,image2", tmp_path)
        assert_same_image(*miri.pair(f"{miri.names[0]}_rate.fits"), RATE)
        assert_same_image(*miri.pair(f"{miri.names[0]}_cal.fits"), IMAGE)
