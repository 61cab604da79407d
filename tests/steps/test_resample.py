"""Mosaics: flux, noise, laziness, tiles, headers, refusals."""

import pickle

import dask
import numpy as np
import pytest
from image3_examples import DEC, PIXEL, RA, picture, pointing, sky_of_stars
from mosaic_examples import SHAPE, calibrated, counted, dithered, flag
from pydantic import ValidationError

from jwpipe.exposure import ExposureError
from jwpipe.stage3.resample import (
    ResampleParams,
    combine,
    resample,
    resample_exposures,
    resample_groups,
)
from jwpipe.stage3.tiles import fill_value

VARIABLES = ("sci", "err", "con", "wht", "var_poisson", "var_rnoise", "var_flat")


@pytest.fixture(scope="module")
def exposures():
    return dithered()


@pytest.fixture(scope="module")
def mosaic(exposures):
    return resample_exposures(exposures, ResampleParams()).compute()


def same(a, b):
    assert list(a) == list(b)
    for name in a:
        np.testing.assert_array_equal(a[name].values, b[name].values, err_msg=str(name))


def test_variables(mosaic):
    assert tuple(mosaic) == VARIABLES
    assert mosaic["con"].dims == ("plane", "y", "x")
    assert mosaic["con"].dtype == np.int32
    assert all(mosaic[name].dtype == np.float32 for name in VARIABLES if name != "con")
    assert mosaic["sci"].attrs == mosaic["err"].attrs == {"units": "MJy/sr"}
    assert mosaic.attrs["product"] == "i2d"
    assert mosaic.attrs["wcs"].array_shape == mosaic["sci"].shape


def test_a_flat_sky_stays_flat_to_the_very_edge():
    """Where the mosaic cuts the exposures, the outermost pixels have less than the full weight of 4 / 0.0004."""
    images = [calibrated(np.full(SHAPE, 3.0), pointing(0.1 * k, 0.02 * k), k + 1) for k in range(4)]
    for found in images:
        found["var_rnoise"].values[:] = 4e-4
    params = ResampleParams(crval=(RA, DEC), crpix=(12.3, 9.1), output_shape=(30, 22))
    mosaic = resample_exposures(images, params).compute()
    assert mosaic["sci"].shape == (22, 30)
    np.testing.assert_allclose(mosaic["sci"], 3.0, rtol=1e-6)
    full = 4 / 4e-4
    np.testing.assert_allclose(mosaic["wht"][1:-1, 1:-1], full, rtol=1e-4)
    assert (mosaic["wht"] < full * 1.0001).all()
    assert (mosaic["wht"] > full / 2).all()
    # Errors are drizzled as if fully correlated within an exposure, and average over exposures.
    np.testing.assert_allclose(mosaic["var_rnoise"], 4e-4 / 4, rtol=1e-4)
    assert (mosaic["con"] == 0b1111).all()


@pytest.mark.parametrize("ratio", [1.0, 0.6, 1.4])
def test_stars_keep_their_flux(ratio):
    """Surface brightness times pixel area: the sum over a star does not depend on the pixel scale."""
    stars = (np.array([RA]), np.array([DEC]), np.array([100.0]))
    images = []
    for k, offset in enumerate((0.0, 0.11, -0.07)):
        where = pointing(offset, offset / 2)
        star = picture(stars, where, shape=SHAPE, level=0.0, noise=0.0)
        images.append(calibrated(star, where, k + 1))
    params = ResampleParams(pixel_scale_ratio=ratio, weight_type=None)
    mosaic = resample_exposures(images, params).compute()
    total = float(np.nansum(mosaic["sci"], dtype=float)) * ratio**2
    assert total == pytest.approx(100, rel=1e-4)
    y, x = np.indices(mosaic["sci"].shape)
    light = np.nan_to_num(mosaic["sci"].values.astype(float))
    centre = mosaic.attrs["wcs"]((x * light).sum() / light.sum(), (y * light).sum() / light.sum())
    np.testing.assert_allclose(centre, (RA, DEC), atol=0.01 * PIXEL / 3600)


def test_errors_scale_with_the_pixels(exposures, mosaic):
    """Errors per pixel are divided by the ratio of the scales."""
    fine = resample_exposures(exposures, ResampleParams(pixel_scale_ratio=0.5)).compute()
    assert np.nanmedian(fine["err"]) == pytest.approx(2 * np.nanmedian(mosaic["err"]), rel=0.02)
    total = mosaic["var_poisson"] + mosaic["var_rnoise"] + mosaic["var_flat"]
    np.testing.assert_allclose(mosaic["err"] ** 2, total, rtol=1e-5)


