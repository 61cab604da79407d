"""Open slitlets and their sources, from MSA metadata files: right ones, wrong ones and those of flight."""

import nirspec_examples as examples
import numpy as np
import pytest
from astropy.io import fits

from jwpipe.exposure import ExposureError, Header
from jwpipe.simulate.micro_shutters import SHUTTERS
from jwpipe.stage2.assign_wcs import AssignWcsParams, tie_to_sky
from jwpipe.wcs import nirspec
from jwpipe.wcs.nirspec_msa import msa_slits

LIMITS = (-0.55, 0.55)
SCALES = {
    "XC": np.float32([0, 1.05e-4]),
    "SIZEX": np.float32([7.7e-5]),
    "SIZEY": np.float32([1.77e-4]),
}
QUADRANT = {"data": SCALES | {"YC": np.r_[np.zeros(365), 2.035e-4].astype(np.float32)}}
MSA = {f"Q{quadrant}": QUADRANT for quadrant in (1, 2, 3, 4)}
FACTS = ["source_id", "source_name", "shutter_state", "source_xpos", "source_ypos"]
FLIGHT = examples.DATA / "flight"


def slits_of(folder, rows=examples.SLITLETS, sources=examples.SKY, fixed_slits=True, **changes):
    examples.write_msa_metadata(folder / "one_msa.fits", rows, sources, fixed_slits)
    header = Header(
        {"sci": examples.keywords("NRS_MSASPEC", **changes), "filename": "one_rate.fits"}
    )
    return {slit.name: slit for slit in msa_slits(header, str(folder), MSA, LIMITS)}


def row(slitlet, column, **changes):
    """A shutter of quadrant 2, row 100."""
    names = [name for name in SHUTTERS.names if name not in ("shutter_row", "shutter_column")]
    usual = dict(
        zip(names, (slitlet, 1, 2, 0, "Y", "OPEN", np.nan, np.nan, 1, "N", "NONE"), strict=True)
    )
    values = usual | {"shutter_row": 100, "shutter_column": column} | changes
    return tuple(values[name] for name in SHUTTERS.names)


SOURCE = {"source_id": 5, "background": "N", "primary_source": "Y"}


@pytest.mark.filterwarnings("ignore:.*it does not hold the primary source")
def test_slitlets_and_sources(tmp_path):
    """Slitlet 7: three shutters about the one with the source; half a shutter is added at both ends."""
    slits = slits_of(tmp_path)
    assert list(slits) == [7, 3, 12, 21, "S200A1"]
    seven = slits[7]
    assert (seven.quadrant, seven.xcen, seven.ycen, seven.shutter_state) == (2, 138, 109, "1x1")
    assert seven.shutter_id == 138 + 108 * 365
    assert (seven.ymin, seven.ymax) == pytest.approx((-0.55 - 0.5 - 1.15, 0.55 + 0.5 + 1.15))
    assert (seven.source_id, seven.source_name, seven.stellarity) == (20115, "2565_20115", 1.0)
    assert (seven.source_xpos, seven.source_ypos) == pytest.approx((0.213, 0.029), abs=1e-6)
    assert (seven.source_ra, seven.source_dec) == (150.06146711, 2.37868632)
    assert (seven.slit_xscale, seven.slit_yscale) == pytest.approx((1.3636, 1.1497), abs=1e-4)
    assert (seven.slit_id, seven.dither_position) == (7, 1)


@pytest.mark.filterwarnings("ignore:.*it does not hold the primary source")
def test_virtual_sources_backgrounds_and_fixed_slits(tmp_path):
    slits = slits_of(tmp_path)
    virtual, background, fixed = slits[3], slits[12], slits["S200A1"]
    assert (virtual.source_id, virtual.source_name, virtual.source_alias) == (
        -9,
        "2565_VRT3",
        "VRT3",
    )
    assert (virtual.shutter_state, virtual.ymax) == ("x01", pytest.approx(1.05 + 2 * 1.15))
    # Four shutters, 40 to 43: the middle one is 41.
    assert (background.ycen, background.shutter_state, background.source_id) == (41, "1x11", 12)
    assert (background.source_name, background.source_xpos) == ("2565_BKG12", 0.0)
    assert (fixed.quadrant, fixed.slit_id, fixed.source_id, fixed.source_alias) == (
        5,
        -101,
        20116,
        "star",
    )
    assert (fixed.ymin, fixed.ymax, fixed.shutter_state) == (-0.55, 0.55, "x")
    assert (slits[21].source_xpos, slits[21].source_ypos) == (0.0, 0.0)


def test_dither_points_and_configurations_are_apart(tmp_path):
    (slit,) = slits_of(tmp_path, PATT_NUM=2).values()
    assert (slit.ycen, slit.shutter_state) == (108, "x")
    with pytest.raises(ExposureError, match=r"no open shutter with msa_metadata_id 4 \(MSAMETID\)"):
        slits_of(tmp_path, MSAMETID=4)


def test_files_without_fixed_slits(tmp_path):
    rows = [row(1, 50, **SOURCE), row(1, 51)]
    (slit,) = slits_of(tmp_path, rows, fixed_slits=False).values()
    assert (slit.source_alias, slit.shutter_state) == ("five", "x1")


