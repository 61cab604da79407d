"""The comparison with the truth, on products made from the truth itself with known faults."""

import numpy as np
import pytest
import xarray as xr
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table

from jwpipe import simulate
from jwpipe.demo import Recovery, _best_view, table
from jwpipe.dq import Pixel
from jwpipe.simulate.detectors import DETECTORS, subarray
from jwpipe.simulate.geometry import Optics, aberrated, pointing_at, to_sky, to_v2v3
from jwpipe.simulate.instruments import FILTERS
from jwpipe.simulate.picture import draw
from jwpipe.simulate.recovery import alignment, rate_recovery, spread, star_recovery

REGION = subarray(DETECTORS["NRCB1"], "SUB160", 200)
OPTICS = Optics(DETECTORS["NRCB1"], FILTERS["F200W"])


class ExactWcs:
    """The sky of a simulated exposure by its true attitude, moved by ``east`` and ``north`` mas."""

    def __init__(self, truth: simulate.Truth, east: float = 0.0, north: float = 0.0) -> None:
        self.matrix, self.shift = truth.true, (east / 3.6e6, north / 3.6e6)
        self.reference = pointing_at(truth.commanded, *OPTICS.reference_point(REGION))
        self.scale = simulate.Instrument().velocity_aberration

    def __call__(self, x, y, with_bounding_box=True):
        v2, v3 = OPTICS.to_v2v3(x + REGION.x0, y + REGION.y0)
        ra, dec = to_sky(self.matrix, *aberrated(self.scale, self.reference, v2, v3))
        return ra + self.shift[0] / np.cos(np.radians(dec)), dec + self.shift[1]

    def invert(self, ra, dec, with_bounding_box=True):
        v2, v3 = to_v2v3(self.matrix, ra, dec)
        x, y = OPTICS.to_pixel(*aberrated(1 / self.scale, self.reference, v2, v3))
        return x - REGION.x0, y - REGION.y0


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return simulate.observation(
        tmp_path_factory.mktemp("field"),
        detectors=("NRCB1",),
        dithers=2,
        subarray="SUB160",
        size=200,
        ngroups=4,
        scene=simulate.Scene(star_density=0.6, separation=0.95, background=0.2),
        instrument=simulate.Instrument(cosmic_ray_rate=60.0),
    )


@pytest.fixture
def rates(made):
    return {name: rate_of(made.truth(name), seed) for seed, name in enumerate(made.names)}


@pytest.fixture
def mosaic(made):
    truth = made.truth(made.names[0])
    return xr.Dataset(
        {"sci": (("y", "x"), truth.rate)},
        attrs={"wcs": ExactWcs(truth), "sci": {"PIXAR_A2": 0.031**2}, "primary": {}},
    )


def rate_of(truth, seed):
    """A rate with unit pulls, its hits and their neighbours flagged."""
    error = np.full(truth.rate.shape, 0.05, np.float32)
    noise = np.random.default_rng(seed).standard_normal(truth.rate.shape)
    dq = np.zeros(truth.rate.shape, np.uint32)
    dq[truth.hits["y"], truth.hits["x"]] = Pixel.JUMP_DET
    planes = {"sci": truth.rate + error * noise, "err": error, "dq": dq}
    return xr.Dataset({name: (("y", "x"), plane) for name, plane in planes.items()})


def catalog_of(made, factor=1.0, east=0.0, north=0.0, keep=slice(None)):
    """The true sources as a catalogue, fluxes times ``factor`` and places moved by mas."""
    sources = made.sources[keep]
    ra = sources["ra"] + east / 3.6e6 / np.cos(np.radians(sources["dec"]))
    sky = SkyCoord(ra * u.deg, (sources["dec"] + north / 3.6e6) * u.deg)
    truth = made.truth(made.names[0])
    columns = {"sky_centroid": sky, "aper_total_flux": sources["flux_jy"] * factor}
    columns |= {"aper_total_flux_err": 0.01 * sources["flux_jy"]}
    columns |= {"xcentroid": truth.x[keep], "ycentroid": truth.y[keep]}
    return Table(columns | {"is_extended": ~sources["star"]})


def test_perfect_rates_are_found_perfect(made, rates):
    found = rate_recovery(made, rates)
    assert found.pull_median == pytest.approx(0.0, abs=0.02)
    assert found.pull_width == pytest.approx(1.0, abs=0.02)
    assert found.bright_bias == pytest.approx(0.0, abs=1e-3)
    assert (found.found, found.false) == (1.0, 0.0)
    assert found.hits > 20


def test_missed_and_false_flags_are_counted(made, rates):
    for name, rate in rates.items():
        dq = np.zeros(made.truth(name).rate.shape, np.uint32)
        dq[::10] = Pixel.JUMP_DET
        rates[name] = rate.assign(dq=(("y", "x"), dq))
    found = rate_recovery(made, rates)
    assert found.found < 0.4
    assert found.false == pytest.approx(0.1, abs=0.01)


