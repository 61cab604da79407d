import pickle
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib import import_module
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlparse

import dask.array as da
import numpy as np
import pytest
from astropy.table import QTable, Table
from image3_examples import DEC, RA, camera, exposure, offsets_mas, picture, pointing, sky_of_stars

from jwpipe.exposure import ExposureError
from jwpipe.stage3.alignment import align
from jwpipe.stage3.astrometry import (
    CatalogError,
    absolute_catalog,
    enclosing_circle,
    listed_catalogs,
    named_positions,
)
from jwpipe.stage3.groups import group_id
from jwpipe.stage3.tweakreg import (
    TweakregParams,
    align_exposures,
    as_pointed,
    find_sources,
    source_catalogs,
)

SMALL: dict[str, float] = {
    "searchrad": 0.5,
    "tolerance": 0.1,
    "separation": 0.2,
    "minobj": 5,
    "bkg_boxsize": 100,
    "roundhi": 0.6,
}
ERRORS = [(0.0, 0.0, 0.0), (0.03, -0.02, 0.0), (-0.05, 0.01, 0.02)]
DITHERS = [(0.0, 0.0), (0.6, 0.3), (-0.4, 0.7)]


@pytest.fixture(scope="module")
def stars():
    return sky_of_stars()


@pytest.fixture(scope="module")
def dithers(stars):
    """Three exposures whose headers are wrong by some ten mas, and their true WCS."""
    exposures, truth = [], []
    for number, ((east, north), (de, dn, droll)) in enumerate(zip(DITHERS, ERRORS, strict=True)):
        where = pointing(east, north)
        believed = pointing(east + de, north + dn, where.roll + droll)
        image = picture(stars, where, seed=number)
        exposures.append(exposure(image, where, number + 1, believed=believed))
        truth.append(camera(where))
    return exposures, truth


def params(**changes):
    return TweakregParams(**SMALL | changes)


def test_dithers_are_aligned_with_the_first_and_headers_follow(dithers):
    exposures, truth = dithers
    before = [offsets_mas(e.attrs["wcs"], t) for e, t in zip(exposures, truth, strict=True)]
    headers = pickle.dumps([e.attrs["sci"] for e in exposures])
    aligned, report = align_exposures(exposures, params())
    assert report.status == "COMPLETE"
    assert report.aligned == (False, True, True)
    assert report.warnings == ()
    # The reference keeps its own error (none here); the others come within a few mas of the truth.
    after = [offsets_mas(e.attrs["wcs"], t) for e, t in zip(aligned, truth, strict=True)]
    assert before[1] > 30
    assert max(after) < 3
    assert "v2v3corr" in aligned[1].attrs["wcs"].available_frames
    assert aligned[1].attrs["sci"]["S_REGION"] != exposures[1].attrs["sci"]["S_REGION"]
    # The keywords place the reference pixel where the new WCS does.
    sci = aligned[1].attrs["sci"]
    ra, dec = aligned[1].attrs["wcs"](sci["CRPIX1"] - 1, sci["CRPIX2"] - 1)
    assert (sci["CRVAL1"], sci["CRVAL2"]) == pytest.approx((ra, dec), abs=1e-9)
    # Nothing that was given has changed.
    assert pickle.dumps([e.attrs["sci"] for e in exposures]) == headers
    assert "v2v3corr" not in exposures[1].attrs["wcs"].available_frames


def test_the_report_tells_shift_rotation_rms_and_matches(dithers):
    exposures, _ = dithers
    _, report = align_exposures(exposures, params())
    reference, second, third = report.relative
    assert reference.status == "reference"
    assert (second.status, second.names) == ("aligned", ("jw01234001001_02101_00002_nrcb1_cal",))
    assert np.hypot(*second.shift) == pytest.approx(np.hypot(0.03, 0.02), abs=0.003)
    assert abs(third.rotation) == pytest.approx(0.02, abs=0.01)
    assert second.matches >= second.fitted >= 5
    assert second.rms < 0.005


def test_lazy_exposures_stay_lazy_and_align_alike(dithers):
    exposures, _ = dithers
    lazy = [e.chunk({"y": 64}) for e in exposures]
    eager, _ = align_exposures(exposures, params())
    aligned, _ = align_exposures(lazy, params())
    assert isinstance(aligned[1]["sci"].data, da.Array)
    assert offsets_mas(aligned[2].attrs["wcs"], eager[2].attrs["wcs"]) == 0


