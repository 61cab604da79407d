"""clean_flicker_noise as a step: products, references, lazy and bounded graphs, and what it does to the truth."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from astropy.io import fits

from jwpipe import simulate
from jwpipe.exposure import ExposureError, Header
from jwpipe.refs import References
from jwpipe.runner import run
from jwpipe.simulate import Instrument, Scene, Truth
from jwpipe.stage1.clean_flicker_noise import (
    CleanFlickerNoiseParams,
    clean,
    clean_flicker_noise,
    extras,
)
from jwpipe.stage1.flicker import graph as flicker_graph
from jwpipe.stage1.flicker import work as flicker_work

NO_REFERENCES = References.from_files({})
IMAGE = {
    "EXP_TYPE": "NRC_IMAGE",
    "SUBARRAY": "SUB64P",
    "SLOWAXIS": 2,
    "DETECTOR": "NRCB1",
    "NINTS": 3,
}


def exposure(shape=(3, 5, 24, 32), seed=1, chunks=None, **changes) -> xr.Dataset:
    """A ramp of 10 DN a group with stripes, its draft rates beside it; or rates of fewer dimensions."""
    rng = np.random.default_rng(seed)
    dims = (
        ("integration", "group", "y", "x")[-len(shape) :]
        if len(shape) != 3
        else ("integration", "y", "x")
    )
    noise = rng.normal(0, 2, (*shape[:-1], 1)) + rng.normal(0, 1, shape)
    ramp = len(shape) == 4
    level = 10 * np.arange(1, shape[1] + 1)[:, None, None] if ramp else 10
    sci = da.from_array((level + noise).astype(np.float32), chunks=chunks or -1)
    variables = {"sci": (dims, sci)}
    if ramp:
        flags = (rng.random(shape) < 0.02).astype(np.uint8) * 4
        variables["groupdq"] = (dims, da.from_array(flags, chunks=chunks or -1))
        variables["pixeldq"] = (dims[2:], da.zeros(shape[2:], dtype=np.uint32))
        rates = (10 + rng.normal(0, 0.5, (shape[0], *shape[2:]))).astype(np.float32)
        variables["rateints.sci"] = (("integration", *dims[2:]), da.from_array(rates))
        variables["rate.sci"] = (dims[2:], da.from_array(rates.mean(axis=0)))
    product = "jump" if ramp else "rate"
    attrs = {"primary": IMAGE | changes, "sci": {}, "filename": "one.fits", "product": product}
    return xr.Dataset(variables, attrs=attrs)


def cleaned(made: xr.Dataset, **params) -> xr.Dataset:
    return clean(made, NO_REFERENCES, CleanFlickerNoiseParams(skip=False, **params))


OPTIONS = [
    {},
    {"single_mask": False},
    {"background_method": "median_image"},
    {"background_method": "none", "n_sigma": 0},
]


@pytest.mark.parametrize("params", OPTIONS)
def test_large_exposures_come_out_as_small_ones(params, monkeypatch):
    made = exposure()
    small = cleaned(made, **params)["sci"].values
    with monkeypatch.context() as patch:
        for module in (flicker_graph, flicker_work):
            patch.setattr(module, "HELD", 0)
        patch.setattr(flicker_graph, "BATCH", 2 * 4 * 24 * 32)
        patch.setattr(flicker_graph, "PIECE", 4 * 24 * 32)
        again = cleaned(exposure(chunks=(3, 5, 7, 16)), **params)
    np.testing.assert_array_equal(again["sci"].values, small)
    np.testing.assert_array_equal(again["groupdq"].values, made["groupdq"].values)


@pytest.mark.parametrize("shape", [(3, 24, 32), (24, 32)])
def test_rates_of_any_chunks(shape):
    chunks = (1, 7, 32)[-len(shape) :]
    whole, parts = (cleaned(exposure(shape, chunks=each)) for each in (None, chunks))
    assert whole["sci"].dims == exposure(shape)["sci"].dims
    np.testing.assert_array_equal(whole["sci"].values, parts["sci"].values)
    assert np.std(whole["sci"].values) < 0.7 * np.std(exposure(shape)["sci"].values)


def test_input_is_left_alone_and_nothing_is_computed(nothing_computed):
    made = exposure()
    result = cleaned(made, save_mask=True)
    assert result["sci"].dtype == np.float32
    assert result["sci"].shape == made["sci"].shape


def test_each_group_is_the_one_before_and_what_was_added_cleaned():
    """Stripes of 2 DN in one group's differences, 10 DN a group: by hand all groups are 10, 20, 30 DN again."""
    sci = np.zeros((1, 3, 6, 9), np.float32) + np.array([10, 20, 30], np.float32)[:, None, None]
    stripes = np.array([-2, 0, 2, -2, 0, 2], np.float32)[:, None]
    sci[0, 1] += stripes
    sci[0, 2] += stripes
    made = exposure((1, 3, 6, 9))
    made["sci"] = made["sci"].copy(data=da.from_array(sci))
    made["groupdq"] = made["groupdq"] * np.uint8(0)
    result = cleaned(made, n_sigma=0)["sci"].values
    np.testing.assert_array_equal(result[0], np.broadcast_to([[[10]], [[20]], [[30]]], (3, 6, 9)))


