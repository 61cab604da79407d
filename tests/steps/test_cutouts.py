"""Where spectra lie on the detector: sources on a straight trace by hand, and the slits, slices and orders of modes."""

import nirspec_examples
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.table import QTable
from test_wcs_grism import COLUMNS, NIRISS, ROWS, built, nircam_tree, niriss_tree, still
from wcs_modes import modes

from jwpipe.exposure import ExposureError, Header
from jwpipe.stage2.assign_wcs import AssignWcsParams, tie_to_sky
from jwpipe.wcs import Choice, pixel_map
from jwpipe.wcs.catalogue import Catalogue
from jwpipe.wcs.cutouts import Ranges, Wanted, cutouts_of, slit_cutouts, slitless_cutouts

needs_references = pytest.mark.skipif(
    not nirspec_examples.REFERENCES.exists(), reason=f"{nirspec_examples.REFERENCES} is absent"
)
SHAPE = (2048, 2048)
TREE = {
    "wavelengthrange": [[1, "F444W", 3.0, 4.0], [1, "F444W", 1.0, 9.0], [2, "F444W", 3.0, 4.0]],
    "extract_orders": [["F444W", [1, 2]]],
}
RANGES = Ranges.read(TREE, "ranges.asdf")
ALL = Wanted(brightest=None, half_height=None)


def catalogue(wcs, *sources, **columns):
    """Sources (x, y, half width, half height, magnitude, extended) of the direct image."""
    x, y, across, along, magnitudes, extended = np.array(sources, float).T

    def sky(x, y):
        ra, dec, *_ = wcs.get_transform("detector", "world")(x, y, np.ones_like(x), np.ones_like(x))
        return SkyCoord(ra, dec, unit="deg")

    corners = {"ll": (-1, -1), "lr": (1, -1), "ul": (-1, 1), "ur": (1, 1)}
    table = {
        "label": np.arange(1, len(x) + 1),
        "sky_centroid": sky(x, y),
        "isophotal_abmag": magnitudes,
        "is_extended": extended.astype(bool),
    }
    for name, (left, low) in corners.items():
        table[f"sky_bbox_{name}"] = sky(x + left * across, y + low * along)
    return Catalogue.from_table(QTable(table | columns))


def found(wcs, keywords, sources, wanted=ALL, ranges=RANGES):
    values = {"DISPAXIS": 1} | keywords
    header = Header({"primary": {}, "sci": values, "filename": "one_rate.fits"})
    return slitless_cutouts(wcs, header, SHAPE, catalogue(wcs, *sources), ranges, wanted)


@pytest.fixture(scope="module")
def rows():
    return built(still(ROWS), nircam_tree())


SOURCE = (1200.0, 700.0, 5.0, 8.0, 22.0, 0)


def test_a_source_on_a_straight_trace(rows):
    """3 to 4 micron are -1500 + 600 to -1500 + 1600 pixels from the source; order 2 begins 2000 pixels from it."""
    (cutout,) = found(rows, ROWS, [SOURCE])
    assert (cutout.columns, cutout.rows) == (slice(295, 1306), slice(692, 709))
    assert (cutout.name, cutout.order, cutout.source_id) == ("1", 1, 1)
    assert (cutout.x, cutout.y) == (pytest.approx(1200), pytest.approx(700))
    assert cutout.waverange == (3.0, 4.0)
    assert not cutout.partial


def test_point_sources_have_the_height_asked_for_extended_ones_their_own(rows):
    wanted = Wanted(half_height=5)
    point, extended = found(rows, ROWS, [SOURCE, (*SOURCE[:4], 23.0, 1)], wanted)
    assert point.rows == slice(695, 706)
    assert extended.rows == slice(692, 709)
    assert point.columns == extended.columns == slice(295, 1306)


def test_spectra_along_columns():
    wcs = built(still(COLUMNS), nircam_tree("y"))
    (cutout,) = found(wcs, COLUMNS | {"DISPAXIS": 2}, [(700.0, 1200.0, 8.0, 5.0, 22.0, 0)])
    assert (cutout.rows, cutout.columns) == (slice(295, 1306), slice(692, 709))


def test_cut_at_the_edge_and_a_source_beside_the_detector(rows):
    """Order 2 of a source 300 pixels to the left: from -300 - 5 + 2000 on."""
    (cutout,) = found(rows, ROWS, [(-300.0, 700.0, 5.0, 8.0, 22.0, 0)])
    assert cutout.order == 2
    assert (cutout.columns, cutout.partial) == (slice(1695, 2048), True)
    (low,) = found(rows, ROWS, [(1200.0, 3.0, 5.0, 8.0, 22.0, 0)])
    assert (low.rows, low.partial) == (slice(0, 12), True)


@pytest.mark.parametrize("y", [-9.0, 2058.0])
def test_off_the_detector(rows, y):
    assert found(rows, ROWS, [(1200.0, y, 5.0, 8.0, 22.0, 0)]) == []


def test_brightest_first_and_only_those_wanted(rows):
    sources = [(*SOURCE[:4], mag, 0) for mag in (22.0, 20.0, np.nan, 25.0)]
    assert [each.name for each in found(rows, ROWS, sources)] == ["2", "1", "4", "3"]
    chosen = found(rows, ROWS, sources, Wanted(brightest=2, faintest=24.0))
    assert [each.name for each in chosen] == ["2", "1"]
    assert [each.name for each in found(rows, ROWS, sources, Wanted(ids=[3, 4]))] == ["4", "3"]