def test_too_small_errors_and_biased_rates_show(made, rates):
    wrong = {
        name: rate.assign(sci=1.02 * rate["sci"], err=0.5 * rate["err"])
        for name, rate in rates.items()
    }
    found = rate_recovery(made, wrong)
    assert found.pull_width == pytest.approx(2.0, abs=0.1)
    assert found.bright_bias == pytest.approx(0.02, abs=2e-3)


def test_unusable_pixels_do_not_count(made, rates):
    for name, rate in rates.items():
        image, dq = rate["sci"].values.copy(), rate["dq"].values.copy()
        image[:50], dq[:50] = 1e6, Pixel.DO_NOT_USE
        image[50:60] = np.nan
        rates[name] = rate.assign(sci=(("y", "x"), image), dq=(("y", "x"), dq))
    found = rate_recovery(made, rates)
    assert found.pull_width == pytest.approx(1.0, abs=0.02)
    assert found.pixels < 2 * 200 * 150


def test_flux_bias_and_pointing_are_told_apart_from_scatter(made, mosaic):
    found = star_recovery(made, mosaic, catalog_of(made, factor=1.03, east=4.0, north=-2.0))
    assert found.bias == pytest.approx(0.03, abs=1e-6)
    assert found.pointing == pytest.approx([4.0, -2.0], abs=0.01)
    assert found.scatter_mas == pytest.approx(0.0, abs=0.01)
    assert found.completeness() == 1.0
    assert found.spurious == 0
    assert len(found.ratio) > 5


def test_missing_and_invented_sources_are_counted(made, mosaic):
    full = star_recovery(made, mosaic, catalog_of(made))
    stars = np.flatnonzero(made.sources["star"])
    dropped = star_recovery(made, mosaic, catalog_of(made, keep=stars[1::2]))
    assert full.completeness() == 1.0
    assert 0.2 < dropped.completeness() < 0.8
    moved = star_recovery(made, mosaic, catalog_of(made, north=5000.0))
    assert moved.spurious > 0.5 * moved.entries


def test_stars_off_the_mosaic_are_not_expected(made, mosaic):
    half = mosaic["sci"].values.copy()
    half[:, 100:] = np.nan
    all_of_it = star_recovery(made, mosaic, catalog_of(made))
    part = star_recovery(made, mosaic.assign(sci=(("y", "x"), half)), catalog_of(made))
    assert 0 < part.expected.size < all_of_it.expected.size


def test_alignment_is_what_the_exposures_are_off(made):
    moves = {made.names[0]: (3.0, 0.0), made.names[1]: (-1.0, 2.0)}
    exposures = {
        name: xr.Dataset(attrs={"wcs": ExactWcs(made.truth(name), *move)})
        for name, move in moves.items()
    }
    found = alignment(made, exposures)
    assert found == pytest.approx(np.array(list(moves.values())), abs=0.01)


def test_spread_is_the_standard_deviation_of_normal_numbers():
    assert spread(np.random.default_rng(0).normal(5.0, 2.0, 100_000)) == pytest.approx(2, rel=0.01)


def test_the_picture_is_drawn(made, mosaic, rates, tmp_path):
    from matplotlib.image import imread

    catalog = catalog_of(made)
    stars = star_recovery(made, mosaic, catalog)
    name = _best_view(made)
    counts = np.random.default_rng(0).integers(0, 100, (1, 2, 200, 200)).astype(np.uint16)
    raw = xr.Dataset({"sci": (("integration", "group", "y", "x"), counts)})
    path = draw(tmp_path / "a.png", made, mosaic, catalog, stars, raw, rates[name], name)
    image = imread(path)
    assert image.shape[1] == 1560
    assert image[..., :3].std() > 0.05


def test_the_picture_lies_down(made, mosaic, rates, tmp_path):
    from jwpipe.simulate.picture import _turn, _turned_place

    image = np.arange(12).reshape(4, 3)
    x, y = _turned_place(np.array([2]), np.array([1]), image.shape, turned=True)
    assert _turn(image, True)[y[0], x[0]] == image[1, 2]
    x, y = _turned_place(np.array([2]), np.array([1]), image.shape, turned=False)
    assert _turn(image, False)[y[0], x[0]] == image[1, 2]


def test_the_table_has_a_row_for_each_promise(made, mosaic, rates):
    stars = star_recovery(made, mosaic, catalog_of(made))
    rows = table(Recovery(rate_recovery(made, rates), stars, np.zeros((2, 2))))
    text = " ".join(str(cell) for cell in rows.columns[0].cells)
    for word in ("count rates", "cosmic rays", "alignment", "fluxes", "completeness"):
        assert word in text