def test_flagged_samples_tell_nothing_and_holes_stay():
    made = exposure((1, 4, 24, 32))
    sci, flags = made["sci"].values, made["groupdq"].values
    flags[0, 2, 5] = 4
    spoiled = sci.copy()
    spoiled[0, 2, 5] += 1e4
    spoiled[0, 3, 5] += 1e4
    spoiled[0, 1:, 7, 7] = np.nan
    made["groupdq"] = made["groupdq"].copy(data=da.from_array(flags))
    plain = cleaned(made)["sci"].values
    made["sci"] = made["sci"].copy(data=da.from_array(spoiled))
    result = cleaned(made)["sci"].values
    np.testing.assert_allclose(result[0, 2:, 5] - plain[0, 2:, 5], 1e4, rtol=1e-4)
    assert np.isnan(result[0, 1:, 7, 7]).all()
    others = np.ones((24, 32), bool)
    others[5], others[7] = False, False
    np.testing.assert_allclose(result[0, :, others], plain[0, :, others], atol=0.05)


def test_groups_that_tell_nothing_are_left_as_they_are():
    made = exposure((1, 4, 24, 32))
    flags = made["groupdq"].values
    flags[0, 2] = 1
    made["groupdq"] = made["groupdq"].copy(data=da.from_array(flags))
    result, sci = cleaned(made)["sci"].values, made["sci"].values
    np.testing.assert_array_equal(result[0, 2], sci[0, 2])
    assert not np.array_equal(result[0, 3], sci[0, 3])


def test_single_groups_have_nothing_to_clean():
    made = exposure((2, 1, 24, 32))
    np.testing.assert_array_equal(cleaned(made)["sci"].values, made["sci"].values)


def test_further_products():
    made = exposure()
    params = CleanFlickerNoiseParams(
        skip=False, save_mask=True, save_background=True, save_noise=True
    )
    products = extras(made, NO_REFERENCES, params)
    assert list(products) == ["mask", "flicker_bkg", "flicker_noise"]
    assert {name: each.attrs["product"] for name, each in products.items()} == dict(
        zip(products, products, strict=True)
    )
    mask = products["mask"]["sci"].values
    assert set(np.unique(mask)) <= {0.0, 1.0}
    background = products["flicker_bkg"]["sci"].values
    assert (background[:, 0] == 0).all()
    np.testing.assert_allclose(background[:, 1:], 10, atol=3)
    noise = products["flicker_noise"]["sci"].values
    np.testing.assert_array_equal(noise, cleaned(made)["sci"].values - made["sci"].values)
    assert extras(made, NO_REFERENCES, CleanFlickerNoiseParams()) == {}


def test_masks_of_users_are_used(tmp_path):
    made = exposure((24, 32))
    mask = np.ones((24, 32), np.float32)
    mask[:, 16:] = 0
    path = tmp_path / "mine.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(mask, name="SCI")]).writeto(path)
    spoiled = made.copy()
    spoiled["sci"] = made["sci"] + xr.DataArray(1e5 * (1 - mask), dims=("y", "x")).astype(
        np.float32
    )
    one, other = (cleaned(each, user_mask=str(path))["sci"].values for each in (made, spoiled))
    np.testing.assert_array_equal(one[:, :16], other[:, :16])


@pytest.mark.parametrize(
    ("words", "params", "reason"),
    [
        ({"EXP_TYPE": "MIR_MRS"}, {}, "only images"),
        ({"EXP_TYPE": "NIS_IMAGE"}, {"fit_method": "fft"}, "NIRSpec"),
        ({"NINTS": 1}, {"background_method": "median_image"}, "several integrations"),
        ({"EXP_TYPE": "MIR_IMAGE"}, {}, ""),
        ({"EXP_TYPE": "NRS_IFU"}, {"fit_method": "fft"}, ""),
    ],
)
def test_what_is_not_cleaned(words, params, reason):
    found = clean_flicker_noise.applies(
        Header({"primary": IMAGE | words}), CleanFlickerNoiseParams(**params)
    )
    assert (reason in found) if reason else found == ""


