"""Superstripe exposures: stacked for the first steps, put together after the reference pixels, references cut alike."""

import io

import asdf
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from astropy.io import fits
from refs_files import image, write
from striped_examples import REPEATED, SOSS, SUBSTRIPES, SUPERSTRIPES
from striped_examples import write as write_case

import jwpipe
from jwpipe.dq import Pixel
from jwpipe.exposure import ExposureError, Header, header
from jwpipe.numerics.stripes import Stack
from jwpipe.refs import References
from jwpipe.refs.content import ReferenceRefused
from jwpipe.refs.placement import Placement, science_placement
from jwpipe.runner import Silent
from jwpipe.stage1.superstripes import (
    STACKED,
    SuperstripesParams,
    assemble,
    assembled_header,
    stack,
    unstack,
    with_stripe_times,
)


def raw(case, **changes):
    """A raw exposure whose pixels hold their row of the detector, plus 10000 times the integration."""
    stripes, words = case.stripes, Header({"primary": case.header | changes})
    frames = []
    for number in range(case.integrations * len(stripes.frames)):
        rows = stripes.rows_of(number % len(stripes.frames)).astype(np.float32)
        across = words["SUBSIZE2" if stripes.axis == "x" else "SUBSIZE1"]
        plane = (
            np.tile(rows, (across, 1)) if stripes.axis == "x" else np.tile(rows[:, None], across)
        )
        frames.append([plane + 10000 * (number // len(stripes.frames))] * case.groups)
    sci = da.from_array(np.array(frames, np.float32), chunks=(3, -1, -1, -1))
    attrs = {"primary": dict(words), "sci": {}, "filename": "one_uncal.fits", "product": "uncal"}
    return xr.Dataset({"sci": (("integration", "group", "y", "x"), sci)}, attrs=attrs)


@pytest.mark.parametrize("case", [SUPERSTRIPES, SOSS, REPEATED], ids=["y", "x", "repeated"])
def test_a_stack_holds_each_superstripe_beside_the_others(case):
    exposure = raw(case)
    stacked = stack(exposure)
    rows = Stack(case.stripes).detector_rows()
    along = stacked["sci"].values.swapaxes(-1, -2) if case.stripes.axis == "x" else stacked["sci"].values  # fmt: skip
    assert along.shape[0] == case.integrations
    np.testing.assert_array_equal(along[0, 0, :, 0], np.where(rows < 0, 0, rows))
    np.testing.assert_array_equal(along[1, -1, rows >= 0, 3], 10000 + rows[rows >= 0])
    assert stack(stacked) is stacked
    np.testing.assert_array_equal(unstack(stacked)["sci"].values, exposure["sci"].values)
    assert STACKED not in unstack(stacked).attrs


def test_other_exposures_are_left_alone():
    exposure = raw(SUBSTRIPES)
    assert stack(exposure) is exposure
    assert unstack(exposure) is exposure


def test_missing_superstripes_are_told():
    exposure = raw(SUPERSTRIPES).isel(integration=slice(0, 15))
    with pytest.raises(ExposureError, match=r"one_uncal\.fits: 15 integrations.*multiple of the 8"):
        stack(exposure)


def assembled(case):
    stacked = stack(raw(case))
    shape = stacked["sci"].shape
    flags = np.arange(shape[-2] * shape[-1], dtype=np.uint32).reshape(shape[-2:])
    stacked["pixeldq"] = (("y", "x"), da.from_array(flags))
    stacked["groupdq"] = (stacked["sci"].dims, da.ones(shape, np.uint8))
    return stacked, assemble(stacked, {}, SuperstripesParams())


def test_superstripes_make_the_field():
    """The field is rows 1810 to 1873 of the detector: read downwards from row 2045 with 165 skipped."""
    stacked, whole = assembled(SUPERSTRIPES)
    assert whole["sci"].shape == (2, 5, 64, 64)
    start = SUPERSTRIPES.stripes.span[0]
    np.testing.assert_array_equal(whole["sci"].values[0, 0, :, 0], start + np.arange(64))
    np.testing.assert_array_equal(whole["sci"].values[1, 4, :, 9], 10000 + start + np.arange(64))
    np.testing.assert_array_equal(whole["groupdq"].values, 1)
    words = header(whole)
    expected = {"SUBSTRT2": start + 1, "SUBSIZE2": 64, "NINTS": 2, "NGROUPS": 5}
    assert {key: words[key] for key in expected} == expected
    assert "MSTR_RD1" not in words
    assert words.read_times == ()
    assert dict(assembled_header(header(stacked))).get("SUBSIZE2") == 64


def test_what_is_never_read_is_marked():
    _, whole = assembled(SOSS)
    assert whole["sci"].shape == (2, 5, 24, 2048)
    values, flags = whole["sci"].values, whole["pixeldq"].values
    np.testing.assert_array_equal(values[0, 0, 0, 4:2044], np.arange(4, 2044))
    for edge in (slice(0, 4), slice(2044, None)):
        assert np.isnan(values[..., edge]).all()
        np.testing.assert_array_equal(flags[:, edge], Pixel.REFERENCE_PIXEL)
        np.testing.assert_array_equal(whole["groupdq"].values[..., edge], 0)


def test_stripes_read_again_are_further_groups():
    _, whole = assembled(REPEATED)
    assert whole["sci"].shape == (2, 12, 6, 64)
    start = REPEATED.stripes.span[0]
    np.testing.assert_array_equal(whole["sci"].values[0, :, :, 0], [start + np.arange(6)] * 12)
    words = header(whole)
    assert words["NGROUPS"] == 12
    assert len(words.read_times) == 12
    assert assembled_header(Header({"primary": REPEATED.header})).read_times == words.read_times


def test_times_are_those_of_whole_integrations():
    clocks, bounds = ("MJD_UTC", "BJD_TDB"), ("start", "mid", "end")
    names = [f"int_{bound}_{clock}" for clock in clocks for bound in bounds]
    columns = [("integration_number", "i4"), *((name, "f8") for name in names)]
    rows = np.zeros(16, columns)
    for number, name in enumerate(names):
        rows[name] = np.arange(16) * 10.0 + number % 3
    words = Header({"primary": SUPERSTRIPES.header | {"INTSTART": 9}})
    tables = with_stripe_times({"INT_TIMES": rows, "GROUP": rows}, words, SUPERSTRIPES.stripes)
    # The first eight last from 0 to 72, their middle is 36; 9 to 24 are the second and third whole integration.
    whole = tables["INT_TIMES"]
    assert list(whole["integration_number"]) == [2, 3]
    assert [whole[f"int_{b}_MJD_UTC"][0] for b in ("start", "mid", "end")] == [0.0, 36.0, 72.0]
    assert [whole[f"int_{b}_BJD_TDB"][1] for b in ("start", "mid", "end")] == [80.0, 116.0, 152.0]
    stripes = tables["INT_TIMES_STRIPE"]
    assert list(stripes["stripe_number"]) == [1, 2, 3, 4, 5, 6, 7, 8] * 2
    assert list(stripes["integration_number"]) == [2] * 8 + [3] * 8
    np.testing.assert_array_equal(stripes["int_mid_MJD_UTC"], rows["int_mid_MJD_UTC"])
    assert with_stripe_times({}, words, SUPERSTRIPES.stripes) == {}


def gain(folder, case, rows=2048, start=1):
    """A gain whose pixels hold their row of the detector, and 0.001 times their column."""
    along_x = case.stripes.axis == "x"
    fast = 2 if along_x else 1
    across, first = (case.header[f"{key}{fast}"] for key in ("SUBSIZE", "SUBSTRT"))
    plane = (start - 1 + np.arange(rows))[:, None] + 0.001 * np.arange(across)
    values = plane.T if along_x else plane
    slow = 3 - fast
    words = {f"SUBSTRT{fast}": first, f"SUBSIZE{fast}": across}
    words |= {f"SUBSTRT{slow}": start, f"SUBSIZE{slow}": rows}
    pixels = np.ascontiguousarray(values, np.float32)
    return write(folder / "gain.fits", "GAIN", image(pixels), **words)


@pytest.mark.parametrize("case", [SUBSTRIPES, SUPERSTRIPES, SOSS], ids=["stripes", "y", "x"])
def test_references_are_cut_as_the_exposure_is_read(tmp_path, case):
    references = References.from_files({"gain": gain(tmp_path, case)}, Header({"primary": case.header}))  # fmt: skip
    array = references["gain"].array("sci")
    rows = Stack(case.stripes).detector_rows() if case.stripes.superstripes else case.stripes.rows_of(0)  # fmt: skip
    values = array.read().T if case.stripes.axis == "x" else array.read()
    assert array.shape == array.read().shape
    np.testing.assert_allclose(values[rows >= 0, 7], rows[rows >= 0] + 0.007, rtol=1e-6)
    assert np.isnan(values[rows < 0]).all()
    # A region is what the whole has there.
    part = array.read(slice(3, 17), slice(5, 20))
    np.testing.assert_array_equal(part, array.read()[3:17, 5:20])


def test_references_of_the_field_follow_when_superstripes_are_together(tmp_path):
    start, size = SUPERSTRIPES.stripes.span
    words = Header({"primary": SUPERSTRIPES.header})
    references = References.from_files(
        {"gain": gain(tmp_path, SUPERSTRIPES, size, start + 1)}, words
    )
    references["gain"].check()
    with pytest.raises(ReferenceRefused, match=r"the exposure needs rows .* of the detector in stripes"):  # fmt: skip
        references["gain"].array("sci")
    placed = references.placed(assembled_header(words))
    np.testing.assert_allclose(placed["gain"].array("sci").read()[:, 0], start + np.arange(size))


def test_references_that_are_too_small_are_refused(tmp_path):
    words = Header({"primary": SUBSTRIPES.header})
    references = References.from_files({"gain": gain(tmp_path, SUBSTRIPES, 500)}, words)
    with pytest.raises(ReferenceRefused, match="give a reference of the full frame"):
        references["gain"].check()


def test_a_reference_of_the_striped_subarray_is_taken_whole(tmp_path):
    rows = SUBSTRIPES.stripes.rows
    path = gain(tmp_path, SUBSTRIPES, rows)
    references = References.from_files({"gain": path}, Header({"primary": SUBSTRIPES.header}))
    np.testing.assert_allclose(references["gain"].array("sci").read()[:, 0], np.arange(rows))


def test_stripes_that_cannot_be_are_told_with_the_keywords():
    words = Header({"primary": SUBSTRIPES.header | {"SUBSIZE2": 45}, "filename": "one_uncal.fits"})
    with pytest.raises(ExposureError, match=r"one_uncal\.fits.*do not fill 45 rows.*MSTR_"):
        science_placement(words)
    assert science_placement({}) is None
    plain = {"SUBSTRT1": 1, "SUBSTRT2": 2, "SUBSIZE1": 3, "SUBSIZE2": 4}
    assert science_placement(plain) == Placement(1, 2, 3, 4)


@pytest.mark.parametrize("case", [SUPERSTRIPES, SOSS], ids=["y", "x"])
def test_a_saved_step_can_be_gone_on_from(tmp_path, case):
    source, files = write_case(case, tmp_path)
    through = jwpipe.detector1(source, overrides=files)
    saved = jwpipe.save(
        jwpipe.run_step("dq_init", source, overrides=files), tmp_path / "one_dq_init.fits"
    )
    again = jwpipe.detector1(saved, overrides=files)
    np.testing.assert_array_equal(again["dq"].values, through["dq"].values)
    np.testing.assert_allclose(again["sci"].values, through["sci"].values, rtol=1e-6)


def test_uneven_times_are_saved_with_the_ramp(tmp_path):
    """The likelihood fit of a saved ramp is that of one go."""
    source, files = write_case(REPEATED, tmp_path)
    through = jwpipe.detector1(source, overrides=files)
    ramp = jwpipe.detector1(source, overrides=files, steps={"ramp_fit": {"skip": True}})
    saved = jwpipe.save(ramp, tmp_path / "one_ramp.fits")
    opened = jwpipe.open(saved)
    assert header(opened).read_times == header(ramp).read_times
    again = jwpipe.detector1(saved, overrides=files)
    np.testing.assert_array_equal(again["sci"].values, through["sci"].values)
    with fits.open(saved) as hdus:
        tree = asdf.open(io.BytesIO(hdus["ASDF"].data.tobytes()))["meta"]
    np.testing.assert_allclose(tree["exposure"]["read_times"], header(ramp).read_times)


def test_the_step_that_puts_them_together_is_saved_as_refpix(tmp_path):
    source, files = write_case(SUPERSTRIPES, tmp_path)
    options = {"overrides": files, "save": ["superstripes"], "watcher": Silent()}
    (outcome,) = jwpipe.run("dark", source, tmp_path / "out", **options)
    assert [path.name for path in outcome.written] == ["jw1_refpix.fits", "jw1_dark.fits"]