@pytest.mark.parametrize("kernel", ["square", "gaussian", "point", "turbo", "lanczos3"])
def test_tiles_do_not_show(exposures, kernel):
    params = ResampleParams(kernel=kernel, pixfrac=0.9, pixel_scale_ratio=0.9, propagate_dq=True)
    whole = resample_exposures(exposures, params, side=500).compute()
    assert tuple(whole) == ("sci", "err", "dq", *VARIABLES[2:])
    tiled = resample_exposures(exposures, params, side=23)
    assert len(tiled["sci"].chunks[0]) > 2
    same(tiled.compute(), whole)
    lazy = [counted(exposure)[0] for exposure in exposures]
    same(resample_exposures(lazy, params, side=40).compute(), whole)


def test_a_cutout_reads_only_what_is_under_it(exposures, mosaic):
    """Exposures far from the cutout are not read at all, the others near it only."""
    away = calibrated(np.ones(SHAPE), pointing(6.0, 0.0), 9)
    lazy, counters = zip(*(counted(exposure) for exposure in (*exposures, away)), strict=True)
    wide = resample_exposures(lazy, ResampleParams(), side=16)
    assert not any(c.read.any() for own in counters for c in own.values())
    x, y = wide.attrs["wcs"].invert(RA, DEC)
    cut = wide.isel(y=slice(int(y) - 4, int(y) + 4), x=slice(int(x) - 4, int(x) + 4))
    values = cut["sci"].compute()
    assert np.isfinite(values).all()
    assert not any(counter.read.any() for counter in counters[-1].values())
    for own in counters[:-1]:
        read = own["sci"].read
        assert 0 < np.count_nonzero(read) < 0.75 * read.size
        assert not own["err"].read.any()
    # The same pixels of the mosaic without the far exposure, from the grid's other corner.
    px, py = mosaic.attrs["wcs"].invert(RA, DEC)
    window = mosaic["sci"].values[round(float(py)) - 12 :, round(float(px)) - 12 :][:24, :24]
    assert abs(float(values.mean()) - float(np.nanmean(window))) < 2


def test_sky_levels_go_off_once():
    flat = np.full(SHAPE, 5.0)
    level = calibrated(flat, pointing(), 1, level=2.0)
    done = calibrated(flat, pointing(), 2, level=2.0)
    done = done.assign_attrs(primary={**done.attrs["primary"], "BKGSUB": True})
    for found, expected in ((level, 3.0), (done, 5.0)):
        mosaic = resample_exposures([found], ResampleParams()).compute()
        assert np.nanmedian(mosaic["sci"]) == pytest.approx(expected)
        assert not {"BKGLEVEL", "BKGSUB"} & {*mosaic.attrs["primary"], *mosaic.attrs["sci"]}


def test_bad_pixels_do_not_count():
    image = np.full(SHAPE, 1.0)
    image[30, 40] = 1000.0
    clean = calibrated(np.ones(SHAPE), pointing(), 1)
    for value in (1, 1 << 9):
        marked = calibrated(image, pointing(), 2)
        marked["dq"].values[30, 40] = value
        mosaic = resample_exposures([clean, marked], ResampleParams()).compute()
        assert float(np.nanmax(mosaic["sci"])) == pytest.approx(1, rel=1e-6)
    jump = calibrated(image, pointing(), 2)
    jump["dq"].values[30, 40] = 4
    assert float(np.nanmax(resample_exposures([clean, jump], ResampleParams())["sci"])) > 100
    blank = flag(calibrated(image, pointing(), 2), [(30, 40)], value=0)
    mosaic = resample_exposures([clean, blank], ResampleParams()).compute()
    assert float(np.nanmax(mosaic["sci"])) == pytest.approx(1, rel=1e-6)


def test_weights():
    """Read noise 1 and 2: weights 1 and 1/4; exposure times 95 each; or equal."""
    images = []
    for number, (value, noise) in enumerate(((1.0, 1.0), (2.0, 4.0)), 1):
        found = calibrated(np.full(SHAPE, value), pointing(), number)
        found["var_rnoise"].values[:] = noise
        images.append(found)

    def centre(**options):
        mosaic = resample_exposures(images, ResampleParams(**options)).compute()
        return [float(mosaic[name].values[30, 30]) for name in ("sci", "wht", "var_rnoise")]

    np.testing.assert_allclose(centre(), [1.2, 1.25, (1 + 4 / 16) / 1.25**2], rtol=1e-4)
    np.testing.assert_allclose(centre(weight_type="exptime"), [1.5, 190, 5 / 4], rtol=1e-4)
    np.testing.assert_allclose(centre(weight_type=None), [1.5, 2, 5 / 4], rtol=1e-4)