def test_closed_shutters_are_not_open(tmp_path):
    rows = [
        row(1, 50, **SOURCE),
        row(1, 51, shutter_state="CLOSED"),
        row(2, 70, shutter_state="CLOSED"),
    ]
    (slit,) = slits_of(tmp_path, rows).values()
    assert slit.shutter_state == "x"
    with pytest.raises(ExposureError, match="has no open shutter"):
        slits_of(tmp_path, [row(1, 50, shutter_state="CLOSED")])


WRONG = [
    ([row(1, 50, **SOURCE), row(1, 51, **SOURCE)], "2 shutters hold the primary source"),
    ([row(1, 172)], "shutter 2/100/172 to 172 .* does not exist"),
    ([row(1, 9, shutter_row=0)], "shutter 2/0/9 to 9 .* does not exist"),
    ([row(1, 9, shutter_quadrant=5)], "shutter 5/100/9 to 9 .* does not exist"),
    ([row(1, 0, fixed_slit="S200A1", **SOURCE)] * 2, "2 shutters hold the primary source"),
    ([row(1, 0, fixed_slit="S200A1")], "it does not hold the primary source"),
]


@pytest.mark.parametrize(("rows", "problem"), WRONG)
def test_wrong_slitlets_leave_the_others_alone(tmp_path, rows, problem):
    with pytest.warns(UserWarning, match=f"one_msa.fits: slitlet .* is left out: {problem}"):
        slits = slits_of(tmp_path, [*rows, row(2, 60, **SOURCE)])
    assert list(slits) == [2]
    with (
        pytest.warns(UserWarning, match=problem),
        pytest.raises(ExposureError, match="no valid slitlet"),
    ):
        slits_of(tmp_path, rows)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"MSAMETFL": None}, "MSAMETFL does not name an MSA metadata file"),
        ({"MSAMETFL": "N/A"}, "MSAMETFL does not name an MSA metadata file"),
        ({"MSAMETFL": "other_msa.fits"}, "other_msa.fits .MSAMETFL.: there is no such file"),
        ({"MSAMETFL": "plain.fits"}, "plain.fits .MSAMETFL.: no MSA metadata file"),
        ({"MSAMETFL": "text.fits"}, "text.fits .MSAMETFL.: no MSA metadata file"),
        ({"MSAMETID": None}, "MSAMETID is missing"),
        ({"PATT_NUM": "one"}, "PATT_NUM is 'one'"),
    ],
)
def test_missing_files_and_keywords(tmp_path, changes, problem):
    fits.PrimaryHDU().writeto(tmp_path / "plain.fits")
    (tmp_path / "text.fits").write_text("no FITS")
    with pytest.raises(ExposureError, match=f"one_rate.fits: assign_wcs: .*{problem}"):
        slits_of(tmp_path, **changes)


def flight_exposure(folder, name, msa):
    if not (FLIGHT / folder).exists() or not examples.REFERENCES.exists():
        pytest.skip(f"{FLIGHT / folder} or {examples.REFERENCES} is absent")
    with fits.open(FLIGHT / folder / name) as hdus:
        values = dict(hdus[0].header.items()) | dict(hdus["SCI"].header.items())
    values |= {"MSAMETFL": msa, "SUBSTRT1": 1, "SUBSTRT2": 1}
    return examples.exposure(values, folder=FLIGHT / folder)


@pytest.mark.filterwarnings("ignore")
def test_flight_slit_as_older_references_have_it(tmp_path):
    """A slit of programme 2565 (jwst 1.15.0, references of flight); the references here are from before launch.

    The cut-out is the same; light of a wavelength falls 0.8 to 1.5 pixels along and 0.24 across the spectrum elsewhere,
    and a place in the slit is 0.20 arcsec away on the sky.
    """
    name, folder = "jw02565007001_03101_00002_nrs2_cal.fits", "nirspec_mos_prism_2565"
    given = flight_exposure(folder, name, "jw02565007001_01_msa.fits")
    references = examples.references("CLEAR", "PRISM", tmp_path)
    found = tie_to_sky(given, references, AssignWcsParams()).attrs["wcs"]
    ours = nirspec.one_slit(found, 30)
    slit, flight = flight_slit(FLIGHT / folder / name)
    (mine,) = found.get_transform("gwa", "slit_frame").slits
    for fact in FACTS:
        assert getattr(mine, fact) == slit[fact]
    assert (mine.ymin, mine.ymax) == (slit["slit_ymin"], slit["slit_ymax"])
    corner = np.array([slit["xstart"] - 1, slit["ystart"] - 1])
    assert [round(ours.bounding_box[axis].lower + 0.5) for axis in "xy"] == pytest.approx(
        corner, abs=1
    )
    for wavelength in (0.8e-6, 1.5e-6, 3e-6, 5e-6):
        place = 0.0, 0.0, wavelength
        moved = np.subtract(to_pixel(ours, place), to_pixel(flight, place) + corner)
        assert 0.8 < moved[0] < 1.6
        assert moved[1] == pytest.approx(-0.24, abs=0.02)
    sky = np.subtract(
        *(wcs.get_transform("slit_frame", "world")(*place)[:2] for wcs in (ours, flight))
    )
    assert np.hypot(*sky) * 3600 == pytest.approx(0.20, abs=0.02)


def to_pixel(wcs, place):
    return np.array(wcs.get_transform("slit_frame", "detector")(*place))


def flight_slit(path):
    from stdatamodels.jwst import datamodels

    with datamodels.open(path) as model:
        slit = model.slits[0]
        names = [*FACTS, "xstart", "ystart", "slit_ymin", "slit_ymax"]
        return {name: getattr(slit, name) for name in names}, slit.meta.wcs
