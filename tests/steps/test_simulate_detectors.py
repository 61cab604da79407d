"""The simulator beside NIRCam: timing, layouts, electronics and files of the other detectors."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from detector_examples import EXAMPLES

from jwpipe import simulate
from jwpipe.simulate import INSTRUMENTS, Instrument
from jwpipe.simulate.camera import Camera
from jwpipe.simulate.chance import generator
from jwpipe.simulate.detectors import DETECTORS, subarray
from jwpipe.simulate.electronics import interference
from jwpipe.simulate.events import shower_charge, showers
from jwpipe.simulate.geometry import Optics
from jwpipe.simulate.instruments import BANDS, readout
from jwpipe.simulate.irs2 import (
    Irs2,
    broken_columns,
    filters,
    is_reference,
    laid_out,
    normal_columns,
    sample_clocks,
)
from jwpipe.simulate.pixels import pixels
from jwpipe.simulate.readout import expose
from jwpipe.simulate.spectra import spectra

SILENT = Instrument(
    read_noise=0.0,
    reset_noise=0.0,
    amplifier_drift=0.0,
    odd_even_drift=0.0,
    one_over_f=0.0,
    reset_anomaly=0.0,
    dark_current=0.0,
    hot_fraction=0.0,
    cosmic_ray_rate=0.0,
    snowball_rate=0.0,
)


def camera(
    name: str, region: str, pattern: str, ngroups: int, nints: int = 1, knobs: Instrument = SILENT
) -> Camera:
    """A camera of a detector."""
    detector = DETECTORS[name]
    part = subarray(detector, region)
    timing = readout(pattern, ngroups, nints, detector.frame_time(part, pattern))
    return Camera(detector, part, timing, knobs)


@pytest.mark.parametrize(
    ("name", "region", "pattern", "seconds"),
    [
        ("NIS", "FULL", "NIS", 10.73676),
        ("NIS", "SUB80", "NISRAPID", 0.07544),
        ("NIS", "SUBSTRIP256", "NISRAPID", 5.494),
        ("NRS1", "FULL", "NRSRAPID", 10.73676),
        ("NRS1", "FULL", "NRSIRS2RAPID", 14.5889),
        ("NRS1", "ALLSLITS", "NRSRAPID", 5.494),
        ("NRS2", "SUB2048", "NRSRAPID", 0.902),
        ("GUIDER1", "FULL", "FGS", 10.73676),
        ("MIRIMAGE", "FULL", "FASTR1", 2.77504),
        ("MIRIMAGE", "FULL", "SLOWR1", 23.88992),
        ("MIRIMAGE", "BRIGHTSKY", "FASTR1", 0.86528),
        ("MIRIMAGE", "SUB256", "FASTR1", 0.29952),
        ("MIRIMAGE", "SUB64", "FASTR1", 0.08512),
        ("MIRIMAGE", "SLITLESSPRISM", "FASTR1", 0.15904),
    ],
)
def test_frame_times_are_those_of_the_instruments(name, region, pattern, seconds):
    assert camera(name, region, pattern, 2).timing.frame_time == pytest.approx(seconds, abs=1e-4)


@pytest.mark.parametrize("name", DETECTORS)
def test_lines_come_in_the_order_of_reading(name):
    """The pixel that is read first is the corner that FASTAXIS and SLOWAXIS name; the next one lies along the first."""
    detector = DETECTORS[name]
    image = np.arange(12).reshape(3, 4)
    lines = detector.as_read(image)
    assert np.array_equal(detector.as_seen(lines), image)
    step = {1: 1, -1: -1, 2: 4, -2: -4}
    assert lines[0, 1] - lines[0, 0] == step[detector.fast_axis]
    assert lines[1, 0] - lines[0, 0] == step[detector.slow_axis]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"detectors": ("NIS", "NRS1")}, "several instruments"),
        ({"detectors": ("NIS",), "readpatt": "FASTR1"}, "unknown read pattern 'FASTR1'; known ones: NISRAPID"),
        ({"detectors": ("NIS",), "readpatt": "NIS", "subarray": "SUB64P"}, "unknown subarray"),
        ({"detectors": ("NIS",), "readpatt": "NIS", "subarray": "SUB80", "size": 2040}, "does not fit"),
        ({"detectors": ("MIRIMAGE",), "readpatt": "FASTR1"}, "unknown filter 'F200W'"),
        ({"detectors": ("MIRIMAGE",), "readpatt": "FASTR1", "subarray": "SUB64", "size": 32, "filter": "F770W"},
         "by name only"),
    ],
)  # fmt: skip
def test_what_there_is_not_is_refused(tmp_path, wanted, message):
    with pytest.raises(ValueError, match=message):
        simulate.observation(tmp_path, **({"filter": "F200W"} | wanted))
    assert not list(tmp_path.iterdir())


MODELS = {
    "mask": "MaskModel", "saturation": "SaturationModel", "superbias": "SuperBiasModel",
    "linearity": "LinearityModel", "gain": "GainModel", "readnoise": "ReadnoiseModel", "flat": "FlatModel",
    "area": "PixelAreaModel", "distortion": "DistortionModel", "reset": "ResetModel", "rscd": "RSCDModel",
    "emicorr": "EmiModel", "ipc": "IPCModel",
}  # fmt: skip
DARKS = {"MIRI": "DarkMIRIModel", "NIRSpec": "DarkNirspecModel"}
PHOTOMS = {"NIRISS": "NisImgPhotomModel", "FGS": "FgsImgPhotomModel", "MIRI": "MirImgPhotomModel"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_file_is_valid_without_a_warning(detector_runs, name):
    from stdatamodels.jwst import datamodels

    made, _ = detector_runs[name]
    (files,) = made.files.values()
    family = name.split()[0]
    known = MODELS | {"dark": DARKS.get(family, "DarkModel"), "photom": PHOTOMS.get(family, "")}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind, path in files.items():
            with getattr(datamodels, known[kind])(path, strict_validation=True) as model:
                model.validate()
                assert model.meta.reftype.lower() == kind
        with datamodels.open(made.uncal[0], strict_validation=True) as model:
            assert type(model).__name__ == "Level1bModel"
            model.validate()


def test_interference_is_a_sine_of_the_time_of_each_sample():
    """Pixel by pixel from the clocks of SUB64: 28 a row and 7 for each of the 960 rows left out.

    That makes 8512 a frame, one more of which resets between integrations.
    """
    knobs = replace(SILENT, emi=7.0, emi_hz=390.625, emi_phase=0.1)
    cam = camera("MIRIMAGE", "SUB64", "FASTR1", 5, 2, knobs)
    wave = interference(cam, integration=1, group=3)
    for y, x in ((0, 0), (10, 3), (10, 4), (63, 71)):
        clock = (5 + 1 + 3) * 8512 + 28 * y + x // 4
        expected = 7.0 * np.sin(2 * np.pi * (clock * 1e-5 * 390.625 + 0.1))
        assert wave[y, x] == pytest.approx(expected, abs=1e-4)


def test_miri_frames_begin_and_end_oddly():
    """Without light and noise, counts are the bias, the transient of the reset, and the offsets of odd frames."""
    knobs = replace(
        SILENT, reset_anomaly=100.0, reset_groups=2.0, first_frame=-40.0, last_frame=-15.0, decay=50.0
    )  # fmt: skip
    cam = camera("MIRIMAGE", "SUB64", "FASTR1", 6, 2, knobs)
    optics = Optics(cam.detector, BANDS["MIRI"]["F770W"])
    true = pixels(optics, cam.region, knobs)
    raw = expose(np.zeros_like(true.bias), true, cam, "odd frames")
    above = raw.sci.astype(float) - true.bias
    expected = true.anomaly * np.exp(-np.arange(6) / 2)[:, None, None]
    expected = np.stack([expected, 0.6 * expected])
    expected[:, 0] -= 40.0
    expected[:, -1] -= 15.0
    expected[1] += 50.0 * np.exp(-2.0 * np.arange(6))[:, None, None]
    assert np.abs(above - expected).max() < 0.51
    assert raw.reference_output.shape == (2, 6, 64, 18)


def test_miri_counts_are_linear_after_the_polynomial_which_acts_on_the_bias_too():
    knobs = replace(SILENT, dead_fraction=0.0)
    cam = camera("MIRIMAGE", "SUB64", "FASTR1", 8, 1, knobs)
    true = pixels(Optics(cam.detector, BANDS["MIRI"]["F770W"]), cam.region, knobs)
    raw = expose(np.full_like(true.bias, 4e4), true, cam, "linear")
    counts = raw.sci[0].astype(float)
    powers = np.stack([counts**k for k in range(5)])
    linear = np.einsum("kgyx,kyx->gyx", powers, true.coefficients().astype(float))
    steps = np.diff(linear, axis=0)[:, true.sensitive]
    electrons = 4e4 * cam.timing.frame_time * 3.1
    assert steps.mean() == pytest.approx(4e4 * cam.timing.frame_time, rel=2e-3)
    assert np.allclose(steps.mean(axis=1), steps.mean(), rtol=5 / np.sqrt(electrons * 4000))


def test_later_dark_current_is_the_second_of_the_reference(tmp_path):
    knobs = replace(SILENT, dark_current=0.5, dark_growth=0.2)
    files = simulate.references(
        tmp_path, detector="MIRIMAGE", subarray="SUB64", readpatt="FASTR1", ngroups=3, filter="F770W", instrument=knobs
    )  # fmt: skip
    dark = fits.getdata(files["dark"], "SCI")
    assert dark.shape == (2, 3, 64, 72)
    np.testing.assert_allclose(dark[1], 1.2 * dark[0], rtol=1e-6)
    np.testing.assert_allclose(dark[0, 2], 3 * dark[0, 0], rtol=1e-6)
    assert set(files) >= {"reset", "rscd", "emicorr"}
    assert "superbias" not in files


def test_a_line_of_irs2_is_read_in_its_order():
    """8 pixels, 4 of reference, then 16 and 4 by turns; a clock to step out and one to step back in."""
    reference, clocks = is_reference(), sample_clocks()
    assert reference.sum() == 128
    assert np.flatnonzero(reference)[:8].tolist() == [8, 9, 10, 11, 28, 29, 30, 31]
    assert clocks[[0, 7, 8, 11, 12, 27, 28]].tolist() == [0, 7, 9, 12, 14, 29, 31]
    # the last 8 of 712 clocks are the end of the line
    assert clocks[-1] == 703
    columns = normal_columns()
    assert columns.size == 3200
    assert not columns[:640].any()
    assert columns.sum() == 2048


@pytest.mark.parametrize("name", ["NRS1", "NRS2"])
def test_pixels_of_irs2_lie_between_the_references(name):
    cam = camera(name, "FULL", "NRSIRS2RAPID", 2)
    image = np.arange(2048 * 2048, dtype=np.float32).reshape(2048, 2048)
    raw = laid_out(image, cam, -1.0)
    assert raw.shape == (3200, 2048)
    lines = cam.detector.as_read(raw)
    assert np.array_equal(cam.detector.as_seen(lines[:, normal_columns()]), image)
    assert np.all(lines[:, ~normal_columns()] == -1.0)
    # the reference output comes first, at the end of the image that is read first
    edge = raw[:640] if name == "NRS1" else raw[-640:]
    assert np.all(edge == -1.0)


def test_noise_of_irs2_is_shared_by_pixels_and_references():
    """Averages of an output's pixels and of its interleaved references over lines go together."""
    knobs = replace(INSTRUMENTS["NIRSPEC"], amplifier_drift=0.0)
    cam = camera("NRS1", "FULL", "NRSIRS2RAPID", 2, 1, knobs)
    true = pixels(Optics(cam.detector, BANDS["NIRSPEC"]["F100LP"]), cam.region, knobs)
    lines = cam.detector.as_read(Irs2(cam, true, generator("irs2")).noise(0))
    reference = is_reference()
    for output in (1, 3):
        part = lines[:, output * 640 : (output + 1) * 640]
        seen, told = part[:, ~reference].mean(axis=1), part[:, reference].mean(axis=1)
        assert np.corrcoef(seen, told)[0, 1] > 0.7
    assert lines[:, broken_columns()].std() > 10 * lines[:, 640:680].std()