def test_time_series_are_scaled_by_their_source():
    """A source that fades by 1, 2 and 3 per cent on a background that does not: its stripes go, the light stays."""
    rng = np.random.default_rng(8)
    y, x = np.mgrid[:24, :32]
    source = 500 * np.exp(-((y - 12) ** 2 + (x - 16) ** 2) / 8)
    fades = np.array([0.99, 0.98, 0.97])
    scene = 1 + fades[:, None, None] * source
    stripes = rng.normal(0, 1, (3, 24, 1)) * np.ones((1, 1, 32))
    made = exposure((3, 24, 32), EXP_TYPE="NRC_TSIMAGE")
    sci = (scene + stripes + rng.normal(0, 0.05, scene.shape)).astype(np.float32)
    made["sci"] = made["sci"].copy(data=da.from_array(sci))
    result = cleaned(made, background_method="median_image")["sci"].values
    # What the median of all has of stripes stays.
    left = (result - scene) - (result - scene).mean(axis=0)
    assert np.std(left) < 0.3 * np.std(stripes)
    light = (result - 1)[:, 8:17, 12:21].sum(axis=(1, 2))
    np.testing.assert_allclose(light / light.mean(), fades / fades.mean(), rtol=2e-3)


def test_a_median_of_integrations_needs_some():
    with pytest.raises(ExposureError, match=r"found one image.*rateints"):
        cleaned(exposure((24, 32)), background_method="median_image")


@pytest.mark.parametrize(
    ("words", "params", "types"),
    [
        ({}, {}, {"gain", "readnoise"}),
        ({"S_RAMP": "COMPLETE"}, {}, set()),
        ({}, {"user_mask": "mine.fits"}, set()),
        ({}, {"autoparam": True, "user_mask": "mine.fits"}, {"gain", "readnoise", "flat"}),
        ({"S_RAMP": "COMPLETE"}, {"apply_flat_field": True}, {"flat"}),
        (
            {"EXP_TYPE": "NIS_SOSS", "S_RAMP": "COMPLETE"},
            {"mask_science_regions": True},
            {"pastasoss"},
        ),
        (
            {"EXP_TYPE": "MIR_IMAGE", "S_RAMP": "COMPLETE"},
            {"mask_science_regions": True},
            {"flat"},
        ),
    ],
)
def test_references_that_are_needed(words, params, types):
    assert clean_flicker_noise.needs is not None
    found = clean_flicker_noise.needs(
        Header({"primary": IMAGE | words}), CleanFlickerNoiseParams(**params)
    )
    assert set(found) == types


def test_shutters_and_slices_need_their_references():
    words = IMAGE | {"EXP_TYPE": "NRS_IFU", "S_RAMP": "COMPLETE"}
    found = clean_flicker_noise.needs(
        Header({"primary": words}), CleanFlickerNoiseParams(mask_science_regions=True)
    )
    assert {"msa", "msaoper", "ifuslicer", "disperser"} <= set(found)


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """A field of few stars, read by a detector whose 1/f noise dominates."""
    return simulate.observation(
        tmp_path_factory.mktemp("noisy"),
        detectors=("NRCB1",),
        dithers=1,
        subarray="SUB160",
        size=128,
        ngroups=6,
        readpatt="RAPID",
        instrument=Instrument(one_over_f=15.0, cosmic_ray_rate=5.0),
        scene=Scene(star_density=0.3, separation=0.8, background=0.3),
    )


def test_less_noise_and_no_bias(noisy, tmp_path):
    """Against the truth the rate scatters less, from line to line much less, and sources keep their light."""
    (uncal,) = noisy.uncal
    truth = Truth.read(next((noisy.folder / "truth").glob("*_truth.npz"))).rate
    rates = {}
    for name, steps in (("plain", {}), ("clean", {"clean_flicker_noise": {"skip": False}})):
        (outcome,) = run("detector1", uncal, tmp_path / name, refs=noisy.references, steps=steps)
        assert not outcome.error
        rates[name] = fits.getdata(next((tmp_path / name).glob("*_rate.fits")))
    faint = truth < np.percentile(truth, 80)
    bright = truth > np.percentile(truth, 99)
    off = {name: np.where(np.isfinite(rate), rate - truth, np.nan) for name, rate in rates.items()}
    lines = {
        name: np.nanstd(np.nanmedian(np.where(faint, each, np.nan), axis=1))
        for name, each in off.items()
    }
    scatter = {name: np.nanstd(each[faint]) for name, each in off.items()}
    assert lines["clean"] < 0.5 * lines["plain"]
    assert scatter["clean"] < 0.9 * scatter["plain"]
    # The drift of the whole frame is no stripe, and stays.
    level = {name: np.nanmedian(each[faint]) for name, each in off.items()}
    assert abs(level["clean"] - level["plain"]) < 0.1 * scatter["clean"]
    assert abs(np.nanmedian(off["clean"][bright]) - level["clean"]) < 0.3 * scatter["clean"]
