"""Correlated noise in frequency space: waves of known amplitude, masked pixels, numbers of jwst 3.0.0."""

import numpy as np
import pytest

from jwpipe.numerics.nsclean import frame_model, waves
from jwpipe.numerics.nsclean_series import OVERHEAD, Filter, series_model

SIZE = 2048


def frame(lines: int = 64) -> np.ndarray:
    """Lines of a wave with 3 periods and amplitude 5, and a level of 2."""
    x = np.arange(SIZE)
    wave = 2 + 5 * np.cos(2 * np.pi * 3 * x / SIZE + 0.4)
    return np.broadcast_to(wave, (lines, SIZE)).astype(np.float32)


def model_of(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return (waves(SIZE).T @ frame_model(image, mask)).T


def test_a_slow_wave_is_found_whole():
    """Inside, where the smoothing over lines reaches no edge, the model is the wave, one sample on."""
    image = frame()
    model = model_of(image, np.ones(image.shape, bool))
    np.testing.assert_allclose(model[24:40], np.roll(image, 1, axis=1)[24:40], atol=1e-4)
    # Reference pixels at the ends of the frame are not fitted.
    assert np.abs(model[[0]]).max() < np.abs(image).max() / 2


def test_fast_waves_pass():
    """Ten periods a line are above the filter's end at 9 / 2048."""
    x = np.arange(SIZE)
    image = np.broadcast_to(np.cos(2 * np.pi * 10 * x / SIZE), (32, SIZE)).astype(np.float32)
    assert np.abs(model_of(image, np.ones(image.shape, bool))).max() < 1e-5


def test_masked_pixels_bear_on_nothing():
    image = frame()
    mask = np.ones(image.shape, bool)
    mask[:, 500:560] = False
    mask[30, 100:150] = False
    spoiled = np.where(mask, image, np.float32(1e6))
    np.testing.assert_array_equal(model_of(image, mask), model_of(spoiled, mask))


def test_lines_without_pixels_have_no_noise_of_their_own():
    image, mask = frame(), np.ones((64, SIZE), bool)
    mask[20:30] = False
    model = model_of(image, mask)
    assert np.isfinite(model).all()
    # Ten lines further smoothing brings nothing in.
    assert np.abs(model[25]).max() < 0.05 * np.abs(model[40]).max()


def series(lines: int, nx: int) -> np.ndarray:
    """500 Hz of amplitude 3, and columns that alternate by 2."""
    ticks = np.arange(lines)[:, None] * (nx + OVERHEAD) + np.arange(nx)
    slow = 3 * np.sin(2 * np.pi * 500 * ticks * 1e-5)
    return (slow + np.where(ticks % 2, -2.0, 2.0)).astype(np.float32)


def test_slow_and_alternating_noise_of_subarrays():
    image = series(128, 40)
    model = series_model(image, np.ones(image.shape, bool), Filter())
    # 500 Hz is no multiple of what a stretch can tell: some of it leaks.
    assert np.std(image - model) < 0.25 * np.std(image)
    alternating = np.where((np.arange(40) + np.arange(128)[:, None] * 52) % 2, -1.0, 1.0)
    left = np.mean((image - model) * alternating)
    assert abs(left) < 0.05 * 2


def test_masked_pixels_of_subarrays_bear_on_nothing():
    image = series(96, 48)
    mask = np.random.default_rng(3).random(image.shape) > 0.2
    spoiled = np.where(mask, image, np.float32(-5e5))
    np.testing.assert_array_equal(
        series_model(image, mask, Filter()), series_model(spoiled, mask, Filter())
    )


def test_nothing_to_tell_from():
    image = series(16, 48)
    assert series_model(image, np.zeros(image.shape, bool), Filter()) is None


@pytest.mark.parametrize(("nx", "passed"), [(44, Filter()), (50, Filter(150.0, 200.0))])
def test_fit_is_the_weighted_least_squares_solution(nx, passed):
    """One stretch against a plain solution of the same equations."""
    rng = np.random.default_rng(nx)
    count = 12
    image = rng.normal(0, 1, (count, nx)).astype(np.float32)
    mask = rng.random(image.shape) > 0.1
    middle = np.median(image[mask])
    spread = 1.4825 * np.median(np.abs(image[mask] - middle))
    assert (np.abs(image[mask] - middle) < 4 * spread).all()
    model = series_model(image, mask, passed)
    ticks = count * (nx + OVERHEAD)
    frequencies = np.arange(ticks // 2 + 1) / (ticks * 1e-5)
    low, low_end, _, high_end = passed
    gain = np.zeros(frequencies.size)
    gain[frequencies < low] = 1
    fall = (frequencies >= low) & (frequencies < low_end)
    gain[fall] = 0.5 * (np.cos(np.pi / (low_end - low) * (frequencies[fall] - low)) + 1)
    gain[frequencies >= high_end] = 1
    numbers = np.flatnonzero(gain)
    at = (np.arange(count)[:, None] * (nx + OVERHEAD) + np.arange(nx))[mask]
    sigma = 1 / ((low + low_end) / 2) / 1e-5 / 8
    gauss = np.exp(-((np.arange(ticks) - (ticks // 2 + 1)) ** 2) / sigma**2 / 2)
    used = np.zeros(ticks)
    used[at] = 1
    density = np.fft.irfft(np.fft.rfft(used) * np.fft.rfft(np.fft.ifftshift(gauss)), ticks)
    weight = (1 / density)[at]
    basis = np.exp(2j * np.pi * np.outer(at, numbers) / ticks)
    solved = np.linalg.lstsq(basis * weight[:, None], weight * image[mask], rcond=None)[0]
    spectrum = np.zeros(frequencies.size, complex)
    spectrum[numbers] = solved * ticks
    expected = np.fft.irfft(spectrum * gain, ticks).reshape(count, -1)[:, :nx]
    np.testing.assert_allclose(model, expected, atol=1e-6)