def test_an_absolute_catalogue_in_a_file_corrects_the_first_too(dithers, stars, tmp_path):
    exposures, truth = dithers
    shifted = [
        exposure(e["sci"].values, w, n + 1, believed=pointing(0.1 + w_, 0.05 + v_))
        for n, (e, w, (w_, v_)) in enumerate(
            zip(exposures, [pointing(*d) for d in DITHERS], DITHERS, strict=True)
        )
    ]
    for name, columns in {
        "ref.ecsv": ("ra", "Dec"),
        "ref.csv": ("RA", "DEC"),
        "ref.fits": ("RA", "DEC"),
    }.items():
        Table([stars[0], stars[1]], names=columns).write(tmp_path / name)
        settings = params(
            abs_refcat=str(tmp_path / name),
            abs_searchrad=0.5,
            abs_tolerance=0.1,
            abs_separation=0.2,
        )
        aligned, report = align_exposures(shifted, settings)
        assert report.aligned == (True, True, True)
        assert aligned[0].attrs["wcs"].name == f"FIT-LVL3-{tmp_path / name}"
        after = [offsets_mas(e.attrs["wcs"], t) for e, t in zip(aligned, truth, strict=True)]
        assert max(after) < 3


def test_one_exposure_has_nothing_to_align_with_and_no_pixel_is_read(dithers):
    def refuse(block):
        raise AssertionError("read")

    lazy = dithers[0][0].chunk()
    lazy["sci"] = lazy["sci"].copy(data=lazy["sci"].data.map_blocks(refuse, dtype=np.float32))
    aligned, report = align_exposures([lazy], params())
    assert aligned[0] is lazy
    assert report.status == "FAILED"
    assert "two groups" in report.reason


def test_exposures_of_a_group_move_together(dithers):
    exposures, _ = dithers
    together = [e.assign_attrs(group_id=name) for e, name in zip(exposures, "abb", strict=True)]
    _, report = align_exposures(together, params())
    assert [fit.group for fit in report.relative] == ["a", "b"]
    assert len(report.relative[1].names) == 2


def test_group_from_identifiers_or_attribute_or_place_in_the_list(dithers):
    first = dithers[0][0]
    assert group_id(first) == "jw01234001001_02101_00001"
    assert group_id(first.assign_attrs(group_id="mine")) == "mine"
    assert group_id(first.assign_attrs(primary={}), 2) == "exposure0003"


def test_too_few_matches_leave_the_pointing_and_say_so(dithers):
    exposures, _ = dithers
    aligned, report = align_exposures(exposures, params(minobj=500))
    assert report.aligned == (False, False, False)
    assert any("not enough matches" in warning for warning in report.warnings)
    assert aligned[1].attrs["wcs"] is exposures[1].attrs["wcs"]


@pytest.mark.parametrize("value", [np.nan, 1.0])
def test_exposures_without_sources_are_not_aligned_and_say_so(dithers, value):
    empty = [e.assign(sci=e["sci"] * 0 + np.float32(value)) for e in dithers[0]]
    _, report = align_exposures(empty, params())
    assert report.status == "FAILED"
    assert "have any sources" in report.reason


def test_one_empty_exposure_among_others_does_not_stop_them(dithers):
    exposures = list(dithers[0])
    exposures[1] = exposures[1].assign(sci=exposures[1]["sci"] * np.float32(np.nan))
    _, report = align_exposures(exposures, params())
    assert report.aligned == (False, False, True)
    assert any("empty source catalog" in warning for warning in report.warnings)


def test_exposures_apart_are_not_aligned(stars):
    far = pointing(200.0, 0.0)
    apart = [exposure(picture(stars, pointing()), pointing(), 1)]
    apart.append(exposure(picture(sky_of_stars(seed=5), pointing()), far, 2))
    _, report = align_exposures(apart, params())
    assert report.aligned == (False, False)


def test_separation_must_exceed_tolerance(dithers):
    _, report = align_exposures(dithers[0], params(separation=0.1))
    assert report.status == "FAILED"
    assert "square root of two" in report.reason


