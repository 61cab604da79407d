"""Every exposure type of JWST: which steps its raw data take, which WCS it gets, or why it has none."""

import pytest

from jwpipe.exposure import ExposureError, Header
from jwpipe.exptypes import (
    CALIBRATION,
    DARKS,
    GUIDER,
    IMAGES,
    INSTRUMENTS,
    KNOWN,
    SPECTROSCOPY,
    is_time_series,
    stage1_pipeline,
)
from jwpipe.pipelines import PIPELINES, image2_steps
from jwpipe.wcs.modes import family_of

# The master table of exposure types: instrument, and which have stage 1, a dark's or a guide star's pipeline.
TABLE = {
    "FGS": "IMAGE FOCUS SKYFLAT INTFLAT | DARK | ID-IMAGE ID-STACK ACQ1 ACQ2 TRACK FINEGUIDE",
    "MIR": "IMAGE LYOT 4QPM CORONCAL LRS-FIXEDSLIT LRS-SLITLESS MRS WFSS TACQ TACONFIRM FLATIMAGE FLATIMAGE-EXT "
    "FLATMRS FLATMRS-EXT | DARKALL DARKIMG DARKMRS |",
    "NIS": "IMAGE AMI SOSS WFSS TACQ TACONFIRM FOCUS LAMP EXTCAL | DARK |",
    "NRC": "IMAGE CORON TSIMAGE TSGRISM WFSS GRISM TACQ TACONFIRM FOCUS FLAT LED | DARK |",
    "NRS": "FIXEDSLIT MSASPEC IFU BRIGHTOBJ IMAGE MIMF TACQ TACONFIRM WATA MSATA TASLIT CONFIRM VERIFY FOCUS "
    "AUTOWAVE AUTOFLAT LAMP | DARK |",
}  # fmt: skip
NEAR_INFRARED = [
    "group_scale", "dq_init", "saturation", "ipc", "superbias", "refpix", "linearity", "dark_current",
    "charge_migration", "jump", "time_jump", "picture_frame", "clean_flicker_noise", "persistence", "ramp_fit",
    "gain_scale",
]  # fmt: skip
MIRI = [
    "group_scale", "dq_init", "emicorr", "saturation", "ipc", "firstframe", "lastframe", "reset", "linearity",
    "rscd", "dark_current", "refpix", "charge_migration", "jump", "time_jump", "picture_frame",
    "clean_flicker_noise", "persistence", "ramp_fit", "gain_scale",
]  # fmt: skip
WITHOUT_WCS = {
    "FGS_SKYFLAT", "FGS_INTFLAT", "MIR_FLATMRS", "MIR_FLATMRS-EXT", "MIR_FLATIMAGE", "MIR_FLATIMAGE-EXT", "NRC_LED",
    "NRC_FLAT", "NRC_GRISM", "NIS_LAMP", "NIS_EXTCAL", *DARKS, *GUIDER,
}  # fmt: skip
WCS = {
    "imaging": "FGS_IMAGE FGS_FOCUS MIR_IMAGE MIR_TACQ MIR_TACONFIRM MIR_LYOT MIR_4QPM MIR_CORONCAL NRC_IMAGE "
    "NRC_TACQ NRC_TACONFIRM NRC_CORON NRC_FOCUS NRC_TSIMAGE NIS_IMAGE NIS_AMI NIS_TACQ NIS_TACONFIRM NIS_FOCUS",
    "grism": "NRC_WFSS NIS_WFSS NRC_TSGRISM",
    "soss": "NIS_SOSS",
    "miri_lrs": "MIR_LRS-FIXEDSLIT MIR_LRS-SLITLESS",
    "miri_mrs": "MIR_MRS",
    "miri_wfss": "MIR_WFSS",
}
PIPELINE_OF = {
    f"{prefix}_{mode}": pipeline
    for prefix, row in TABLE.items()
    for pipeline, modes in zip(("detector1", "dark", "guider"), row.split("|"), strict=True)
    for mode in modes.split()
}


def keywords(kind, **changes):
    instrument = INSTRUMENTS[kind[:3]]
    words = {"EXP_TYPE": kind, "INSTRUME": instrument, "SUBARRAY": "FULL", "READPATT": "RAPID"}
    return Header({"primary": words | changes, "filename": "one_uncal.fits"})


