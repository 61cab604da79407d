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
KNOWN = IMAGES | SPECTROSCOPY | CALIBRATION | DARKS | GUIDER


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


def is_time_series(header: Header) -> bool:
    """Whether the integrations are samples of a time series and must not be averaged."""
    if (header.get("NINTS") or 1) < 2:
        return False
    always = {"NRC_TSIMAGE", "NRC_TSGRISM", "NRS_BRIGHTOBJ"}
    return bool(header.get("TSOVISIT")) or exposure_type(header) in always