def test_without_variances(exposures):
    """No read noise: equal weights; a variance that an exposure lacks is not counted."""
    names = ["var_rnoise", "var_flat"]
    mosaic = resample_exposures([e.drop_vars(names) for e in exposures], ResampleParams()).compute()
    assert np.isnan(mosaic["var_rnoise"]).all()
    np.testing.assert_allclose(mosaic["err"], np.sqrt(mosaic["var_poisson"]), rtol=1e-6)
    assert float(mosaic["wht"].max()) == pytest.approx(4, rel=1e-3)


def test_what_is_made(exposures):
    def made(**options):
        return tuple(resample_exposures(exposures, ResampleParams(**options)))

    assert made(enable_ctx=False, report_var=False) == ("sci", "err", "wht")
    assert made(enable_err=False) == ("sci", "con", "wht")


def test_fill_values(exposures):
    away = [*exposures, calibrated(np.ones(SHAPE), pointing(4.0, 0.0), 9)]
    mosaic = resample_exposures(away, ResampleParams(fillval="-7")).compute()
    empty = mosaic["wht"].values == 0
    assert empty.any()
    assert (mosaic["sci"].values[empty] == -7).all()
    assert np.isnan(mosaic["err"].values[empty]).all()
    assert np.isnan(fill_value("INDEF"))
    assert np.isnan(fill_value(" nan"))


def test_many_exposures_and_context_planes():
    """40 exposures of one pixel's dither each: batches, and a second context plane."""
    images = [calibrated(np.full(SHAPE, k), pointing(0.003 * k, 0), k + 1) for k in range(40)]
    mosaic = resample_exposures(images, ResampleParams(weight_type=None), side=30).compute()
    assert mosaic.sizes["plane"] == 2
    middle = mosaic.isel(y=30, x=36)
    assert middle["con"].values.astype(np.uint32).tolist() == [0xFFFFFFFF, 0xFF]
    assert float(middle["sci"]) == pytest.approx(19.5, rel=1e-5)
    assert mosaic.attrs["primary"]["NDRIZ"] == 40


def test_groups(exposures):
    """Each group by itself on the common grid; ERR is drizzled, and its context starts anew."""
    together = exposures[1].assign_attrs(group_id="both")
    images = [exposures[0].assign_attrs(group_id="both"), together, exposures[2]]
    first, second = resample_groups(images, ResampleParams())
    assert tuple(first) == ("sci", "err", "con", "wht")
    assert first["sci"].shape == second["sci"].shape
    assert int(first["con"].max()) == 0b11
    assert int(second["con"].max()) == 1
    assert float(np.nanmedian(second["err"])) == pytest.approx(
        float(np.nanmedian(exposures[2]["err"])), rel=0.05
    )
    assert second.attrs["primary"]["NDRIZ"] == 1


def test_header(exposures, mosaic):
    made = resample_exposures(
        exposures,
        ResampleParams(pixfrac=0.8),
        filename="name_i2d.fits",
        pool="pool",
        association="asn.json",
    ).attrs
    primary, sci = made["primary"], made["sci"]
    assert primary["FILENAME"] == made["filename"] == "name_i2d.fits"
    assert (primary["ASNPOOL"], primary["ASNTABLE"]) == ("pool", "asn.json")
    expected = {"NDRIZ": 4, "RESWHT": "ivm", "PIXFRAC": 0.8, "PXSCLRT": 1.0}
    expected |= {"EFFEXPTM": 400.0, "TMEASURE": 380.0, "DURATION": 440.0}
    expected |= {"EXPSTART": 61001.0, "EXPEND": 61004.5}
    assert {name: primary[name] for name in expected} == expected
    assert (sci["XPOSURE"], sci["TELAPSE"]) == (400.0, 440.0)
    assert sci["PIXAR_A2"] == pytest.approx(PIXEL**2, rel=1e-5)
    assert sci["PIXAR_SR"] == pytest.approx(np.radians(PIXEL / 3600) ** 2, rel=1e-5)
    assert not {"RA_REF", "ROLL_REF", "V3I_YANG", "VPARITY"} & set(sci)
    assert (sci["CTYPE1"], sci["CUNIT1"], sci["RADESYS"]) == ("RA---TAN", "deg", "ICRS")
    assert len(made["tables"]["HDRTAB"]) == 4
    assert made["tables"]["HDRTAB"]["EXPOSURE"].tolist() == [b"00001", b"00002", b"00003", b"00004"]


def test_fits_keywords_are_the_wcs(mosaic):
    from astropy.wcs import WCS

    sci = mosaic.attrs["sci"]
    keys = [
        k for k in sci if k[:5] in ("CRPIX", "CRVAL", "CDELT", "CTYPE", "CUNIT") or k[:2] == "PC"
    ]
    fits = WCS({k: sci[k] for k in keys})
    x, y = np.array([0.0, 50.0, 3.0]), np.array([0.0, 20.0, 40.0])
    ours, theirs = mosaic.attrs["wcs"](x, y), fits.all_pix2world(x, y, 0)
    np.testing.assert_allclose(ours, theirs, atol=1e-11)


