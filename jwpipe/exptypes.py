"""Which exposure types there are, and what each pipeline does with them."""

from jwpipe.exposure import ExposureError, Header

IMAGING = frozenset({"NRC_IMAGE", "NIS_IMAGE", "MIR_IMAGE", "FGS_IMAGE"})

CORONAGRAPHY = frozenset({"MIR_LYOT", "MIR_4QPM", "MIR_CORONCAL", "NRC_CORON"})

OTHER_IMAGES = frozenset(
    {
        "FGS_FOCUS",
        "MIR_TACQ",
        "MIR_TACONFIRM",
        "NIS_AMI",
        "NIS_TACQ",
        "NIS_TACONFIRM",
        "NIS_FOCUS",
        "NRC_TSIMAGE",
        "NRC_TACQ",
        "NRC_TACONFIRM",
        "NRC_FOCUS",
        "NRS_IMAGE",
        "NRS_MIMF",
        "NRS_TACQ",
        "NRS_TACONFIRM",
        "NRS_WATA",
        "NRS_MSATA",
        "NRS_TASLIT",
        "NRS_CONFIRM",
        "NRS_VERIFY",
        "NRS_FOCUS",
    }
)

SPECTROSCOPY = frozenset(
    {
        "MIR_LRS-FIXEDSLIT",
        "MIR_LRS-SLITLESS",
        "MIR_MRS",
        "MIR_WFSS",
        "NIS_SOSS",
        "NIS_WFSS",
        "NRC_TSGRISM",
        "NRC_WFSS",
        "NRC_GRISM",
        "NRS_FIXEDSLIT",
        "NRS_MSASPEC",
        "NRS_IFU",
        "NRS_BRIGHTOBJ",
        "NRS_AUTOWAVE",
        "NRS_AUTOFLAT",
        "NRS_LAMP",
    }
)

CALIBRATION = frozenset(
    {
        "FGS_SKYFLAT",
        "FGS_INTFLAT",
        "MIR_FLATIMAGE",
        "MIR_FLATIMAGE-EXT",
        "MIR_FLATMRS",
        "MIR_FLATMRS-EXT",
        "NRC_FLAT",
        "NRC_LED",
        "NIS_LAMP",
        "NIS_EXTCAL",
    }
)

DARKS = frozenset(
    {
        "FGS_DARK",
        "MIR_DARKALL",
        "MIR_DARKIMG",
        "MIR_DARKMRS",
        "NIS_DARK",
        "NRC_DARK",
        "NRS_DARK",
    }
)

GUIDER = frozenset(
    {
        "FGS_ID-IMAGE",
        "FGS_ID-STACK",
        "FGS_ACQ1",
        "FGS_ACQ2",
        "FGS_TRACK",
        "FGS_FINEGUIDE",
    }
)

IMAGES = IMAGING | CORONAGRAPHY | OTHER_IMAGES
RAMPS = IMAGES | SPECTROSCOPY | CALIBRATION
STAGE1 = {"detector1": RAMPS, "dark": DARKS, "guider": GUIDER}
"""What becomes of raw data: the exposure types of each pipeline of stage 1."""

KNOWN = RAMPS | DARKS | GUIDER

INSTRUMENTS = {"FGS": "FGS", "MIR": "MIRI", "NIS": "NIRISS", "NRC": "NIRCAM", "NRS": "NIRSPEC"}
"""The instrument of exposure types that begin so."""

TIME_SERIES = frozenset({"NRC_TSIMAGE", "NRC_TSGRISM", "NRS_BRIGHTOBJ"})
"""Types of time series; exposures of others are so by TSOVISIT. Stage 1 treats all alike: parameter files of the
calibration reference data system switch steps on and off for them."""


def exposure_type(header: Header) -> str:
    """EXP_TYPE of an exposure.

    Raises
    ------
    ExposureError
        Where the keyword is missing or no JWST exposure type.
    """
    found = str(header["EXP_TYPE"]).upper()
    if found not in KNOWN:
        raise ExposureError(
            f"{header.filename}: EXP_TYPE is {found!r}, which is no exposure type of JWST; "
            "correct the keyword (imaging with NIRCam is NRC_IMAGE)"
        )
    return found


def stage1_pipeline(header: Header) -> str:
    """The pipeline that takes an exposure's raw data: ``detector1``, ``dark`` or ``guider``.

    Raises
    ------
    ExposureError
        Where EXP_TYPE and INSTRUME contradict each other.
    """
    kind = exposure_type(header)
    expected, found = INSTRUMENTS[kind[:3]], str(header["INSTRUME"]).upper()
    if found != expected:
        raise ExposureError(
            f"{header.filename}: EXP_TYPE is {kind}, INSTRUME is {found}, expected {expected}; "
            "correct one of the keywords"
        )
    return next(pipeline for pipeline, types in STAGE1.items() if kind in types)


def is_time_series(header: Header) -> bool:
    """Whether the integrations are samples of a time series and must not be averaged."""
    integrations = header.get("NINTS")
    if integrations is not None and integrations < 2:
        return False
    return bool(header.get("TSOVISIT")) or exposure_type(header) in TIME_SERIES