def test_a_large_correction_is_refused(dithers, monkeypatch):
    def false_match(correctors, *_, **__):
        correctors[1].set_correction(shift=[10.0, 0.0])
        correctors[1].meta["fit_info"] = {"status": "SUCCESS"}

    monkeypatch.setattr("jwpipe.stage3.alignment._solve", false_match)
    aligned, report = align_exposures(dithers[0], params())
    assert report.status == "FAILED"
    # 2 (0.5 + 0.1) arcsec.
    assert "would move by 10.00 arcsec" in report.reason
    assert "= 1.20" in report.reason
    assert aligned[1].attrs["wcs"] is dithers[0][1].attrs["wcs"]


def test_catalogues_that_break_the_geometry_are_a_reason_not_a_crash(dithers):
    exposures, _ = dithers
    catalogs = source_catalogs(exposures, params())
    for table in catalogs:
        table["x"][:], table["y"][:] = 5.0, 5.0
    pointed = [as_pointed(e, str(k)) for k, e in enumerate(exposures)]
    report = align(catalogs, pointed, params())
    assert not any(report.aligned)
    assert report.reason or report.warnings


def crowded(number, settings, seed=1):
    """Catalogues of a crowded field whose pointing is right, so that any correction is an error."""
    rng = np.random.default_rng(seed)
    where = [pointing(*d) for d in DITHERS[:2]]
    blank = np.zeros((400, 400), np.float32)
    pointed = [as_pointed(exposure(blank, w, k + 1), str(k)) for k, w in enumerate(where)]
    ra, dec, flux = sky_of_stars(number, seed, 8.0)
    tables = []
    for item in pointed:
        x, y = item.wcs.invert(ra, dec, with_bounding_box=False)
        seen = (x > 0) & (x < 399) & (y > 0) & (y < 399) & (rng.random(number) < 0.9)
        noise = rng.normal(0, 0.05, (2, seen.sum()))
        order = np.argsort(flux[seen])[::-1][:200]
        tables.append(
            Table([(x[seen] + noise[0])[order], (y[seen] + noise[1])[order]], names=("x", "y"))
        )
    report = align(tables, pointed, settings)
    return report, offsets_mas(report.wcs[1], pointed[1].wcs, (400, 400))


def test_false_matches_in_a_crowded_field_are_reported_and_the_remedy_works():
    report, error = crowded(1500, TweakregParams())
    assert report.aligned == (False, True)
    # As in the JWST calibration pipeline the fit is applied although it is wrong; but not in silence.
    assert error > 10
    (warning,) = report.warnings
    assert "the field is crowded" in warning
    advice = warning.split("try ")[1]
    tolerance, separation = (float(part.split("=")[1]) for part in advice.split(", "))
    mended, error = crowded(1500, TweakregParams(tolerance=tolerance, separation=separation))
    assert mended.warnings == ()
    assert error < 2


def test_sparse_fields_are_not_doubted():
    report, error = crowded(60, TweakregParams(tolerance=0.2, separation=0.3))
    assert report.warnings == ()
    assert error < 3


def test_a_catalogue_lists_the_brightest_first_inside_the_bounding_box(dithers):
    first = dithers[0][0]
    table = find_sources(first, params(brightest=10))
    assert table.colnames == ["id", "x", "y", "flux"]
    assert len(table) == 10
    assert np.all(np.diff(table["flux"]) <= 0)
    wcs = camera(pointing())
    wcs.bounding_box = ((-0.5, 99.5), (-0.5, 199.5))
    assert find_sources(first.assign_attrs(wcs=wcs), params())["x"].max() < 99.5


def test_flagged_pixels_are_no_sources(dithers):
    first = dithers[0][0]
    everything = find_sources(first, params())
    flags = np.zeros(first["dq"].shape, np.uint32)
    x, y = round(everything["x"][0]), round(everything["y"][0])
    flags[y - 4 : y + 5, x - 4 : x + 5] = 1
    rest = find_sources(first.assign(dq=(("y", "x"), flags)), params())
    assert np.hypot(rest["x"] - x, rest["y"] - y).min() > 3


