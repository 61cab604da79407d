"""Keywords that references are selected by: their names in FITS and ASDF, and who uses which.

The JWST calibration data system selects a reference of a type by a few keywords of the exposure;
which ones depends on the instrument. The tables here are those of its public documentation for the
operational rules.
"""

METADATA_PATHS = {
    "INSTRUME": "meta.instrument.name",
    "DETECTOR": "meta.instrument.detector",
    "CHANNEL": "meta.instrument.channel",
    "MODULE": "meta.instrument.module",
    "FILTER": "meta.instrument.filter",
    "PUPIL": "meta.instrument.pupil",
    "GRATING": "meta.instrument.grating",
    "BAND": "meta.instrument.band",
    "CORONMSK": "meta.instrument.coronagraph",
    "LAMP": "meta.instrument.lamp_state",
    "OPMODE": "meta.instrument.lamp_mode",
    "EXP_TYPE": "meta.exposure.type",
    "READPATT": "meta.exposure.readpatt",
    "NOUTPUTS": "meta.exposure.noutputs",
    "NGROUPS": "meta.exposure.ngroups",
    "NFRAMES": "meta.exposure.nframes",
    "GROUPGAP": "meta.exposure.groupgap",
    "SUBARRAY": "meta.subarray.name",
    "SUBSTRT1": "meta.subarray.xstart",
    "SUBSTRT2": "meta.subarray.ystart",
    "SUBSIZE1": "meta.subarray.xsize",
    "SUBSIZE2": "meta.subarray.ysize",
    "FASTAXIS": "meta.subarray.fastaxis",
    "SLOWAXIS": "meta.subarray.slowaxis",
    "DATE-OBS": "meta.observation.date",
    "TIME-OBS": "meta.observation.time",
    "TSOVISIT": "meta.visit.tsovisit",
    "VISITYPE": "meta.visit.type",
    "CROWDFLD": "meta.visit.crowded_field",
    "TELESCOP": "meta.telescope",
    "REFTYPE": "meta.reftype",
    "USEAFTER": "meta.useafter",
    "PEDIGREE": "meta.pedigree",
    "AUTHOR": "meta.author",
    "DESCRIP": "meta.description",
    "DATAMODL": "meta.model_type",
    "FILENAME": "meta.filename",
    "PIXAR_SR": "meta.photometry.pixelarea_steradians",
    "PIXAR_A2": "meta.photometry.pixelarea_arcsecsq",
}
"""FITS keyword -> path in the metadata tree of ASDF files and of the rules of selection."""

PATTERNS = {
    "P_EXP_TY": "EXP_TYPE",
    "P_BAND": "BAND",
    "P_DETECT": "DETECTOR",
    "P_CHANNE": "CHANNEL",
    "P_FILTER": "FILTER",
    "P_PUPIL": "PUPIL",
    "P_MODULE": "MODULE",
    "P_SUBARR": "SUBARRAY",
    "P_GRATIN": "GRATING",
    "P_READPA": "READPATT",
    "P_CORONM": "CORONMSK",
}
"""Keyword that lists the values of a reference (``A|B|``) -> the keyword that it widens."""

PATTERN_PATHS = {
    "P_EXP_TY": "meta.exposure.p_exptype",
    "P_BAND": "meta.instrument.p_band",
    "P_DETECT": "meta.instrument.p_detector",
    "P_CHANNE": "meta.instrument.p_channel",
    "P_FILTER": "meta.instrument.p_filter",
    "P_PUPIL": "meta.instrument.p_pupil",
    "P_MODULE": "meta.instrument.p_module",
    "P_SUBARR": "meta.subarray.p_subarray",
    "P_GRATIN": "meta.instrument.p_grating",
    "P_READPA": "meta.exposure.p_readpatt",
    "P_CORONM": "meta.instrument.p_coronagraph",
}

_PLACEMENT = "SUBSTRT1 SUBSTRT2 SUBSIZE1 SUBSIZE2"

