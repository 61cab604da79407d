"""CRDS parameter files (``pars-*``): what the rules of operations set for an instrument and mode.

They are ASDF files made for the JWST calibration pipeline. A step's file holds its parameters; a
pipeline's file holds its own and those of its steps, and goes before the steps' files. Classes are
named by their path (``jwst.jump.JumpStep``), steps here by their short name (``jump``).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jwpipe.exposure import Header
from jwpipe.refs.content import ReferenceRefused, stamp, tree
from jwpipe.refs.files import RefFile
from jwpipe.refs.selection import select

STEP_CLASSES = {
    "adaptive_trace_model": "AdaptiveTraceModelStep",
    "align_refs": "AlignRefsStep",
    "ami_analyze": "AmiAnalyzeStep",
    "ami_normalize": "AmiNormalizeStep",
    "assign_mtwcs": "AssignMTWcsStep",
    "assign_wcs": "AssignWcsStep",
    "badpix_selfcal": "BadpixSelfcalStep",
    "barshadow": "BarShadowStep",
    "bkg_subtract": "BackgroundStep",
    "charge_migration": "ChargeMigrationStep",
    "clean_flicker_noise": "CleanFlickerNoiseStep",
    "combine_1d": "Combine1dStep",
    "cube_build": "CubeBuildStep",
    "dark_current": "DarkCurrentStep",
    "dq_init": "DQInitStep",
    "emicorr": "EmiCorrStep",
    "extract_1d": "Extract1dStep",
    "extract_2d": "Extract2dStep",
    "firstframe": "FirstFrameStep",
    "flat_field": "FlatFieldStep",
    "fringe": "FringeStep",
    "gain_scale": "GainScaleStep",
    "group_scale": "GroupScaleStep",
    "guider_cds": "GuiderCdsStep",
    "imprint": "ImprintStep",
    "ipc": "IPCStep",
    "jump": "JumpStep",
    "klip": "KlipStep",
    "lastframe": "LastFrameStep",
    "linearity": "LinearityStep",
    "master_background": "MasterBackgroundStep",
    "master_background_mos": "MasterBackgroundMosStep",
    "msa_flagging": "MSAFlagOpenStep",
    "outlier_detection": "OutlierDetectionStep",
    "pathloss": "PathLossStep",
    "persistence": "PersistenceStep",
    "photom": "PhotomStep",
    "picture_frame": "PictureFrameStep",
    "pixel_replace": "PixelReplaceStep",
    "ramp_fit": "RampFitStep",
    "refpix": "RefPixStep",
    "resample": "ResampleStep",
    "resample_spec": "ResampleSpecStep",
    "reset": "ResetStep",
    "residual_fringe": "ResidualFringeStep",
    "rscd": "RscdStep",
    "saturation": "SaturationStep",
    "skymatch": "SkyMatchStep",
    "source_catalog": "SourceCatalogStep",
    "spectral_leak": "SpectralLeakStep",
    "srctype": "SourceTypeStep",
    "stack_refs": "StackRefsStep",
    "straylight": "StraylightStep",
    "superbias": "SuperBiasStep",
    "targ_centroid": "TargCentroidStep",
    "tso_photometry": "TSOPhotometryStep",
    "tweakreg": "TweakRegStep",
    "wavecorr": "WavecorrStep",
    "wfss_contam": "WfssContamStep",
    "white_light": "WhiteLightStep",
}
"""Our name of a step -> the name of its class in parameter files."""

HOUSEKEEPING = frozenset(
    {
        "class",
        "input_dir",
        "output_dir",
        "output_ext",
        "output_file",
        "output_use_index",
        "output_use_model",
        "post_hooks",
        "pre_hooks",
        "search_output_file",
        "suffix",
        "update_version",
    }
)
"""Parameters about files and hooks of the program that wrote the file, not about calibration."""

_BY_CLASS = {class_name.lower(): step for step, class_name in STEP_CLASSES.items()}

Layer = Mapping[str, Mapping[str, Any]]


def read_pars(path: str | Path) -> dict[str, dict[str, Any]]:
    """The parameters of a file as ``{step: {parameter: value}}``, a pipeline's under its name.

    Parameters are given as they stand in the file, whether or not the step knows them.

    Raises
    ------
    ReferenceRefused
        Where the file is not a parameter file.
    """
    try:
        content = tree(stamp(path))
    except (OSError, ValueError) as error:
        raise ReferenceRefused(f"{path}: not a readable ASDF file ({error})") from error
    if not isinstance(content.get("parameters"), Mapping) or not _class(content):
        raise ReferenceRefused(
            f"{path}: not a parameter file; expected an ASDF tree with 'class' and 'parameters'"
        )
    entries = [content, *content.get("steps", [])]
    layer: dict[str, dict[str, Any]] = {}
    for entry in entries:
        values = _calibration(entry.get("parameters", {}))
        if values:
            layer.setdefault(_name(entry), {}).update(values)
    return layer


def find_pars(
    pipeline: str,
    steps: Sequence[str],
    header: Header,
    *,
    folders: Sequence[Path] = (),
    crds: bool = True,
) -> list[Layer]:
    """The parameters that files set for an exposure: of steps, then of the pipeline, which wins.

    ``pipeline`` is ``detector1``, ``image2`` ...; no file is required.
    """
    files = pars_files(pipeline, steps, header, folders=folders, crds=crds)
    return [_only(steps, read_pars(file.path)) for file in files]


def pars_files(
    pipeline: str,
    steps: Sequence[str],
    header: Header,
    *,
    folders: Sequence[Path] = (),
    crds: bool = True,
) -> list[RefFile]:
    """The parameter files that apply to an exposure, lowest precedence first."""
    types = [f"pars-{STEP_CLASSES[step].lower()}" for step in steps if step in STEP_CLASSES]
    types.append(f"pars-{pipeline.lower()}pipeline")
    found = select(header, types, folders=folders, crds=crds, optional=frozenset(types))
    return [file for file in found.values() if file is not None]


def _only(steps: Sequence[str], layer: Layer) -> Layer:
    return {step: values for step, values in layer.items() if step in steps}


def _calibration(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: None if value == "None" else value
        for name, value in parameters.items()
        if name not in HOUSEKEEPING
    }


def _name(entry: Mapping[str, Any]) -> str:
    """Our name of a step or pipeline, from its class; from its name where the class is unknown."""
    class_name = _class(entry).rpartition(".")[2].lower()
    if class_name.endswith("pipeline"):
        return class_name.removesuffix("pipeline")
    return _BY_CLASS.get(class_name, str(entry.get("name", class_name)))


def _class(entry: Mapping[str, Any]) -> str:
    """The class of an entry; the oldest files have it among the parameters."""
    return str(entry.get("class") or entry["parameters"].get("class", ""))
