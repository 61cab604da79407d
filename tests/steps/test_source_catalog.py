import os
from io import BytesIO
from pathlib import Path

import asdf
import numpy as np
import pytest
import xarray as xr
from astropy.io import fits
from astropy.table import QTable, Table
from image3_examples import camera, exposure, picture, pointing, sky_of_stars

from jwpipe.exposure import ExposureError
from jwpipe.refs import RefFile
from jwpipe.stage3.catalog_columns import descriptions
from jwpipe.stage3.source_catalog import SourceCatalogParams, make_catalog

DATA = Path(os.environ.get("JWPIPE_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
OBSERVATION = DATA / "observations" / "nircam_sub400p"
AREA = 2.2e-14
APERTURES = {30: (1.0, 4.0), 50: (1.5, 2.0), 70: (2.0, 1.5), 80: (2.5, 1.25)}


@pytest.fixture(scope="module")
def references(tmp_path_factory):
    """Aperture corrections and a Vega offset of 1.5 for NIRCam F200W."""
    folder = tmp_path_factory.mktemp("refs")
    kinds = [("filter", "S12"), ("pupil", "S15")] + [
        (name, "f4") for name in ("eefraction", "radius", "apcorr", "skyin", "skyout")
    ]
    rows = np.array(
        [
            ("F200W", "CLEAR", energy / 100, radius, correction, 8.0, 12.0)
            for energy, (radius, correction) in APERTURES.items()
        ],
        dtype=kinds,
    )
    hdus = [fits.PrimaryHDU(), fits.BinTableHDU(rows, name="APCORR")]
    fits.HDUList(hdus).writeto(folder / "apcorr.fits")
    offsets = Table({"filter": ["F200W"], "pupil": ["CLEAR"], "abvega_offset": np.float32([1.5])})
    asdf.AsdfFile({"abvega_offset": offsets}).write_to(folder / "abvegaoffset.asdf")
    return {
        "apcorr": RefFile(str(folder / "apcorr.fits"), "apcorr"),
        "abvegaoffset": RefFile(str(folder / "abvegaoffset.asdf"), "abvegaoffset"),
    }


def mosaic_of(image, **keywords):
    found = exposure(image, pointing())
    found = found.drop_vars("dq").assign(wht=(("y", "x"), np.ones(image.shape, np.float32)))
    names = {"INSTRUME": "NIRCAM", "FILTER": "F200W", "PUPIL": "CLEAR", "PXSCLRT": 1.0}
    sci = {**found.attrs["sci"], "PIXAR_SR": AREA}
    sky = {key: keywords.pop(key) for key in list(keywords) if key in ("BUNIT", "PIXAR_SR")}
    return found.assign_attrs(
        primary={**names, **keywords}, sci={**sci, **sky}, wcs=found.attrs["wcs"]
    )


STARS = sky_of_stars(12, seed=3, reach=2.6)


@pytest.fixture(scope="module")
def mosaic():
    return mosaic_of(picture(STARS, pointing(), level=0.5, noise=0.02))


def settings(**changes):
    return SourceCatalogParams(**{"npixels": 9, "bkg_boxsize": 100} | changes)


def matched(table, stars=STARS):
    """The stars, apart by more than ten pixels from all others, and their rows."""
    x, y = camera(pointing()).invert(stars[0], stars[1], with_bounding_box=False)
    apart = np.hypot(x[:, None] - x, y[:, None] - y) + np.eye(len(x)) * 1e3
    lonely = np.flatnonzero(apart.min(axis=1) > 12)
    distance = np.hypot(x[lonely, None] - table["xcentroid"], y[lonely, None] - table["ycentroid"])
    assert distance.min(axis=1).max() < 0.3
    return lonely, distance.argmin(axis=1)


def test_fluxes_magnitudes_and_positions_of_stars(mosaic, references):
    found = make_catalog(mosaic, references, settings())
    table = found.table
    stars, rows = matched(table)
    jansky = STARS[2][stars] * AREA * 1e6
    # A Gaussian has 1 - exp(-r^2 / 2 sigma^2) of its flux within r; taken at the pixels' centres a little less.
    sigma = 2.2 / 2.355
    inside = 1 - np.exp(-(2.0**2) / (2 * sigma**2))
    np.testing.assert_allclose(
        table["aper70_flux"][rows].to_value("Jy"), jansky * inside, rtol=0.04
    )
    total = table["aper_total_flux"]
    np.testing.assert_allclose(total, 1.5 * table["aper70_flux"])
    np.testing.assert_allclose(
        table["aper_total_abmag"], -2.5 * np.log10(total.to_value("Jy")) + 8.9
    )
    np.testing.assert_allclose(table["aper_total_vegamag"], table["aper_total_abmag"] - 1.5)
    np.testing.assert_allclose(table["aper_bkg_flux"].to_value("Jy"), 0.5 * AREA * 1e6, rtol=0.02)
    ra = table["sky_centroid"].ra.deg[rows]
    np.testing.assert_allclose(ra, STARS[0][stars], atol=0.3 * 0.03 / 3600 / 0.35)


def test_the_map_of_segments_goes_with_the_labels(mosaic, references):
    found = make_catalog(mosaic, references, settings())
    assert found.segments.dtype == np.uint32
    assert found.segments.shape == mosaic["sci"].shape
    labels, areas = np.unique(found.segments[found.segments > 0], return_counts=True)
    np.testing.assert_array_equal(labels, found.table["label"])
    np.testing.assert_array_equal(areas, found.table["isophotal_area"].value)


def test_stars_are_points_and_a_galaxy_is_extended(references):
    image = picture(STARS, pointing(), level=0.5)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    image += 30 * np.exp(-(((x - 40) / 7) ** 2 + ((y - 150) / 4) ** 2) / 2)
    mosaic = mosaic_of(image)
    wcs = mosaic.attrs["wcs"]
    limits = settings(ci1_star_threshold=1.9, ci2_star_threshold=1.5)
    table = make_catalog(mosaic, references, limits).table
    galaxy = np.argmin(np.hypot(table["xcentroid"] - 40, table["ycentroid"] - 150))
    assert table["is_extended"][galaxy]
    _, rows = matched(table)
    assert not table["is_extended"][rows].any()
    assert table["semimajor_sigma"][galaxy].value == pytest.approx(7, rel=0.1)
    assert float(table["ellipticity"][galaxy]) == pytest.approx(1 - 4 / 7, abs=0.06)
    # The long axis lies along x, whose position angle the WCS knows.
    along = wcs.pixel_to_world(40, 150).position_angle(wcs.pixel_to_world(50, 150)).deg
    for column, angle in {"orientation": 0.0, "sky_orientation": along}.items():
        turned = (table[column][galaxy].value - angle + 90) % 180 - 90
        assert turned == pytest.approx(0, abs=2)


def test_neighbours_and_concentration_are_consistent(mosaic, references):
    table = make_catalog(mosaic, references, settings()).table
    nearest = {label: k for k, label in enumerate(table["label"])}
    for row in table:
        other = table[nearest[row["nn_label"]]]
        distance = np.hypot(
            row["xcentroid"] - other["xcentroid"], row["ycentroid"] - other["ycentroid"]
        )
        assert row["nn_dist"].value == pytest.approx(distance)
    np.testing.assert_allclose(table["CI_70_30"], table["CI_50_30"] * table["CI_70_50"])


def test_columns_are_in_order_with_descriptions_and_survive_ecsv(mosaic, references, tmp_path):
    table = make_catalog(
        mosaic, references, settings(aperture_ee1=50, aperture_ee2=70, aperture_ee3=80)
    ).table
    expected = descriptions((50, 70, 80))
    assert table.colnames == list(expected)
    assert all(table[name].info.description == text for name, text in expected.items())
    table.write(tmp_path / "a_cat.ecsv")
    again = QTable.read(tmp_path / "a_cat.ecsv")
    assert again["aper80_flux"].unit == "Jy"
    assert again["xcentroid"].info.format == ".4f"
    np.testing.assert_array_equal(again.meta["aperture_params"]["aperture_ee"], [50, 70, 80])
    assert again.meta["abvega_offset"] == 1.5
    assert again.meta["version"]["jwpipe"]


@pytest.mark.parametrize("finder", ["iraf", "dao"])
def test_other_finders_leave_the_isophotes_empty(mosaic, references, finder):
    found = make_catalog(
        mosaic, references, settings(starfinder=finder, roundlo=-1, roundhi=1, sharplo=0)
    )
    assert found.segments is None
    assert len(found.table) > 5
    assert np.isnan(found.table["semimajor_sigma"]).all()
    assert np.isfinite(found.table["isophotal_flux"].value).all()
    assert found.table.colnames == list(descriptions((30, 50, 70)))


def test_lazy_mosaics_give_the_same_and_are_not_changed(mosaic, references):
    eager = make_catalog(mosaic, references, settings()).table
    before = mosaic["sci"].values.copy()
    lazy = make_catalog(mosaic.chunk({"y": 64, "x": 100}), references, settings()).table
    np.testing.assert_array_equal(lazy["aper_total_flux"], eager["aper_total_flux"])
    np.testing.assert_array_equal(mosaic["sci"], before)


def test_apertures_follow_the_pixel_scale(mosaic, references):
    fine = mosaic.assign_attrs(primary={**mosaic.attrs["primary"], "PXSCLRT": 0.5})
    table = make_catalog(fine, references, settings()).table
    np.testing.assert_allclose(table.meta["aperture_params"]["aperture_radii"], [2, 3, 4])
    assert table.meta["aperture_params"]["bkg_aperture_outer_radius"] == 24
    primary = {k: v for k, v in mosaic.attrs["primary"].items() if k != "PXSCLRT"}
    found = make_catalog(mosaic.assign_attrs(primary=primary), references, settings())
    assert any("PXSCLRT" in warning for warning in found.warnings)


def test_without_references_apertures_are_fixed_and_vega_is_ab(mosaic):
    found = make_catalog(mosaic, {"apcorr": None, "abvegaoffset": None}, settings())
    assert len(found.warnings) == 2
    np.testing.assert_array_equal(found.table["aper3_vegamag"], found.table["aper3_abmag"])


@pytest.mark.parametrize("value", [np.nan, 0.0, 1.0])
@pytest.mark.parametrize("finder", ["segmentation", "iraf", "dao"])
def test_a_mosaic_of_nothing_gives_a_reason(references, value, finder):
    image = np.full((60, 60), value, np.float32)
    found = make_catalog(mosaic_of(image), references, settings(starfinder=finder))
    assert found.table is None
    assert found.segments is None
    assert found.reason.startswith("no sources: ")


def test_a_mosaic_without_coverage_gives_a_reason(mosaic, references):
    bare = mosaic.assign(wht=mosaic["wht"] * 0)
    assert (
        make_catalog(bare, references, settings()).reason == "no sources: no usable pixel is finite"
    )


def test_one_source_has_no_neighbour(references):
    star = tuple(values[:1] for values in STARS)
    table = make_catalog(
        mosaic_of(picture(star, pointing(), level=0.5)), references, settings(snr_threshold=20)
    ).table
    assert table["nn_label"].tolist() == [-1]
    assert np.isnan(table["nn_dist"][0])


def test_missing_rows_and_units_are_named(mosaic, references):
    other = mosaic.assign_attrs(primary={**mosaic.attrs["primary"], "FILTER": "F090W"})
    assert "no row for FILTER=F090W" in make_catalog(other, references, settings()).reason
    found = make_catalog(mosaic, references, settings(aperture_ee1=25))
    assert "0 rows for 25 % encircled energy" in found.reason
    strange = mosaic.assign_attrs(primary={**mosaic.attrs["primary"], "INSTRUME": "NIRSPEC"})
    assert "INSTRUME is NIRSPEC" in make_catalog(strange, references, settings()).reason
    counts = mosaic.assign_attrs(sci={**mosaic.attrs["sci"], "BUNIT": "DN/s"})
    with pytest.raises(ExposureError, match="expected MJy/sr"):
        make_catalog(counts, references, settings())
    no_area = mosaic.assign_attrs(sci={**mosaic.attrs["sci"], "PIXAR_SR": None})
    assert "PIXAR_SR is missing" in make_catalog(no_area, references, settings()).reason


def test_encircled_energies_must_increase():
    with pytest.raises(ValueError, match="expected increasing values"):
        SourceCatalogParams(aperture_ee1=70)


@pytest.mark.skipif(not OBSERVATION.is_dir(), reason=f"no test data in {DATA}")
def test_the_catalogue_of_a_mosaic_is_that_of_jwst_3():
    product = OBSERVATION / "peer" / "jw90001-o001_t001_nircam_f200w_i2d.fits"
    with fits.open(product) as hdus:
        variables = {
            n: (("y", "x"), hdus[n].data.astype(np.float32)) for n in ("SCI", "ERR", "WHT")
        }
        headers = [{key: value for key, value in hdu.header.items() if key} for hdu in hdus[:2]]
        with asdf.open(BytesIO(hdus["ASDF"].data.tobytes())) as tree:
            wcs = tree["meta"]["wcs"]
    mosaic = xr.Dataset(
        {name.lower(): value for name, value in variables.items()},
        attrs={"primary": headers[0], "sci": headers[1], "wcs": wcs, "filename": product.name},
    )
    references = {
        kind: RefFile(str(next(OBSERVATION.glob(f"refs/*_{kind}.*"))), kind)
        for kind in ("apcorr", "abvegaoffset")
    }
    found = make_catalog(mosaic, references, SourceCatalogParams())
    expected = QTable.read(product.with_name(product.name.replace("_i2d.fits", "_cat.ecsv")))
    assert found.table.colnames == expected.colnames
    for name in expected.colnames:
        ours, theirs = found.table[name], expected[name]
        assert ours.info.description == theirs.info.description
        assert ours.info.format == theirs.info.format
        if hasattr(theirs, "separation"):
            assert ours.separation(theirs).max().to_value("mas") < 1e-4
            continue
        assert ours.unit == theirs.unit if hasattr(theirs, "unit") else True
        a, b = (np.asarray(getattr(v, "value", v), float) for v in (ours, theirs))
        np.testing.assert_allclose(a, b, rtol=1e-9, err_msg=name)