def test_the_table_is_complete():
    assert set(PIPELINE_OF) == KNOWN == IMAGES | SPECTROSCOPY | CALIBRATION | DARKS | GUIDER


@pytest.mark.parametrize("kind", sorted(KNOWN))
def test_raw_data_take_their_pipeline_and_no_other(kind):
    words = keywords(kind)
    pipeline = PIPELINE_OF[kind]
    assert stage1_pipeline(words) == pipeline
    names = [step.name for step in PIPELINES[pipeline].steps(words)]
    ramps = MIRI if kind.startswith("MIR") else NEAR_INFRARED
    assert (
        names
        == {
            "detector1": ramps,
            "dark": ramps[: ramps.index("dark_current")],
            "guider": ["dq_init", "guider_cds", "flat_field"],
        }[pipeline]
    )
    if pipeline != "detector1":
        with pytest.raises(ExposureError, match=rf"one_uncal\.fits: {kind}.*detector1.*{pipeline}"):
            PIPELINES["detector1"].steps(words)


@pytest.mark.parametrize("kind", sorted(KNOWN))
def test_only_images_are_calibrated_as_images(kind):
    if kind in IMAGES:
        assert image2_steps(keywords(kind))
    else:
        with pytest.raises(ExposureError, match=f"{kind} is not an image"):
            image2_steps(keywords(kind))


@pytest.mark.parametrize("kind", sorted(KNOWN))
def test_every_type_has_a_wcs_or_says_that_it_has_none(kind):
    if kind in WITHOUT_WCS:
        with pytest.raises(ExposureError, match=rf"assign_wcs: EXP_TYPE {kind} has no WCS"):
            family_of(keywords(kind))
        return
    family = family_of(keywords(kind))
    listed = [name for name, kinds in WCS.items() if kind in kinds.split()]
    assert [family.name] == (listed or [family.name])
    assert listed or (kind.startswith("NRS") and family.name.startswith("nirspec"))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"SUBARRAY": "SUB41STRIPE1_DHS", "MSTR_RD1": 1}, ["refpix", "superstripes"]),
        ({}, ["refpix"]),
    ],
)
def test_striped_readouts_have_steps_of_their_own(changes, expected):
    steps = PIPELINES["detector1"].steps(keywords("NRC_TSGRISM", **changes))
    place = [step.name for step in steps].index("refpix")
    assert [step.name for step in steps][place : place + len(expected)] == expected
    assert steps[place + len(expected)].name == "linearity"


def test_a_type_of_another_instrument_is_refused():
    with pytest.raises(
        ExposureError, match=r"EXP_TYPE is MIR_MRS, INSTRUME is NIRCAM, expected MIRI"
    ):
        stage1_pipeline(keywords("MIR_MRS", INSTRUME="NIRCAM"))


def test_what_is_no_type_is_refused():
    with pytest.raises(ExposureError, match=r"EXP_TYPE is 'NRC_PICTURE'"):
        stage1_pipeline(Header({"primary": {"EXP_TYPE": "nrc_picture"}}))


@pytest.mark.parametrize(
    ("kind", "changes", "expected"),
    [
        ("NRC_TSIMAGE", {"NINTS": 2}, True),
        ("NRC_TSIMAGE", {"NINTS": 1}, False),
        ("NRC_TSGRISM", {}, True),
        ("NRS_BRIGHTOBJ", {"NINTS": 5, "TSOVISIT": False}, True),
        ("MIR_LRS-SLITLESS", {"NINTS": 5, "TSOVISIT": True}, True),
        ("MIR_LRS-SLITLESS", {"NINTS": 5, "TSOVISIT": False}, False),
        ("NIS_SOSS", {"TSOVISIT": True}, True),
        ("NIS_SOSS", {"TSOVISIT": True, "NINTS": 1}, False),
        ("NRC_IMAGE", {"NINTS": 9}, False),
    ],
)
def test_time_series_are_told_by_type_and_visit(kind, changes, expected):
    assert is_time_series(keywords(kind, **changes)) == expected