@pytest.mark.parametrize("suffix", ["ecsv", "fits"])
def test_catalogues_are_saved_and_can_be_given_back(dithers, tmp_path, suffix):
    exposures, _ = dithers
    settings = params(save_catalogs=True, catalog_format=suffix)
    aligned, _ = align_exposures(exposures, settings, tmp_path)
    names = [e.attrs["primary"]["TCATFILE"] for e in aligned]
    assert names[0] == f"jw01234001001_02101_00001_nrcb1_cal_cat.{suffix}"
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(names)
    lines = [f"{e.attrs['filename']} {n}" for e, n in zip(exposures, names, strict=True)]
    listing = tmp_path / "list.txt"
    listing.write_text("# exposure catalogue\n\n" + "\n".join(lines))
    blind = [e.assign(sci=e["sci"] * np.float32(np.nan)) for e in exposures]
    again, report = align_exposures(blind, params(use_custom_catalogs=True, catfile=str(listing)))
    assert report.status == "COMPLETE"
    assert offsets_mas(again[2].attrs["wcs"], aligned[2].attrs["wcs"]) < 1e-3


def test_where_custom_catalogues_are_looked_for(dithers, tmp_path):
    first = dithers[0][0]
    path = tmp_path / "mine.ecsv"
    Table({"xcentroid": [10.0, 500.0], "y_centroid": [20.0, 20.0]}).write(path)
    settings = params(use_custom_catalogs=True)
    by_association = source_catalogs([first.assign_attrs(tweakreg_catalog=str(path))], settings)[0]
    by_keyword = source_catalogs([first.assign_attrs(primary={"TCATFILE": str(path)})], settings)[0]
    # The source beyond the frame is left out.
    assert by_association["x"].tolist() == by_keyword["x"].tolist() == [10.0]
    # An association that names none, and a list without entries, leave it to the finder.
    found = source_catalogs([first.assign_attrs(tweakreg_catalog=None)], settings)[0]
    empty = tmp_path / "empty.txt"
    empty.write_text("# nothing\n")
    listed = source_catalogs([first], params(use_custom_catalogs=True, catfile=str(empty)))[0]
    assert len(found) == len(listed) > 20


def test_bad_catalogues_are_named(dithers, tmp_path):
    first = dithers[0][0]
    settings = params(use_custom_catalogs=True)
    with pytest.raises(CatalogError, match=r"nothing\.ecsv, which does not exist"):
        source_catalogs([first.assign_attrs(tweakreg_catalog="nothing.ecsv")], settings)
    Table({"a": [1.0]}).write(tmp_path / "a.ecsv")
    with pytest.raises(CatalogError, match="found columns a, expected one of x, xcentroid"):
        source_catalogs([first.assign_attrs(tweakreg_catalog=str(tmp_path / "a.ecsv"))], settings)
    (tmp_path / "junk.fits").write_text("junk")
    with pytest.raises(CatalogError, match="not a table that can be read"):
        source_catalogs(
            [first.assign_attrs(tweakreg_catalog=str(tmp_path / "junk.fits"))], settings
        )
    (tmp_path / "list.txt").write_text("a b c\n")
    with pytest.raises(CatalogError, match="line 1 has 3 columns"):
        listed_catalogs(tmp_path / "list.txt")
    with pytest.raises(CatalogError, match="catfile names"):
        listed_catalogs(tmp_path / "absent.txt")


def test_positions_of_absolute_catalogues(tmp_path):
    from astropy.coordinates import SkyCoord

    sky = QTable({"sky_centroid": SkyCoord([1.0, 2.0], [3.0, 4.0], unit="deg")})
    assert named_positions(sky, "x")["DEC"].tolist() == [3.0, 4.0]
    with pytest.raises(CatalogError, match="expected RA and DEC"):
        named_positions(Table({"a": [1]}), "x")
    with pytest.raises(CatalogError, match="differ only in case"):
        named_positions(Table({"RA": [1], "ra": [1], "DEC": [1]}), "x")
    with pytest.raises(CatalogError, match="neither an existing file nor one of GAIAREFCAT"):
        absolute_catalog("nowhere.ecsv", [np.zeros((4, 2))], None)


def test_the_circle_around_footprints():
    ra, dec, radius = enclosing_circle(
        np.array([[359.9, 0.1], [0.1, 0.1], [0.1, -0.1], [359.9, -0.1]])
    )
    assert min(ra, 360 - ra) == pytest.approx(0, abs=1e-9)
    assert dec == pytest.approx(0, abs=1e-9)
    assert radius == pytest.approx(np.hypot(0.1, 0.1), rel=1e-5)


