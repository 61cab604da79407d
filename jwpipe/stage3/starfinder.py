"""Finding sources in one image: background, noise, and the three finders of photutils.

Shared by ``tweakreg`` (one catalogue per exposure) and ``source_catalog`` (one per mosaic). All functions are plain:
arrays in, tables out, so that a catalogue can be made where the pixels are.

Parts of photutils are replaced by faster ones with the same result: the cubic upsampling of the background mesh
(separable, so two small matrix products do it) and the search for local maxima (one compiled pass that looks only at
pixels above the threshold; the finders then measure the sources at the maxima given). See also ``segments.py``.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from jwpipe.dq import Pixel
from jwpipe.numerics.jit import kernel
from jwpipe.stage3.segments import segmented
from jwpipe.step import Params

if TYPE_CHECKING:
    from astropy.table import Table

UNUSABLE = np.uint32(Pixel.DO_NOT_USE | Pixel.NON_SCIENCE)
CLIP_SIGMA = 3.0
FILTER_BOXES = (3, 3)
KRON_PARAMS = (2.5, 1.4, 0.0)
SEGMENT_COLUMNS = {
    "label": "id",
    "x_centroid": "xcentroid",
    "y_centroid": "ycentroid",
    "segment_flux": "flux",
}
SHAPE_COLUMNS = (
    "segment_flux_err",
    "area",
    "semimajor_axis",
    "semiminor_axis",
    "orientation",
    "ellipticity",
    "sky_bbox_ll",
    "sky_bbox_ul",
    "sky_bbox_lr",
    "sky_bbox_ur",
)


class FinderParams(Params):
    """How sources are found; defaults of ``tweakreg``."""

    starfinder: Literal["dao", "iraf", "segmentation"] = Field(
        "iraf", description="algorithm that finds sources: DAOFIND, IRAF starfind or segmentation"
    )
    snr_threshold: float = Field(
        10.0, gt=0, description="detection threshold above the background, in units of its noise"
    )
    kernel_fwhm: float = Field(
        2.5, ge=0, description="FWHM of the Gaussian detection kernel, in pixels"
    )
    bkg_boxsize: int = Field(
        400, ge=1, description="size of the boxes in which the background is measured, in pixels"
    )
    minsep_fwhm: float = Field(
        0.0, ge=0, description="least separation of two sources in kernel FWHM (dao, iraf)"
    )
    sigma_radius: float = Field(
        1.5, gt=0, description="radius of the detection kernel in its sigma (dao, iraf)"
    )
    sharplo: float = Field(0.5, description="least sharpness of a source (dao, iraf)")
    sharphi: float = Field(2.0, description="greatest sharpness of a source (dao, iraf)")
    roundlo: float = Field(0.0, description="least roundness of a source (dao, iraf)")
    roundhi: float = Field(0.2, description="greatest roundness of a source (dao, iraf)")
    brightest: int = Field(200, ge=1, description="number of brightest sources kept (dao, iraf)")
    peakmax: float | None = Field(
        None, description="sources with a brighter pixel than this are left out (dao, iraf)"
    )
    npixels: int = Field(
        10, ge=1, description="least number of connected pixels of a source (segmentation)"
    )
    connectivity: Literal[4, 8] = Field(
        8, description="pixels are connected along edges (4) or corners too (8) (segmentation)"
    )
    nlevels: int = Field(32, ge=1, description="levels tried to deblend a source (segmentation)")
    contrast: float = Field(
        0.001, ge=0, le=1, description="flux fraction of a source that is split off (segmentation)"
    )
    multithresh_mode: Literal["exponential", "linear", "sinh"] = Field(
        "exponential", description="spacing of the deblending levels (segmentation)"
    )
    localbkg_width: int = Field(
        0, ge=0, description="width of the annulus for a local background; 0: none (segmentation)"
    )
    apermask_method: Literal["correct", "mask", "none"] = Field(
        "correct", description="treatment of neighbours within Kron apertures (segmentation)"
    )
    kron_params: Annotated[tuple[float, ...], Field(min_length=2, max_length=3)] | None = Field(
        None, description="scale, least radius and least circular radius of Kron apertures"
    )
    deblend: bool = Field(True, description="split touching sources (segmentation)")

    @field_validator("connectivity", mode="before")
    @classmethod
    def _as_number(cls, value: Any) -> Any:
        # Parameter files of CRDS hold options as text.
        return int(value) if isinstance(value, str) and value.isdigit() else value

    @model_validator(mode="after")
    def _has_kernel(self) -> Self:
        if self.kernel_fwhm == 0 and self.starfinder != "segmentation":
            raise ValueError(f"kernel_fwhm is 0: the {self.starfinder} finder needs a kernel")
        return self

    @property
    def min_separation(self) -> int:
        """Radius, in pixels, within which a source must be the highest peak."""
        return max(2, int(self.minsep_fwhm * self.kernel_fwhm + 0.5))


@dataclass(frozen=True)
class Sources:
    """What a finder found: ``table`` with at least ``id xcentroid ycentroid flux``, segments, or a reason for none."""

    table: Table
    segments: np.ndarray | None = None
    reason: str = ""


def no_sources(reason: str) -> Sources:
    """An empty catalogue."""
    from astropy.table import QTable

    names = ("id", "xcentroid", "ycentroid", "flux")
    return Sources(QTable(names=names, dtype=(int, float, float, float)), None, reason)


def unusable(dq: np.ndarray) -> np.ndarray:
    """Pixels (y, x) outside the imaging area or not to be used."""
    return np.asarray(dq & UNUSABLE, bool)


def find(
    data: np.ndarray,
    error: np.ndarray | None,
    coverage_mask: np.ndarray,
    params: FinderParams,
    wcs: Any = None,
) -> Sources:
    """Sources of the image ``data`` (y, x) outside ``coverage_mask`` (y, x), above ``snr_threshold`` noise.

    ``error`` and ``wcs`` serve the segmentation finder (flux errors, sky positions of bounding boxes). The threshold
    of the dao and iraf finders is one number, the median over the frame, masked pixels counting as zero, as in the
    JWST calibration pipeline.
    """
    if not np.isfinite(data[~coverage_mask]).any():
        return no_sources("no usable pixel is finite")
    with _quiet():
        try:
            level, noise = background(data, params.bkg_boxsize, coverage_mask)
        except ValueError as error_:
            return no_sources(f"the background cannot be measured: {error_}")
        threshold = params.snr_threshold * noise
        signal = data - level
        if params.starfinder == "segmentation":
            return _segmented(signal, error, threshold, coverage_mask, params, wcs)
        return _stars(signal, float(np.median(threshold)), coverage_mask, params)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence photutils, which warns of every NaN and every empty result; both are expected and reported by us."""
    from astropy.utils.exceptions import AstropyUserWarning
    from photutils.utils import NoDetectionsWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyUserWarning)
        warnings.simplefilter("ignore", NoDetectionsWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


def background(
    data: np.ndarray, box_size: int, coverage_mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Level and noise (y, x) of the background: 3-sigma clipped median and deviation in boxes, splined; 0 in the mask.

    Where no box has enough good pixels the whole frame is one box. Raises ValueError where that fails too.
    """
    from astropy.stats import SigmaClip
    from photutils.background import Background2D, MedianBackground

    options = {
        "filter_size": FILTER_BOXES,
        "coverage_mask": coverage_mask,
        "sigma_clip": SigmaClip(sigma=CLIP_SIGMA),
        "bkg_estimator": MedianBackground(),
    }
    try:
        boxes = Background2D(data, box_size, **options)
    except ValueError:
        boxes = Background2D(data, data.shape, exclude_percentile=100.0, **options)
    size = (int(boxes.box_size[0]), int(boxes.box_size[1]))
    level = enlarge(boxes.background_mesh, size, data.shape)
    noise = enlarge(boxes.background_rms_mesh, size, data.shape)
    level[coverage_mask] = 0
    noise[coverage_mask] = 0
    return level, noise


def enlarge(mesh: np.ndarray, box: tuple[int, int], shape: tuple[int, ...]) -> np.ndarray:
    """The mesh of box values as an image of ``shape``: cubic splines through the boxes' centres, within its range."""
    if np.ptp(mesh) == 0:
        return np.full(shape, mesh.min(), mesh.dtype)
    along_y = spline_weights(mesh.shape[0], box[0])[: shape[0]]
    along_x = spline_weights(mesh.shape[1], box[1])[: shape[1]]
    image = (along_y @ mesh.astype(np.float64) @ along_x.T).astype(mesh.dtype)
    return np.clip(image, mesh.min(), mesh.max(), out=image)


@lru_cache(maxsize=16)
def spline_weights(count: int, size: int) -> np.ndarray:
    """Weights (count * size, count) that spline ``count`` boxes of ``size`` pixels along one axis."""
    from scipy.ndimage import zoom

    weights = np.stack(
        [zoom(row, size, order=3, mode="reflect", grid_mode=True) for row in np.eye(count)], axis=1
    )
    weights.setflags(write=False)
    return weights


@kernel
def local_maxima(image, mask, threshold, radius):  # type: ignore[no-untyped-def]
    """Positions (n, 2) x, y of pixels above ``threshold`` that no pixel within ``radius`` exceeds.

    ``image`` (y, x) float, ``mask`` (y, x) bool: masked and NaN pixels are no maxima. Beyond the edge the image is 0;
    NaN neighbours are ignored. Ties are all kept. In order of rows.
    """
    ny, nx = image.shape
    found = []
    for y in range(ny):
        for x in range(nx):
            value = image[y, x]
            if not value > threshold or mask[y, x]:
                continue
            highest = True
            for dy in range(-radius, radius + 1):
                for dx in range(-radius, radius + 1):
                    if dx * dx + dy * dy > radius * radius:
                        continue
                    v, u = y + dy, x + dx
                    inside = 0 <= v < ny and 0 <= u < nx
                    if (inside and image[v, u] > value) or (not inside and value < 0):
                        highest = False
                        break
                if not highest:
                    break
            if highest:
                found.append((x, y))
    peaks = np.empty((len(found), 2), np.int64)
    for row in range(len(found)):
        peaks[row, 0], peaks[row, 1] = found[row]
    return peaks


def _stars(signal: np.ndarray, threshold: float, mask: np.ndarray, params: FinderParams) -> Sources:
    from photutils.detection import DAOStarFinder, IRAFStarFinder
    from scipy.ndimage import convolve

    finder_class = DAOStarFinder if params.starfinder == "dao" else IRAFStarFinder
    options = {
        "fwhm": params.kernel_fwhm,
        "sigma_radius": params.sigma_radius,
        "min_separation": params.min_separation,
        "sharpness_range": (params.sharplo, params.sharphi),
        "roundness_range": (params.roundlo, params.roundhi),
        "n_brightest": params.brightest,
        "peak_max": params.peakmax,
    }
    finder = finder_class(threshold, **options)
    filtered = convolve(signal, finder.kernel.data, mode="constant", cval=0.0)
    cut = float(getattr(finder, "threshold_eff", threshold))
    peaks = local_maxima(np.ascontiguousarray(filtered), mask, cut, params.min_separation)
    if not len(peaks):
        return no_sources(f"no pixel is {params.snr_threshold:g} sigma above the background")
    table = finder_class(threshold, xycoords=peaks, **options)(signal, mask=mask)
    if table is None:
        return no_sources(
            f"none of {len(peaks)} peaks has the sharpness and roundness of a star; "
            "widen sharplo, sharphi, roundlo, roundhi"
        )
    return Sources(_with_names(table, {"x_centroid": "xcentroid", "y_centroid": "ycentroid"}))


def _with_names(table: Any, names: dict[str, str]) -> Table:
    from astropy.table import QTable

    plain = QTable(table, copy=False)
    for old, new in names.items():
        plain.rename_column(old, new)
    return plain


def _segmented(
    signal: np.ndarray,
    error: np.ndarray | None,
    threshold: np.ndarray,
    mask: np.ndarray,
    params: FinderParams,
    wcs: Any,
) -> Sources:
    from astropy.table import QTable
    from photutils import use_future_column_names
    from photutils.segmentation import SourceCatalog

    smooth = smoothed(signal, params.kernel_fwhm, mask)
    segments = segmented(
        smooth,
        threshold,
        mask,
        npixels=params.npixels,
        connectivity=params.connectivity,
        deblend=params.deblend,
        nlevels=params.nlevels,
        contrast=params.contrast,
        mode=params.multithresh_mode,
    )
    if segments is None:
        return no_sources(
            f"no {params.npixels} connected pixels are {params.snr_threshold:g} sigma "
            "above the background"
        )
    with use_future_column_names():
        catalogue = SourceCatalog(
            signal,
            segments,
            mask=mask,
            convolved_data=smooth,
            error=error,
            wcs=wcs,
            local_bkg_width=params.localbkg_width,
            aperture_mask_method=params.apermask_method,
            kron_params=params.kron_params or KRON_PARAMS,
        )
    table = QTable()
    for name, column in SEGMENT_COLUMNS.items():
        table[column] = getattr(catalogue, name)
    for name in SHAPE_COLUMNS if wcs is not None else ():
        table[name] = getattr(catalogue, name)
    table.meta.update(catalogue.meta)
    return Sources(table, segments.data)


def smoothed(data: np.ndarray, fwhm: float, mask: np.ndarray) -> np.ndarray:
    """``data`` (y, x) convolved with a Gaussian of ``fwhm`` pixels, masked and NaN pixels interpolated over."""
    if not fwhm:
        return data
    from astropy.convolution import Gaussian2DKernel, convolve
    from astropy.stats import gaussian_fwhm_to_sigma

    result: np.ndarray = convolve(data, Gaussian2DKernel(fwhm * gaussian_fwhm_to_sigma), mask=mask)
    return result
