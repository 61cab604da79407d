"""Remove flicker noise (1/f noise): what detectors add to whole lines of pixels, told by those that show background.

Works on ramps, between the jump step and the fit, on what each group added to the one before it; and with the same
parameters on count rates, of exposures (rate) and of integrations (rateints). Which pixels show background is told by
the rate, of ramps by a draft of it.

Equal to jwst 3.0.0, with these exceptions. A frame whose noise cannot be told is left as it is, where there the whole
exposure is. Lines that the Fourier fit cannot tell, since they have fewer pixels than unknowns, are left as they are.
With ``median_image`` time series are scaled by the light of all pixels that show their source, where there a spectrum
or an aperture is extracted, and that of SOSS less its sky.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import xarray as xr
from pydantic import Field, field_validator

from jwpipe.exposure import Header
from jwpipe.numerics.nsclean_series import Filter
from jwpipe.refs import References
from jwpipe.stage1.flicker.auto import AUTOMATIC
from jwpipe.stage1.flicker.frame import OUTPUTS, Cleaning
from jwpipe.stage1.flicker.regions import REGION_TYPES, region_references
from jwpipe.stage1.flicker.work import Work, work_of
from jwpipe.stage1.ramp_fit import ramp_fit
from jwpipe.step import ExposureStep, Params

IN_FREQUENCIES = ("NRS_MSASPEC", "NRS_IFU", "NRS_FIXEDSLIT", "NRS_BRIGHTOBJ")
ALL_SLITS = Filter(150.0, 200.0)


class CleanFlickerNoiseParams(Params):
    """Parameters of ``clean_flicker_noise``."""

    skip: bool = Field(True, description="leave the step out")
    autoparam: bool = Field(
        False,
        description="choose apply_flat_field, background_method and fit_by_channel by what the image looks like "
        "(NIRCam and NIRISS imaging only)",
    )
    fit_method: Literal["fft", "median"] = Field(
        "median",
        description="median: of each line along the slow axis; fft: low frequencies along the lines (NIRSpec only)",
    )
    fit_by_channel: bool = Field(
        False,
        description="fit the lines of each of the detector's four outputs by themselves (near-infrared full frames "
        "only, with fit_method median)",
    )
    background_method: Literal["median", "model", "median_image"] | None = Field(
        "median",
        description="what is left out of a frame while its noise is fitted: median, a level; model, a smooth image; "
        "median_image, the median of all integrations, scaled to each; none, nothing",
    )
    background_box_size: tuple[int, int] | None = Field(
        None,
        description="pixels (y, x) of a box behind background_method model; none: 32 or what divides the image",
    )
    mask_science_regions: bool = Field(
        False,
        description="leave out where light falls by the WCS: slits and slices of NIRSpec and failed-open shutters, "
        "traces of NIRISS SOSS; and of MIRI's images what is not sky",
    )
    apply_flat_field: bool = Field(
        False, description="divide by the flat while the noise is fitted"
    )
    n_sigma: float = Field(
        2.0,
        ge=0,
        description="pixels so far from the background are none, in standard deviations; 0: all are",
    )
    fit_histogram: bool = Field(
        False,
        description="take the standard deviation of the background from a Gaussian fitted to the histogram",
    )
    single_mask: bool = Field(True, description="one mask for all integrations, not one for each")
    user_mask: str | None = Field(
        None,
        description="file of a mask, 1 where pixels show background, to use instead of one made of the rate",
    )
    save_mask: bool = Field(False, description="save the mask of the background (_mask)")
    save_background: bool = Field(
        False, description="save what was left out while the noise was fitted (_flicker_bkg)"
    )
    save_noise: bool = Field(
        False,
        description="save what was added to the pixels, the noise with its sign turned (_flicker_noise)",
    )

    @field_validator("background_method", "user_mask", mode="before")
    @classmethod
    def _none(cls, value: Any) -> Any:
        return None if isinstance(value, str) and value.lower() in ("none", "") else value

    @property
    def one_mask(self) -> bool:
        """Whether all integrations share a mask: a median of them needs the rate of each."""
        return self.single_mask and self.background_method != "median_image"


def cleaning(keywords: Header, params: CleanFlickerNoiseParams) -> Cleaning:
    """How the frames of an exposure are cleaned, unless that is chosen by what they look like."""
    miri = str(keywords["EXP_TYPE"]).startswith("MIR")
    full = keywords["SUBARRAY"] == "FULL" and not miri
    method = params.background_method
    return Cleaning(
        method=params.fit_method,
        background=None if method == "median_image" else method,
        box=params.background_box_size,
        clip=(params.n_sigma, params.n_sigma) if params.n_sigma > 0 else None,
        # MIRI's noise runs along the columns, whatever the readout.
        axis=0 if miri else abs(int(keywords["SLOWAXIS"])) - 1,
        parts=OUTPUTS if full and (params.fit_by_channel or params.autoparam) else 1,
        by_output=params.fit_by_channel and full,
        detector=str(keywords["DETECTOR"]),
        passed=ALL_SLITS if keywords["SUBARRAY"] == "ALLSLITS" else Filter(),
    )


def _not_for(keywords: Header, params: CleanFlickerNoiseParams) -> str:
    kind = str(keywords["EXP_TYPE"])
    if kind.startswith("MIR") and kind != "MIR_IMAGE":
        return f"of MIRI's exposures only images (MIR_IMAGE) are cleaned, not {kind}"
    if params.fit_method == "fft" and kind not in IN_FREQUENCIES:
        return f"fit_method fft is for spectra of NIRSpec, not for {kind}"
    if params.background_method == "median_image" and int(keywords.get("NINTS") or 1) < 2:
        return "background_method median_image needs several integrations"
    return ""


def _needs(keywords: Header, params: CleanFlickerNoiseParams) -> tuple[str, ...]:
    """The reference types of an exposure: those of the draft rate, the flat, and those of the regions to mask."""
    made = params.user_mask is None
    ramp = keywords.get("S_RAMP") != "COMPLETE" and keywords.get("BUNIT") != "DN/s"
    drafted = ramp and (made or params.autoparam or params.background_method == "median_image")
    automatic = params.autoparam and keywords["EXP_TYPE"] in AUTOMATIC
    types = ramp_fit.reference_types if drafted else ()
    types += ("flat",) if params.apply_flat_field or automatic else ()
    if made and params.mask_science_regions:
        types += region_references(keywords)
    return tuple(dict.fromkeys(types))


def clean(
    exposure: xr.Dataset, references: References, params: CleanFlickerNoiseParams
) -> xr.Dataset:
    """The exposure without flicker noise, lazily: groups, integrations or a rate.

    Raises
    ------
    ExposureError
        For masks of another shape, and a median of integrations where there are none.
    """
    return _work(exposure, references, params).cleaned()


def extras(
    exposure: xr.Dataset, references: References, params: CleanFlickerNoiseParams
) -> dict[str, xr.Dataset]:
    """The products that the parameters ask for, by suffix: mask, background, and what was added to the pixels."""
    if not (params.save_mask or params.save_background or params.save_noise):
        return {}
    work = _work(exposure, references, params)
    made: dict[str, xr.DataArray] = {}
    if params.save_mask:
        made["mask"] = work.mask()
    if params.save_background:
        made["flicker_bkg"] = work.background()
    if params.save_noise:
        made["flicker_noise"] = work.cleaned()["sci"] - exposure["sci"]
    attrs = {**exposure.attrs, "tables": {}}
    return {
        suffix: xr.Dataset({"sci": pixels.astype(np.float32)}, attrs={**attrs, "product": suffix})
        for suffix, pixels in made.items()
    }


def _work(exposure: xr.Dataset, references: References, params: CleanFlickerNoiseParams) -> Work:
    return work_of(exposure, references, params, cleaning(Header(exposure.attrs), params))


clean_flicker_noise = ExposureStep(
    "clean_flicker_noise",
    clean,
    refs=tuple(dict.fromkeys((*ramp_fit.reference_types, "flat", *REGION_TYPES))),
    params=CleanFlickerNoiseParams,
    applies=_not_for,
    optional_types=frozenset({"flat", "filteroffset"}),
    needs=_needs,
    draft=ramp_fit,
    extras=extras,
)
