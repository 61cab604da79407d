"""The picture frame of NIRSpec: regions, scaling, and the lazy step against plain numpy."""

import sys

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from astropy.io import fits

import jwpipe.stage1  # noqa: F401
from jwpipe.exposure import Header
from jwpipe.refs import References
from jwpipe.stage1.picture_frame import (
    PictureFrameParams,
    background,
    correct,
    further_products,
    picture_frame,
    region_map,
    without_frame,
)

MODULE = sys.modules["jwpipe.stage1.picture_frame"]
SIZE = 40


def test_regions_of_the_full_frame():
    """The middle is 1908 pixels wide; the edges are 71 and 58, within the reference pixels and one more."""
    regions = region_map(np.ones((2048, 2048), bool))
    assert (regions == 1).sum() == 1908**2
    outer, inner = 2043 - 4, 1985 - 75
    assert (regions == 2).sum() == outer**2 - inner**2
    assert not regions[:4].any()
    assert not regions[:, 2043:].any()
    assert not regions[75, 75:1985].any()
    assert not region_map(np.zeros((2048, 2048), bool)).any()


PATTERN = np.array([[1.0, 3.0]], np.float32)
REFERENCE = np.array([1.0, 3.0], np.float32)


def test_the_first_group_is_the_origin():
    """12 to 2 in the middle and near the edge: 5 of the pattern less 3, and 2: 12 and 2 of what the group adds."""
    sci = np.array([[[[100, 200]], [[150, 250]]]], np.float32)
    levels = np.array([[12, 2]], np.float32)
    before = sci.copy()
    result = without_frame(sci, PATTERN, levels, REFERENCE)
    np.testing.assert_array_equal(sci, before)
    np.testing.assert_array_equal(result[0, 0], [[100, 200]])
    np.testing.assert_array_equal(result[0, 1], [[150 - 12, 250 - 2]])


def test_rates_lose_the_pattern_as_they_are():
    rate = np.array([[12, 2]], np.float32)
    levels = np.array([[12, 2]], np.float32)
    np.testing.assert_array_equal(without_frame(rate, PATTERN, levels, REFERENCE), [[0, 0]])
    cube = np.stack([rate, rate + 1])
    levels = np.array([[12, 2], [13, 3]], np.float32)
    np.testing.assert_array_equal(without_frame(cube, PATTERN, levels, REFERENCE), 0 * cube)


def test_without_background_nothing_is_subtracted():
    rate = np.array([[12, 2]], np.float32)
    levels = np.array([[12, np.nan]], np.float32)
    none = np.array([1, np.nan], np.float32)
    np.testing.assert_array_equal(without_frame(rate, PATTERN, levels, none), rate)


@pytest.fixture
def small(monkeypatch, tmp_path):
    """Regions of a small frame, and a pattern on it that is larger near the edges."""
    for name, part in {
        "INNER": (8, 32),
        "OUTER": (1, 39),
        "BELOW": (1, 8),
        "ABOVE": (32, 39),
    }.items():
        monkeypatch.setattr(MODULE, name, slice(*part))
    draw = np.random.default_rng(3)
    pattern = draw.normal(0, 0.3, (SIZE, SIZE)).astype(np.float32)
    pattern[region_map(np.ones((SIZE, SIZE), bool)) == 2] += 3
    hdus = fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(pattern, name="SCI")])
    hdus.writeto(tmp_path / "pattern.fits")
    references = References.from_files({"pictureframe": tmp_path / "pattern.fits"})
    return pattern, references


def expected(sci, pattern, mask):
    """What numpy makes of whole frames."""
    regions = region_map(mask)
    frames = sci[:, 1:] - sci[:, :1] if sci.ndim == 4 else sci
    middle, edge = (
        np.nanmedian(frames[..., regions == k], axis=-1)[..., None, None] for k in (1, 2)
    )
    of_middle, of_edge = (np.nanmedian(pattern[regions == k]) for k in (1, 2))
    change = (middle - edge) / (of_middle - of_edge) * (pattern - of_edge) + edge
    if sci.ndim < 4:
        return sci - change
    return np.concatenate([sci[:, :1], frames + (sci[:, :1] - change)], axis=1)


def lazy(sci, looks, **variables):
    """An exposure whose blocks tell ``looks`` that they are computed."""

    def look(block):
        looks.append(block.shape)
        return block

    dims = (
        ("integration", "group", "y", "x")[-sci.ndim :]
        if sci.ndim != 3
        else ("integration", "y", "x")
    )
    chunks = (*sci.shape[:-2], 16, SIZE)
    pixels = da.from_array(sci, chunks).map_blocks(look, dtype=sci.dtype, meta=sci[:0])
    attrs = {"primary": {"EXP_TYPE": "NRS_IFU", "INSTRUME": "NIRSPEC"}}
    return xr.Dataset({"sci": (dims, pixels)} | variables, attrs=attrs)


OPTIONS = PictureFrameParams(mask_science_regions=False, save_mask=True, save_correction=True)


@pytest.mark.parametrize("shape", [(2, 4, SIZE, SIZE), (3, SIZE, SIZE), (SIZE, SIZE)])
def test_blocks_give_what_whole_frames_give(small, shape):
    pattern, references = small
    draw = np.random.default_rng(8)
    strength = np.arange(np.prod(shape[:-2])).reshape(*shape[:-2], 1, 1)
    sci = (draw.normal(100, 20, shape) + strength * pattern).astype(np.float32)
    sci[draw.random(shape) < 0.02] = np.nan
    looks: list[tuple[int, ...]] = []
    extra = (
        {"rate.sci": (("y", "x"), da.from_array(sci[0, 1], (16, SIZE)))} if len(shape) == 4 else {}
    )
    exposure = lazy(sci, looks, **extra)
    result = correct(exposure, references, OPTIONS)
    assert not looks
    assert list(result) == ["sci"]
    found = result["sci"].values
    # Three blocks: once for the mask where the rate is the exposure's own, twice for medians, once for the result.
    assert len(looks) == 3 * (3 if extra else 4)
    mask = background(exposure, references, OPTIONS).compute()
    assert 0.5 < mask.mean() < 1
    np.testing.assert_array_equal(found, expected(sci, pattern, mask))
    products = further_products(exposure, references, OPTIONS)
    np.testing.assert_array_equal(products["pctfrm_mask"]["sci"], mask)
    np.testing.assert_array_equal(products["pctfrm_correction"]["sci"], found - sci)


def test_which_exposures_show_it():
    params = PictureFrameParams()
    assert params.skip
    words = {"INSTRUME": "NIRSPEC", "SUBARRAY": "FULL", "NGROUPS": 5, "EXP_TYPE": "NRS_IFU"}
    assert picture_frame.applies(Header({"primary": words}), params) == ""
    one = Header({"primary": words | {"NGROUPS": 1}})
    assert "first group" in picture_frame.applies(one, params)
    rate = Header({"primary": words | {"NGROUPS": 1}, "sci": {"BUNIT": "DN/s"}})
    assert picture_frame.applies(rate, params) == ""
    for other in ({"SUBARRAY": "SUB32"}, {"INSTRUME": "NIRCAM"}):
        assert "NIRSpec" in picture_frame.applies(Header({"primary": words | other}), params)
    assert picture_frame.needs is not None
    kinds = picture_frame.needs(rate, params)
    assert {"pictureframe", "msaoper", "camera"} <= set(kinds)
    assert "gain" not in kinds
    alone = picture_frame.needs(Header({"primary": words}), OPTIONS)
    assert alone == ("pictureframe", "gain", "readnoise")
