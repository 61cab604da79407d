"""The simulator: what it writes is genuine, and what it says is true is true."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from jwpipe import simulate
from jwpipe.simulate import chance
from jwpipe.simulate.camera import Camera
from jwpipe.simulate.detectors import DETECTORS, Subarray, subarray
from jwpipe.simulate.events import HIT, cosmic_rays, snowball_charge, snowballs
from jwpipe.simulate.exposure import Dither, commanded_attitude
from jwpipe.simulate.geometry import (
    Optics,
    Pointing,
    attitude,
    distortion_model,
    pointing_at,
    to_sky,
    to_v2v3,
)
from jwpipe.simulate.instruments import FILTERS, Instrument, readout
from jwpipe.simulate.optics import OVERSAMPLE, add_stamp, mosaic_apertures, point_spread, star_stamp
from jwpipe.simulate.pixels import NONLINEARITY, pixels
from jwpipe.simulate.readout import expose
from jwpipe.simulate.references import write_references

QUIET = Instrument(
    read_noise=0.0,
    reset_noise=0.0,
    amplifier_drift=0.0,
    odd_even_drift=0.0,
    one_over_f=0.0,
    reset_anomaly=0.0,
    hot_fraction=0.0,
    dead_fraction=0.0,
    cosmic_ray_rate=0.0,
    snowball_rate=0.0,
)
OPTICS = Optics(DETECTORS["NRCB1"], FILTERS["F200W"])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return simulate.observation(
        tmp_path_factory.mktemp("observation"),
        detectors=("NRCB1",),
        dithers=2,
        subarray="SUB160",
        size=96,
        ngroups=4,
        nints=2,
        scene=simulate.Scene(star_density=1.5, star_magnitudes=(18.5, 23.0), separation=0.4),
        seed=3,
    )


def camera(region: Subarray, instrument: Instrument, ngroups: int = 5, pattern: str = "SHALLOW4"):
    timing = readout(pattern, ngroups, 1, frame_time=2.0)
    return Camera(OPTICS.detector, region, timing, instrument)


# chance


@pytest.mark.parametrize("mean", [0.0, 0.05, 2.0, 11.9, 12.1, 300.0, 4e4])
def test_poisson_has_the_mean_and_the_variance_of_poisson(mean):
    level = np.full((300, 300), mean, np.float32)
    counts = chance.poisson(level, np.exp(-level), chance.key("poisson", mean)).astype(float)
    error = np.sqrt(mean / counts.size)
    assert abs(counts.mean() - mean) <= 4 * error
    assert abs(counts.var() - mean) <= 4 * np.sqrt((2 * mean**2 + mean) / counts.size)
    assert np.array_equal(counts, np.rint(counts))


def test_fields_of_a_subarray_are_cuts_of_the_full_frame():
    whole = chance.normal_field(chance.key("a"), 0, 0, 64, 64, 64)
    cut = chance.normal_field(chance.key("a"), 10, 20, 5, 7, 64)
    assert np.array_equal(cut, whole[10:15, 20:27])
    assert abs(whole.mean()) < 0.1
    assert abs(whole.std() - 1) < 0.05


def test_one_over_f_noise_has_unit_variance_and_falling_power():
    series = np.concatenate(
        [chance.one_over_f(chance.generator("f", k), 4096) for k in range(40)]
    ).reshape(40, -1)
    assert abs(series.std() - 1) < 0.1
    power = (np.abs(np.fft.rfft(series, axis=1)) ** 2).mean(axis=0)
    # ten times the frequency, a tenth of the power
    assert power[10:20].mean() / power[100:200].mean() == pytest.approx(10, rel=0.3)


# facts


def test_frame_times_are_those_of_the_instrument():
    b1 = DETECTORS["NRCB1"]
    known = {"FULL": 10.73676, "SUB640": 4.18584, "SUB320": 1.06904, "SUB160": 0.27864}
    known |= {"SUB400P": 1.65624, "SUB64P": 0.05016}
    for name, seconds in known.items():
        assert b1.frame_time(subarray(b1, name)) == pytest.approx(seconds, abs=1e-9)


def test_subarrays_touch_reference_pixels_as_in_reality():
    inner = subarray(DETECTORS["NRCB1"], "SUB320")
    assert (inner.x0, inner.y0) == (0, 0)
    other = subarray(DETECTORS["NRCB2"], "SUB320")
    assert (other.x0, other.y0) == (0, 1728)
    middle = subarray(DETECTORS["NRCBLONG"], "SUB320")
    assert (middle.x0, middle.y0) == (864, 864)
    long = Optics(DETECTORS["NRCBLONG"], FILTERS["F356W"])
    assert pixels(OPTICS, inner, QUIET).sensitive.sum() == 316 * 316
    assert pixels(long, middle, QUIET).sensitive.all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"detectors": ("NRCZ1",)}, "unknown detector"),
        ({"filter": "F000W"}, "unknown filter"),
        ({"filter": "F356W"}, "does not see through"),
        ({"subarray": "SUB1"}, "unknown subarray"),
        ({"readpatt": "SLOW"}, "unknown read pattern"),
        ({"dithers": 0}, "dithers asked for"),
        ({"size": 4000}, "does not fit"),
    ],
)
def test_wrong_arguments_are_refused_by_name(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        simulate.observation(tmp_path / "none", **arguments)
    assert not (tmp_path / "none").exists()


# geometry


@pytest.mark.parametrize("name", list(DETECTORS))
def test_distortion_file_and_optics_agree_both_ways(name):
    detector = DETECTORS[name]
    optics = Optics(detector, FILTERS["F200W" if detector.channel == "SHORT" else "F356W"])
    x, y = np.random.default_rng(0).uniform(0, 2047, (2, 50))
    v2, v3 = optics.to_v2v3(x, y)
    assert np.allclose(optics.to_pixel(v2, v3), (x, y), atol=1e-9)
    model = distortion_model(detector)
    dx, dy = optics.filter.offset
    assert np.allclose(model(x + dx, y + dy), (v2, v3), atol=1e-10)
    assert np.allclose(model.inverse(v2, v3), (x + dx, y + dy), atol=1e-5)


def test_attitude_is_what_its_pointing_says():
    pointing = Pointing(80.48, -69.5, 36.99981692973048, -148.665249, -432.148634)
    matrix = attitude(pointing)
    assert np.allclose(matrix @ matrix.T, np.eye(3))
    # the telescope axis of this pointing in the archive's convention
    axis = (80.77946355935353, -69.42872543159325)
    assert np.allclose(to_sky(matrix, 0.0, 0.0), axis, atol=1e-9)
    ra, dec = np.radians(axis)
    # at the telescope axis the roll is the position angle of the third axis of the matrix
    north, east = matrix[2, 2], -np.sin(ra) * matrix[0, 2] + np.cos(ra) * matrix[1, 2]
    expected = np.degrees(np.arctan2(east, north / np.cos(dec)))
    assert pointing_at(matrix, 0.0, 0.0).roll == pytest.approx(expected, abs=1e-9)
    again = pointing_at(matrix, pointing.v2, pointing.v3)
    assert (again.ra, again.dec) == pytest.approx((pointing.ra, pointing.dec), abs=1e-9)
    assert again.roll == pytest.approx(pointing.roll)
    assert np.allclose(to_v2v3(matrix, *to_sky(matrix, 12.0, -34.0)), (12.0, -34.0))


def test_a_dither_moves_the_target_along_the_pixels():
    place = OPTICS.to_v2v3(1000.0, 1000.0)
    place = float(place[0]), float(place[1])
    still = commanded_attitude((10.0, 20.0), 0.0, place, Dither(1, 1, 0.0, 0.0))
    moved = commanded_attitude((10.0, 20.0), 0.0, place, Dither(1, 1, 0.5, -0.3))
    before = OPTICS.to_pixel(*to_v2v3(still, 10.0, 20.0))
    after = OPTICS.to_pixel(*to_v2v3(moved, 10.0, 20.0))
    scale = OPTICS.detector.pixel_scale
    assert np.allclose(before, 1000.0, atol=1e-6)
    assert (after[0] - before[0]) * scale == pytest.approx(0.5, abs=0.02)
    assert (after[1] - before[1]) * scale == pytest.approx(-0.3, abs=0.02)


def test_areas_are_those_of_the_pixels_on_the_sky():
    region = Subarray("GENERIC", 100, 1700, 3, 3)
    corners = np.array([(100.5, 1700.5), (101.5, 1700.5), (101.5, 1701.5), (100.5, 1701.5)])
    v2, v3 = OPTICS.to_v2v3(*corners.T)
    shoelace = 0.5 * abs(np.sum(v2 * np.roll(v3, -1) - np.roll(v2, -1) * v3))
    nominal = OPTICS.detector.pixel_scale**2
    assert OPTICS.relative_area(region)[1, 1] == pytest.approx(shoelace / nominal, rel=1e-6)


# optics


def band():
    return OPTICS.filter.wavelength, OPTICS.filter.bandwidth, OPTICS.detector.pixel_scale


@pytest.mark.parametrize("place", [(150.0, 150.0), (150.37, 149.81)])
def test_a_star_keeps_its_flux_and_its_place(place):
    image = np.zeros((300, 300), np.float32)
    add_stamp(image, star_stamp(*band()).samples, *place, 100.0)
    assert image.sum(dtype=float) == pytest.approx(100.0, rel=1e-5)
    y, x = np.indices(image.shape)
    core = image * (np.hypot(x - place[0], y - place[1]) < 5)
    found = (core * x).sum() / core.sum(), (core * y).sum() / core.sum()
    assert np.allclose(found, place, atol=0.06)


def test_a_star_outside_the_image_adds_only_what_falls_inside():
    whole, part = np.zeros((300, 300), np.float32), np.zeros((60, 60), np.float32)
    samples = star_stamp(*band()).samples
    add_stamp(whole, samples, 110.0, 150.0, 1.0)
    add_stamp(part, samples, -10.0, 30.0, 1.0)
    assert np.allclose(part, whole[120:180, 120:180], atol=1e-9)


def test_apertures_hold_the_light_they_say():
    apertures = mosaic_apertures(*band())
    assert np.all(np.diff(apertures.radii) > 0)
    assert np.all(np.abs(apertures.corrections * apertures.fractions - 1) < 0.01)
    # the bare image is narrower than that on a mosaic
    image = point_spread(*band())
    count = image.shape[0]
    edge = (np.arange(count) - count // 2) / OVERSAMPLE
    radius = np.hypot(edge[:, None], edge)
    for fraction, limit in zip(apertures.fractions, apertures.radii, strict=True):
        assert image[radius < limit].sum() > fraction


# detector


def test_counts_follow_the_linearity_polynomial_and_stop_at_the_well():
    region = Subarray("GENERIC", 500, 500, 24, 24)
    true = pixels(OPTICS, region, QUIET)
    rate = np.full((24, 24), 3000.0, np.float32)
    rate[:, 12:] = 40000.0
    raw = expose(rate, true, camera(region, QUIET, 6, "RAPID"), "linearity")
    counts = raw.sci[0].astype(float) - true.bias
    linear = counts * (
        1 + sum(c * true.curvature * counts**k for k, c in enumerate(NONLINEARITY, start=1))
    )
    expected = (rate + true.dark) * 2.0 * np.arange(1, 7)[:, None, None]
    noise = np.sqrt(expected / true.gain) + 1
    assert np.all(np.abs(linear - expected)[:, :, :12] < 5.5 * noise[:, :, :12])
    assert np.all(np.abs(counts[-1, :, 12:] - true.well[:, 12:]) <= 1.0)


def test_slopes_are_unbiased_and_groups_average_their_frames():
    region = Subarray("GENERIC", 500, 500, 64, 64)
    true = pixels(OPTICS, region, QUIET)
    cam = camera(region, QUIET, 5, "SHALLOW4")
    raw = expose(np.full((64, 64), 20.0, np.float32), true, cam, "slopes")
    counts = raw.sci[0].astype(float) - true.bias
    mean = counts.mean(axis=(1, 2))
    # the mean time of group g is (5 g + 2.5) frames, and 20 DN/s is nearly linear here
    times = (5 * np.arange(5) + 2.5) * cam.timing.frame_time
    assert np.allclose(mean / (20.0 * times), 1.0, atol=0.02)
    first = (raw.zeroframe[0] - true.bias).mean()
    assert first == pytest.approx(20.0 * cam.timing.frame_time, rel=0.1)


def test_reference_pixels_see_no_light_but_the_electronics():
    instrument = Instrument(cosmic_ray_rate=0.0, snowball_rate=0.0, hot_fraction=0.0)
    region = subarray(DETECTORS["NRCB1"], "SUB160")
    true = pixels(OPTICS, region, instrument)
    raw = expose(np.full((160, 160), 30.0, np.float32), true, camera(region, instrument), "border")
    counts = raw.sci[0].astype(float) - true.bias
    border = counts[:, ~true.sensitive]
    assert np.all(np.abs(np.median(border, axis=1)) < 12)
    drift = np.median(border, axis=1) - np.median(border, axis=1).mean()
    assert drift.std() > 0.5
    assert counts[-1][true.sensitive].mean() > 100


def test_hits_are_recorded_where_and_when_they_fall():
    instrument = Instrument(**(vars(QUIET) | {"cosmic_ray_rate": 60.0, "nonlinearity": 0.0}))
    region = Subarray("GENERIC", 500, 500, 64, 64)
    true = pixels(OPTICS, region, instrument)
    cam = camera(region, instrument, 40, "RAPID")
    dark = np.zeros((64, 64), np.float32)
    raw = expose(dark, true, cam, "hits")
    assert len(raw.hits) > 20
    counts = raw.sci[0].astype(float) - true.bias
    expected = np.zeros((40, 64, 64))
    np.add.at(expected, (raw.hits["frame"], raw.hits["y"], raw.hits["x"]), raw.hits["electrons"])
    expected = np.minimum(np.cumsum(expected / true.gain, axis=0), true.well)
    assert np.all(np.abs(counts - expected) < 6)


def test_tracks_share_their_charge_and_stay_inside():
    region = Subarray("SUB160", 0, 0, 160, 160)
    timing = readout("RAPID", 50, 1, 2.0)
    hits = cosmic_rays(chance.generator("tracks"), region, timing, 2, 5.0)
    assert hits.dtype == HIT
    assert set(hits["integration"]) == {2}
    assert hits["x"].max() < 160
    assert hits["frame"].max() < 50
    pixel_count = np.bincount(hits["event"])
    assert pixel_count.max() > 2
    # 5 per cm^2 and second on 160^2 pixels of 18 micron in 100 s
    assert np.unique(hits["event"]).size == pytest.approx(5 * 160**2 * 18e-4**2 * 100, abs=40)


def test_snowballs_have_a_full_core_and_a_halo():
    region = Subarray("SUB640", 0, 0, 640, 640)
    balls = snowballs(chance.generator("balls"), region, readout("RAPID", 50, 1, 4.0), 0, 0.05)
    box, charge = snowball_charge(balls[0], region)
    assert charge.shape == (box[0].stop - box[0].start, box[1].stop - box[1].start)
    assert charge.max() > 1e5
    assert 0 < charge.min() < 4000


def test_coupling_moves_charge_to_neighbours_only():
    instrument = Instrument(**(vars(QUIET) | {"ipc": 0.005, "nonlinearity": 0.0}))
    region = Subarray("GENERIC", 500, 500, 9, 9)
    true = pixels(OPTICS, region, instrument)
    rate = np.zeros((9, 9), np.float32)
    rate[4, 4] = 4000.0
    raw = expose(rate, true, camera(region, instrument, 2, "RAPID"), "ipc")
    counts = raw.sci[0, -1].astype(float) - true.bias
    total = counts.sum()
    for y, x in ((3, 4), (5, 4), (4, 3), (4, 5)):
        assert counts[y, x] / total == pytest.approx(0.005, rel=0.3)


# files


def models():
    from stdatamodels.jwst import datamodels

    names = {
        "mask": "MaskModel", "saturation": "SaturationModel", "superbias": "SuperBiasModel",
        "linearity": "LinearityModel", "dark": "DarkModel", "gain": "GainModel",
        "readnoise": "ReadnoiseModel", "flat": "FlatModel", "photom": "NrcImgPhotomModel",
        "area": "PixelAreaModel", "apcorr": "NrcImgApcorrModel", "distortion": "DistortionModel",
        "filteroffset": "FilteroffsetModel", "abvegaoffset": "ABVegaOffsetModel",
    }  # fmt: skip
    return {kind: getattr(datamodels, name) for kind, name in names.items()}


def test_every_file_is_valid_without_a_warning(made):
    from stdatamodels.jwst import datamodels

    known = models()
    assert set(made.files["NRCB1"]) == set(known)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind, path in made.files["NRCB1"].items():
            with known[kind](path, strict_validation=True) as model:
                model.validate()
                assert model.meta.instrument.detector in ("NRCB1", None)
                assert model.meta.reftype.lower() == kind
        for path in made.uncal:
            with datamodels.open(path, strict_validation=True) as model:
                assert type(model).__name__ == "Level1bModel"
                model.validate()


def test_raw_files_have_the_names_and_headers_of_the_archive(made):
    assert [path.name for path in made.uncal] == [
        "jw90210001001_02101_00001_nrcb1_uncal.fits",
        "jw90210001001_02101_00002_nrcb1_uncal.fits",
    ]
    with fits.open(made.uncal[0]) as hdus:
        names = [hdu.name for hdu in hdus]
        assert names == ["PRIMARY", "SCI", "ZEROFRAME", "INT_TIMES", "ASDF"]
        assert hdus["SCI"].data.dtype == np.uint16
        assert hdus["SCI"].shape == (2, 4, 96, 96)
        assert hdus["ZEROFRAME"].shape == (2, 96, 96)
        head = hdus[0].header
        assert (head["NGROUPS"], head["NINTS"], head["NFRAMES"], head["GROUPGAP"]) == (4, 2, 4, 1)
        assert head["TGROUP"] == pytest.approx(5 * head["TFRAME"])
        assert (head["SUBSTRT1"], head["SUBSTRT2"], head["SUBSIZE1"]) == (1, 1, 96)


def test_headers_tell_the_commanded_pointing_and_the_truth_errs(made):
    from astropy.wcs import WCS

    truth = made.truth("jw90210001001_02101_00001_nrcb1")
    head = fits.getheader(made.uncal[0], "SCI")
    middle = 47.5
    ra, dec = to_sky(truth.commanded, *OPTICS.to_v2v3(middle, middle))
    assert (head["CRVAL1"], head["CRVAL2"]) == pytest.approx((float(ra), float(dec)), abs=1e-10)
    away = to_sky(truth.commanded, *OPTICS.to_v2v3(80.0, 20.0))
    linear = WCS(head, naxis=2).pixel_to_world_values(80.0, 20.0)
    assert np.allclose(linear, away, atol=0.005 / 3600)
    shift = np.subtract(to_sky(truth.true, -90.0, -480.0), to_sky(truth.commanded, -90.0, -480.0))
    assert 0 < np.hypot(*shift) * 3.6e6 < 40


def test_truth_is_what_the_raw_counts_show(made):
    truth = made.truth("jw90210001001_02101_00002_nrcb1")
    files = made.files["NRCB1"]
    raw = fits.getdata(made.uncal[1], "SCI")[0].astype(float) - fits.getdata(files["superbias"])
    good = (fits.getdata(files["mask"], "DQ") == 0) & np.isfinite(raw).all(axis=0)
    good[truth.hits["y"], truth.hits["x"]] = False
    seconds = 3 * fits.getheader(made.uncal[1])["TGROUP"]
    slope = (raw[3] - raw[0]) / seconds
    # what the amplifier drifted between the groups, the reference pixels tell
    slope -= np.median(slope[fits.getdata(files["mask"], "DQ") == 1 << 4])
    faint = good & (truth.rate < 1)
    assert (slope - truth.rate)[faint].mean() == pytest.approx(0.0, abs=1.0)
    bright = good & (truth.rate > 20)
    assert bright.sum() > 8
    assert np.sum(slope[bright]) / np.sum(truth.rate[bright]) == pytest.approx(1.0, abs=0.05)


def test_hits_between_groups_show_in_the_next(made):
    truth = made.truth("jw90210001001_02101_00001_nrcb1")
    groups = truth.hit_groups()
    frame = truth.hits["frame"]
    assert np.all(groups[frame < 4] == 0)
    assert np.all(groups[frame == 4] == 1)
    assert np.all(groups[(frame >= 5) & (frame < 9)] == 1)


def test_the_same_seed_gives_the_same_counts(tmp_path, made):
    wanted = {"detectors": ("NRCB1",), "dithers": 1, "subarray": "SUB160", "size": 32}
    first, again, other = (
        simulate.observation(tmp_path / name, ngroups=3, seed=seed, **wanted)
        for name, seed in (("a", 5), ("b", 5), ("c", 6))
    )
    counts = [fits.getdata(o.uncal[0], "SCI") for o in (first, again, other)]
    assert np.array_equal(counts[0], counts[1])
    assert not np.array_equal(counts[0], counts[2])


def test_full_frame_references_hold_those_of_the_subarray(tmp_path):
    region = subarray(DETECTORS["NRCB1"], "SUB160", 32)
    true = pixels(OPTICS, region, Instrument())
    cam = camera(region, Instrument(), 3, "RAPID")
    files = write_references(tmp_path, OPTICS, cam, true, full=True)
    gain, curvature = fits.getdata(files["gain"]), fits.getdata(files["linearity"], "COEFFS")[2]
    assert gain.shape == (2048, 2048)
    known = np.isfinite(gain[:32, :32])
    assert np.array_equal(gain[:32, :32][known], true.gain[known])
    assert np.allclose(curvature[:32, :32], NONLINEARITY[0] * true.curvature, equal_nan=True)
    assert fits.getheader(files["gain"])["SUBARRAY"] == "GENERIC"
    # the dark is used as it is, never cut
    assert fits.getdata(files["dark"]).shape == (3 + 4, 32, 32)


def test_dark_has_more_frames_than_needed_and_names_its_rate(made):
    head = fits.getheader(made.files["NRCB1"]["dark"])
    cube = fits.getdata(made.files["NRCB1"]["dark"], "SCI")
    assert (head["NFRAMES"], head["GROUPGAP"]) == (1, 0)
    assert head["NGROUPS"] == len(cube) == 5 * 4 + 4
    assert 0 < head["AVDRKCUR"] < 0.5


def test_catalogues_hold_the_sources(made):
    from astropy.table import Table

    sources = made.sources
    assert np.all(sources["flux_jy"] > 0)
    assert np.allclose(-2.5 * np.log10(sources["flux_jy"] / 3631.0), sources["abmag"])
    stars = Table.read(made.reference_stars)
    assert {"RA", "DEC"} <= set(stars.colnames)
    assert len(stars) <= np.sum(sources["star"])


def test_files_stay_in_their_folder(made):
    for path in (*made.uncal, *made.files["NRCB1"].values(), made.catalog):
        assert Path(path).is_relative_to(made.folder)


# ramps


def test_small_ramps_hold_what_they_say():
    made = simulate.ramp(32, 32, 10, rate=5.0, readnoise=2.0, hit_fraction=0.01, seed=2)
    assert made.sci.shape == made.groupdq.shape == made.hits.shape == (1, 10, 32, 32)
    steps = np.diff(made.sci - np.cumsum(made.hits, axis=1), axis=1) / made.group_time
    assert steps.mean() == pytest.approx(5.0, abs=0.05)
    assert np.all(made.hits[:, 0] == 0)