def test_filters_take_slow_drifts_whole_and_fast_noise_not_at_all():
    cam = camera("NRS1", "FULL", "NRSIRS2RAPID", 2, 1, INSTRUMENTS["NIRSPEC"])
    alpha, beta = filters(cam)
    assert alpha.size == beta.size == 712 * 2048
    # 8 of 22 clocks hold a reference sample
    assert beta[1].real == pytest.approx(22 / 8, rel=1e-3)
    assert abs(alpha[1]) < 1e-3
    assert np.abs(beta[alpha.size // 2 - 5 : alpha.size // 2 + 5]).max() == 0.0
    assert np.array_equal(beta[1:], beta[:0:-1])


def test_showers_leave_a_gaussian_ellipse():
    region = subarray(DETECTORS["MIRIMAGE"], "SUB256")
    timing = readout("FASTR1", 50, 1, 0.3)
    (shower, *_) = showers(generator("showers"), region, timing, 1, 2.0)
    charge = shower_charge(shower, region)
    assert charge.shape == (256, 256)
    assert shower["integration"] == 1
    y, x = int(shower["y"]), int(shower["x"])
    assert charge[y, x] == pytest.approx(shower["electrons"], rel=0.02)
    # a Gaussian of these scales holds pi times their product
    whole = np.pi * shower["major"] * shower["minor"] * shower["electrons"]
    assert 0.1 * whole < charge.sum() < 1.01 * whole


@pytest.mark.parametrize("name", ["NRS1", "MIRIFUSHORT"])
def test_spectra_of_a_subarray_are_cut_from_the_frame(name):
    detector = DETECTORS[name]
    whole = spectra(detector, subarray(detector, "FULL"), 1)
    part = subarray(detector, "ALLSLITS" if name == "NRS1" else "SUB256")
    cut = whole[part.y0 : part.y0 + part.ny, part.x0 : part.x0 + part.nx]
    np.testing.assert_allclose(spectra(detector, part, 1), cut, rtol=1e-4, atol=1e-5)
    assert whole.max() > 20


def test_a_bias_of_its_own_goes_into_references(tmp_path):
    bias = np.full((80, 80), 7000.0, np.float32)
    files = simulate.references(
        tmp_path, detector="NIS", subarray="SUB80", readpatt="NISRAPID", ngroups=2, filter="NRM", bias=bias
    )  # fmt: skip
    superbias = fits.getdata(files["superbias"], "SCI")
    assert np.all(superbias[np.isfinite(superbias)] == 7000.0)
    limit = fits.getdata(files["saturation"], "SCI")
    assert np.nanmin(limit) > 7000.0


def test_measured_counts_come_back_from_linear_ones():
    """The inverse of the polynomial, to 1 DN up to the full well."""
    cam = camera("NIS", "SUB80", "NISRAPID", 2)
    true = pixels(Optics(cam.detector, BANDS["NIRISS"]["F480M"]), cam.region, SILENT)
    measured = np.linspace(100.0, 47000.0, 9)[:, None, None] * np.ones(true.bias.shape)

    def value(coefficients: np.ndarray, at: np.ndarray) -> np.ndarray:
        return sum(c * at**k for k, c in enumerate(coefficients.astype(np.float64)))

    linear = value(true.coefficients(), measured)
    assert linear.max() > 1.03 * measured.max()
    back = value(true.inverse_coefficients(), linear)
    np.testing.assert_allclose(back, measured, atol=1.0)