def test_orders_and_filters(rows):
    sources = [(-300.0, 700.0, 5.0, 8.0, 22.0, 0)]
    assert found(rows, ROWS, sources, Wanted(orders=[1])) == []
    with pytest.raises(ExposureError, match=r"no wavelengths of order 3 of F444W.* orders 1, 2"):
        found(rows, ROWS, sources, Wanted(orders=[3]))
    with pytest.raises(ExposureError, match=r"ranges\.asdf: no filter F090W .* which has F444W"):
        found(rows, ROWS | {"FILTER": "F090W"}, sources)


def test_niriss_names_its_filter_by_the_pupil_wheel():
    wcs = built(still(NIRISS), niriss_tree())
    tree = {"wavelengthrange": [[1, "F150W", 1.3, 1.7]], "extract_orders": [["F150W", [1]]]}
    (cutout,) = found(wcs, NIRISS, [(1200.0, 700.0, 5.0, 8.0, 22.0, 0)], ranges=Ranges.read(tree))
    assert cutout.rows == slice(692, 709)


def test_sources_by_their_place(rows):
    sources = catalogue(rows, SOURCE, (300.0, 900.0, 5.0, 8.0, 22.0, 0))
    ra, dec = sources.sources[1].sky
    assert sources.nearest([ra + 1e-5], [dec], within=2.0) == [2]
    with (
        pytest.warns(UserWarning, match="no source within 2 arcsec of"),
        pytest.raises(ExposureError, match="no source within 2 arcsec"),
    ):
        sources.nearest([ra + 0.1], [dec], within=2.0)
    with pytest.raises(ExposureError, match="2 right ascensions and 1 declinations"):
        sources.nearest([ra, ra], [dec], within=2.0)


def test_catalogues_that_are_none(tmp_path):
    with pytest.raises(ExposureError, match="no such catalogue"):
        Catalogue.read(tmp_path / "no_cat.ecsv")
    (tmp_path / "text.ecsv").write_text("words\n")
    with pytest.raises(ExposureError, match="no catalogue in ECSV"):
        Catalogue.read(tmp_path / "text.ecsv")
    QTable({"label": [1]}).write(tmp_path / "short.ecsv", format="ascii.ecsv")
    with pytest.raises(ExposureError, match="no column sky_centroid, isophotal_abmag"):
        Catalogue.read(tmp_path / "short.ecsv")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("modes")


def solved(name, folder):
    (mode,) = modes(folder, name)
    params = AssignWcsParams(**mode.params)
    return tie_to_sky(mode.exposure(folder), mode.files(), params)


@needs_references
@pytest.mark.parametrize(
    ("name", "choice"),
    [
        ("nirspec fixed slits", lambda name: Choice(slit=name)),
        ("nirspec mos nrs2", lambda name: Choice(slit=name)),
        ("niriss soss", lambda name: Choice(order=int(name.split()[1]))),
        ("miri lrs slitless", lambda name: Choice()),
    ],
)
def test_all_light_is_in_the_box(name, choice, folder):
    exposure = solved(name, folder)
    for cutout in cutouts_of(exposure):
        lit = np.isfinite(pixel_map(exposure, of=choice(cutout.name))["wavelength"].values)
        # The column in which a bounding box ends is left out, where that is not at a pixel's edge.
        columns = slice(cutout.columns.start, cutout.columns.stop + 1)
        assert lit[cutout.rows, columns].sum() == lit.sum() > 0


@needs_references
def test_slices_of_miri(folder):
    exposure = solved("miri mrs long", folder)
    labels = exposure.attrs["wcs"].pipeline[0].transform.label_mapper.mapper
    found = cutouts_of(exposure)
    assert [int(each.name) for each in found] == np.unique(labels)[1:].tolist()
    for each in found:
        label = int(each.name)
        assert (labels[each.rows, each.columns] == label).sum() == (labels == label).sum()


@needs_references
def test_slits_by_name_and_source(folder):
    wcs = solved("nirspec mos nrs2", folder).attrs["wcs"]
    found = slit_cutouts(wcs, SHAPE, names=[3], source_ids=["5", -9])
    assert [each.name for each in found] == ["3", "21"]
    with pytest.raises(ExposureError, match=r"open are .*7 \(source 20115\)"):
        slit_cutouts(wcs, SHAPE, names=["S200A2"])


@needs_references
def test_slitless_spectra_need_a_catalogue(folder):
    with pytest.raises(ExposureError, match="give the catalogue of the direct image"):
        cutouts_of(solved("miri wfss", folder))


@needs_references
def test_the_star_of_a_time_series_is_on_row_34(folder):
    (cutout,) = cutouts_of(solved("nircam tsgrism", folder))
    assert (cutout.rows, cutout.columns, cutout.y) == (slice(0, 64), slice(0, 2048), 34)


@needs_references
def test_slits_beside_a_subarray_have_no_cutout(folder):
    """S200A1 is on the rows from 1054 on, of which a frame of 1070 rows has some and one of 1050 none."""
    wcs = solved("nirspec fixed slits", folder).attrs["wcs"]
    names = [[each.name for each in slit_cutouts(wcs, (rows, 2048))] for rows in (1050, 1070)]
    assert "S200A1" not in names[0]
    assert "S200A1" in names[1]
    with pytest.raises(ExposureError, match="none of the slits"):
        slit_cutouts(wcs, (1050, 2048), names=["S200A1"])