_SELECTION: dict[str, dict[str, str]] = {
    "abvegaoffset": {"*": "EXP_TYPE"},
    "apcorr": {"*": "EXP_TYPE", "NIRSPEC": "EXP_TYPE FILTER GRATING LAMP OPMODE"},
    "area": {
        "*": "DETECTOR FILTER PUPIL EXP_TYPE",
        "FGS": "DETECTOR",
        "MIRI": "DETECTOR FILTER EXP_TYPE",
        "NIRSPEC": "DETECTOR FILTER GRATING EXP_TYPE",
    },
    "barshadow": {"*": "EXP_TYPE"},
    "bkg": {"*": "EXP_TYPE DETECTOR FILTER PUPIL"},
    "camera": {"*": "EXP_TYPE"},
    "chromcorr": {"*": "EXP_TYPE FILTER"},
    "collimator": {"*": "EXP_TYPE"},
    "cubepar": {"*": "EXP_TYPE", "NIRSPEC": "EXP_TYPE OPMODE"},
    "dark": {
        "*": "DETECTOR READPATT SUBARRAY",
        "NIRCAM": "DETECTOR EXP_TYPE NOUTPUTS SUBARRAY",
        "NIRSPEC": f"DETECTOR READPATT SUBARRAY {_PLACEMENT}",
    },
    "dflat": {"*": "DETECTOR EXP_TYPE"},
    "disperser": {"*": "EXP_TYPE GRATING"},
    "distortion": {
        "*": "DETECTOR EXP_TYPE",
        "MIRI": "DETECTOR EXP_TYPE CHANNEL BAND",
        "NIRCAM": "DETECTOR EXP_TYPE CHANNEL FILTER PUPIL",
        "NIRISS": "EXP_TYPE PUPIL",
    },
    "emicorr": {"*": ""},
    "extract1d": {
        "*": "EXP_TYPE",
        "NIRCAM": "EXP_TYPE FILTER",
        "NIRSPEC": "EXP_TYPE LAMP OPMODE",
    },
    "fflat": {"*": "FILTER EXP_TYPE"},
    "filteroffset": {
        "*": "EXP_TYPE",
        "MIRI": "DETECTOR EXP_TYPE SUBARRAY",
        "NIRCAM": "CHANNEL MODULE",
    },
    "flat": {
        "*": "DETECTOR FILTER PUPIL",
        "FGS": "DETECTOR EXP_TYPE",
        "MIRI": "DETECTOR FILTER BAND READPATT SUBARRAY",
        "NIRSPEC": "DETECTOR FILTER GRATING EXP_TYPE",
    },
    "fore": {"*": "EXP_TYPE FILTER"},
    "fpa": {"*": "EXP_TYPE"},
    "fringe": {"*": "DETECTOR BAND"},
    "fringefreq": {"*": "EXP_TYPE DETECTOR"},
    "gain": {"*": "DETECTOR SUBARRAY"},
    "ifufore": {"*": "EXP_TYPE OPMODE"},
    "ifupost": {"*": "EXP_TYPE OPMODE"},
    "ifuslicer": {"*": "EXP_TYPE OPMODE"},
    "ipc": {"*": "DETECTOR"},
    "lastframe": {"*": "DETECTOR SUBARRAY READPATT"},
    "linearity": {"*": "DETECTOR SUBARRAY", "MIRI": "DETECTOR SUBARRAY BAND FILTER"},
    "mask": {
        "*": "DETECTOR SUBARRAY",
        "FGS": "DETECTOR SUBARRAY EXP_TYPE",
        "NIRSPEC": "DETECTOR SUBARRAY READPATT",
    },
    "mrsptcorr": {"*": "EXP_TYPE"},
    "mrsxartcorr": {"*": "EXP_TYPE"},
    "msa": {"*": "EXP_TYPE"},
    "msaoper": {"*": "EXP_TYPE"},
    "nrm": {"*": ""},
    "ote": {"*": "EXP_TYPE"},
    "pastasoss": {"*": "DETECTOR EXP_TYPE FILTER"},
    "pathloss": {"*": "EXP_TYPE"},
    "persat": {"*": "DETECTOR"},
    "photom": {"*": "DETECTOR", "MIRI": "DETECTOR BAND", "NIRSPEC": "EXP_TYPE"},
    "pictureframe": {"*": "DETECTOR"},
    "psf": {"*": "DETECTOR FILTER EXP_TYPE"},
    "psfmask": {"*": "FILTER CORONMSK SUBARRAY"},
    "readnoise": {"*": "DETECTOR READPATT SUBARRAY"},
    "refpix": {"*": "DETECTOR READPATT"},
    "regions": {"*": "DETECTOR EXP_TYPE CHANNEL BAND"},
    "reset": {"*": "DETECTOR SUBARRAY READPATT"},
    "rscd": {"*": "DETECTOR"},
    "saturation": {"*": "DETECTOR", "NIRSPEC": "DETECTOR SUBARRAY"},
    "sflat": {"*": "DETECTOR FILTER GRATING EXP_TYPE LAMP OPMODE"},
    "sirskernel": {"*": ""},
    "speckernel": {"*": "EXP_TYPE"},
    "specprofile": {"*": "EXP_TYPE SUBARRAY FILTER"},
    "specwcs": {
        "*": "EXP_TYPE DETECTOR CHANNEL BAND SUBARRAY",
        "NIRCAM": "EXP_TYPE MODULE PUPIL",
        "NIRISS": "EXP_TYPE FILTER PUPIL",
    },
    "superbias": {
        "*": "DETECTOR READPATT SUBARRAY",
        "NIRSPEC": f"DETECTOR READPATT SUBARRAY {_PLACEMENT}",
    },
    "throughput": {"*": "FILTER"},
    "trapdensity": {"*": "DETECTOR"},
    "trappars": {"*": "DETECTOR"},
    "tsophot": {"*": "EXP_TYPE TSOVISIT"},
    "wavecorr": {"*": "EXP_TYPE"},
    "wavelengthrange": {"*": "EXP_TYPE"},
}

KNOWN_TYPES = frozenset(_SELECTION)
"""The reference types of the JWST pipeline's steps."""

_PARAMETER_FILES = (
    "EXP_TYPE DETECTOR FILTER PUPIL GRATING BAND SUBARRAY READPATT TSOVISIT VISITYPE CROWDFLD LAMP "
    "OPMODE"
)

_UNKNOWN_TYPE = "DETECTOR EXP_TYPE FILTER PUPIL GRATING CHANNEL BAND MODULE READPATT SUBARRAY"


def selection_keywords(reftype: str, instrument: str) -> tuple[str, ...]:
    """The keywords that decide between references of a type, apart from INSTRUME and the date.

    A keyword is compared only where the reference has it. Parameter files (``pars-*``) and types
    that the table does not know are compared in all keywords that such files carry.
    """
    if reftype.startswith("pars-"):
        return tuple(_PARAMETER_FILES.split())
    by_instrument = _SELECTION.get(reftype, {"*": _UNKNOWN_TYPE})
    return tuple(by_instrument.get(instrument.upper(), by_instrument["*"]).split())


def normal_type(name: object) -> str:
    """A reference type as written here: lower case, without the underscores of older files."""
    return str(name).strip().lower().replace("_", "")