@pytest.fixture
def service(monkeypatch, stars):
    """A catalogue service that knows the stars, and the queries that it got."""
    queries = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            queries.append(parse_qs(urlparse(self.path).query))
            rows = [
                f"{r},{d},{20 - k},{k},2016.0,1.0,{'1.0' if k else ''}"
                for k, (r, d) in enumerate(zip(*stars[:2], strict=True))
            ]
            self.send_response(200)
            self.end_headers()
            self.wfile.write(
                "\n".join(["#comment", "ra,dec,mag,objID,epoch,pmra,pmdec", *rows]).encode()
            )

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Answer)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("ASTROMETRIC_CATALOG_URL", f"http://127.0.0.1:{server.server_port}")
    yield queries
    server.shutdown()
    server.server_close()


def test_gaia_comes_from_the_service(dithers, service, tmp_path):
    exposures, truth = dithers
    settings = params(
        abs_refcat="gaiadr3",
        abs_searchrad=0.5,
        abs_tolerance=0.1,
        abs_separation=0.2,
        save_abs_catalog=True,
    )
    aligned, report = align_exposures(exposures, settings, tmp_path)
    assert report.aligned == (True, True, True)
    assert max(offsets_mas(e.attrs["wcs"], t) for e, t in zip(aligned, truth, strict=True)) < 3
    (query,) = service
    assert query["CAT"] == ["GAIADR3"]
    assert float(query["RA"][0]) == pytest.approx(RA, abs=1e-3)
    assert float(query["DEC"][0]) == pytest.approx(DEC, abs=1e-3)
    assert 4 / 3600 < float(query["SR"][0]) < 7 / 3600
    assert float(query["EPOCH"][0]) == pytest.approx(2026 + 59 / 365, abs=1e-3)
    saved = Table.read(tmp_path / "fit_gaiadr3_ref.ecsv")
    # The star without proper motion is left out; faint ones come first.
    assert len(saved) == 59
    assert saved["mag"][0] > saved["mag"][-1]


def test_without_network_the_error_names_the_remedy(dithers, monkeypatch):
    monkeypatch.setenv("ASTROMETRIC_CATALOG_URL", "http://127.0.0.1:9")
    with pytest.raises(CatalogError, match="save the catalogue as a file"):
        align_exposures(dithers[0], params(abs_refcat="GAIADR3"))


def test_a_short_absolute_catalogue_is_refused(dithers, tmp_path):
    Table({"RA": [RA], "DEC": [DEC]}).write(tmp_path / "one.csv")
    _, report = align_exposures(dithers[0], params(abs_refcat=str(tmp_path / "one.csv")))
    assert report.status == "FAILED"
    assert "has 1 sources" in report.reason


def test_no_exposures_and_no_wcs_are_errors(dithers):
    with pytest.raises(ExposureError, match="no exposures"):
        align_exposures([], params())
    first = dithers[0][0]
    with pytest.raises(ExposureError, match="has no WCS; run assign_wcs"):
        align_exposures([first.assign_attrs(wcs=None)], params())


def test_a_wcs_without_the_telescope_is_named(dithers):
    from gwcs import WCS

    exposures = list(dithers[0])
    wcs = exposures[1].attrs["wcs"]
    plain = WCS([("detector", wcs.forward_transform), (wcs.output_frame, None)])
    plain.bounding_box = wcs.bounding_box
    exposures[1] = exposures[1].assign_attrs(wcs=plain)
    with pytest.raises(
        ExposureError, match="00002_nrcb1_cal: tweakreg: its WCS cannot be corrected"
    ):
        align_exposures(exposures, params())


def test_a_sip_fit_that_fails_leaves_the_old_keywords_and_a_warning(dithers, monkeypatch):
    def fail(*_, **__):
        raise ValueError("no fit")

    # The package's name tweakreg is the step, not this module.
    monkeypatch.setattr(import_module("jwpipe.stage3.tweakreg"), "sip_keywords", fail)
    aligned, report = align_exposures(dithers[0], params())
    assert report.aligned[1]
    assert "CRVAL1" not in aligned[1].attrs["sci"]
    assert any("SIP keywords are not updated: no fit" in warning for warning in report.warnings)


def test_catalogues_are_written_whole_or_not_at_all(dithers, tmp_path):
    align_exposures(dithers[0], params(save_catalogs=True), tmp_path)
    assert not [path for path in Path(tmp_path).iterdir() if path.name.startswith(".")]