def test_headers_are_blended(exposures):
    other = exposures[1]
    other = other.assign_attrs(
        primary={**other.attrs["primary"], "DETECTOR": "NRCB2", "FWPOSOFF": 2.0}
    )
    made = resample_exposures([exposures[0], other], ResampleParams()).attrs
    assert made["primary"]["DETECTOR"] == "MULTIPLE"
    assert made["primary"]["FWPOSOFF"] == 2.0
    table = made["tables"]["HDRTAB"]
    assert table["DETECTOR"].tolist() == [b"NRCB1", b"NRCB2"]
    np.testing.assert_array_equal(table["FWPOSOFF"], [np.nan, 2.0])
    plain = resample_exposures([exposures[0], other], ResampleParams(blendheaders=False)).attrs
    assert plain["primary"]["DETECTOR"] == "NRCB1"
    assert plain["tables"] == {}


def test_region_is_the_outline(exposures, mosaic):
    """One polygon, whose area is that of the pixels with weight."""
    from jwpipe.stage3.grid import parse_region

    (outline,) = parse_region(mosaic.attrs["sci"]["S_REGION"])
    x, y = mosaic.attrs["wcs"].invert(*outline.T, with_bounding_box=False)
    area = 0.5 * abs(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))
    assert area == pytest.approx(np.count_nonzero(mosaic["wht"]), rel=0.02)


def test_one_exposure(exposures):
    """The quick look of image2, as a step."""
    made = resample.function(exposures[0], None, ResampleParams())
    assert made.attrs["filename"] == "jw01234001001_02101_00001_nrcb1_i2d.fits"
    assert made.attrs["tables"] == {}
    assert made.attrs["primary"]["NDRIZ"] == 1
    assert resample.applies({"EXP_TYPE": "NRC_IMAGE"}, ResampleParams()) == ""
    assert "NRC_WFSS" in resample.applies({"EXP_TYPE": "NRC_WFSS"}, ResampleParams())
    assert combine.name == resample.name == "resample"


def test_custom_wcs(exposures, mosaic, tmp_path):
    asdf = pytest.importorskip("asdf")
    path = tmp_path / "grid.asdf"
    asdf.AsdfFile({"wcs": mosaic.attrs["wcs"], "pixel_scale": PIXEL}).write_to(path)
    again = resample_exposures(exposures, ResampleParams(output_wcs=str(path))).compute()
    np.testing.assert_array_equal(again["sci"], mosaic["sci"])


def test_inputs_stay_as_they_are(exposures):
    before = pickle.dumps([e.to_dict(encoding=True)["data_vars"] for e in exposures])
    resample_exposures(exposures, ResampleParams()).compute()
    assert pickle.dumps([e.to_dict(encoding=True)["data_vars"] for e in exposures]) == before


def test_graphs_travel(exposures):
    """A graph computes the same after pickling, as a cluster sends it."""
    mosaic = resample_exposures(exposures, ResampleParams(), side=30)["sci"].data
    again = pickle.loads(pickle.dumps(mosaic))
    first, second = dask.compute(mosaic, again, scheduler="sync")
    np.testing.assert_array_equal(first, second)


def test_names_follow_the_inputs(exposures):
    def name(inputs, **options):
        return resample_exposures(inputs, ResampleParams(**options))["sci"].data.name

    assert name(exposures) == name(exposures)
    assert name(exposures) != name(exposures, pixfrac=0.5)
    assert name(exposures) != name(exposures[:3])


def test_refusals(exposures):
    cube = exposures[0].expand_dims(integration=2)
    with pytest.raises(ExposureError, match="only images are drizzled"):
        resample_exposures([cube.assign_attrs(exposures[0].attrs)], ResampleParams())
    far = ResampleParams(crval=(RA + 0.5, DEC), crpix=(20, 20), output_shape=(40, 40))
    with pytest.raises(ExposureError, match="none of the exposures overlaps"):
        resample_exposures(exposures, far)


@pytest.mark.parametrize(
    "options",
    [
        {"pixfrac": 1.5},
        {"kernel": "tophat"},
        {"weight_type": "ivm-sky"},
        {"fillval": "x"},
        {"pixel_scale": 0},
    ],
)
def test_bad_parameters(options):
    with pytest.raises(ValidationError):
        ResampleParams(**options)


def test_stars_land_where_they_are(mosaic):
    ra, dec, flux = sky_of_stars(15, reach=0.8)
    x, y = mosaic.attrs["wcs"].invert(ra[flux.argmax()], dec[flux.argmax()])
    brightest = np.unravel_index(np.nanargmax(mosaic["sci"].values), mosaic["sci"].shape)
    assert np.hypot(brightest[0] - y, brightest[1] - x) < 1
