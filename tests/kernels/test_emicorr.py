"""Waves of interference in MIRI ramps: known waves are found and taken off, however the frame is cut."""

import asdf
import dask.array as da
import numpy as np
import pytest
import xarray as xr
from astropy.stats import sigma_clipped_stats

from jwpipe.engine.pipeline import run_steps
from jwpipe.engine.preparing import Planned, Prepared
from jwpipe.exposure import Header
from jwpipe.io import save
from jwpipe.numerics.emi_waves import (
    period_clocks,
    phase_sums,
    spreads,
    subtract_table,
    subtract_waves,
    wave_at,
    wave_pieces,
)
from jwpipe.refs import References
from jwpipe.stage1.emi import fit as emi_fit
from jwpipe.stage1.emi.fit import Wave, _squares, best_phase, squares
from jwpipe.stage1.emi.phase import (
    Search,
    best_shift,
    clipped_mean,
    detrended,
    integrations_to_phase,
    resampled,
    sorted_by_phase,
)
from jwpipe.stage1.emi.readout import Readout
from jwpipe.stage1.emicorr import EmiCorrParams, emicorr, waves_of

FREQUENCY = 218.52055
OTHER = 10.039216
ROWS, COLUMNS, GROUPS = 64, 64, 12


def readout(integrations=2, groups=GROUPS, **changes):
    given = {
        "rows": ROWS,
        "columns": COLUMNS,
        "samples": 1,
        "row": 28,
        "reset": 8512,
        "resets": True,
        "delay": 0,
    }
    return Readout(integrations=integrations, groups=groups, **(given | changes))


def tone(phase):
    """A wave that is no pure sine, so that half a period makes another wave of it."""
    return np.sin(2 * np.pi * phase) + 0.5 * np.sin(4 * np.pi * phase + 1)


def samples(number=256):
    return tone((np.arange(number) + 0.5) / number)


def times(how):
    """Clocks (i, g, y, x) from the first pixel of the exposure."""
    i = np.arange(how.integrations)[:, None, None, None]
    g = np.arange(how.groups)[:, None, None]
    return i * how.integration + g * how.frame + how.clocks().read()


def ramps(how, phase, amplitude, frequency=FREQUENCY, noise=1.0):
    """Straight ramps with a wave that is at ``phase`` when the exposure begins."""
    draw = np.random.default_rng(4)
    shape = how.integrations, how.groups, how.rows, how.columns
    rate = draw.gamma(2, 3, shape[2:])
    sci = 5000 + rate * np.arange(how.groups)[:, None, None] + draw.normal(0, noise, shape)
    wave = amplitude * tone(times(how) / period_clocks(frequency) + phase)
    return sci.astype(np.float32), (sci + wave).astype(np.float32)


def header(how, **keywords):
    given = {
        "INSTRUME": "MIRI",
        "DETECTOR": "MIRIMAGE",
        "SUBARRAY": "SUB64",
        "READPATT": "FASTR1",
        "NSAMPLES": how.samples,
        "NINTS": how.integrations,
        "NGROUPS": how.groups,
        "SUBSTRT1": 1,
        "SUBSTRT2": 1,
        "SUBSIZE1": how.columns,
        "SUBSIZE2": how.rows,
        "DATE-OBS": "2026-03-01",
    }
    return given | keywords


@pytest.fixture
def reference(tmp_path):
    def write(frequencies=(FREQUENCY,), subarray="SUB64"):
        names = [f"Hz{frequency:.0f}" for frequency in frequencies]
        tree = {
            "meta": {"reftype": "emicorr", "instrument": {"name": "MIRI"}},
            "frequencies": {
                name: {"frequency": frequency, "phase_amplitudes": samples()}
                for name, frequency in zip(names, frequencies, strict=True)
            },
            "subarray_cases": {
                subarray: {
                    "rowclocks": 28,
                    "frameclocks": 8512,
                    "freqs": {"FAST": names, "SLOW": {"MIRIMAGE": names[:1]}},
                }
            },
        }
        asdf.AsdfFile(tree).write_to(tmp_path / "emi.asdf")
        return References.from_files({"emicorr": tmp_path / "emi.asdf"})

    return write


def run(sci, how, references, rows=ROWS, pixeldq=None, **parameters):
    """Ramps after the step, computed in blocks."""
    variables = {"sci": (("integration", "group", "y", "x"), da.from_array(sci))}
    if pixeldq is not None:
        variables["pixeldq"] = (("y", "x"), da.from_array(pixeldq))
    exposure = xr.Dataset(variables, attrs={"primary": header(how), "sci": {}})
    params = EmiCorrParams(skip=False, **parameters)
    assert emicorr.applies(Header(exposure.attrs), params) == ""
    assert emicorr.unsuitable(references, Header(exposure.attrs), params) == ""
    planned = (Planned(emicorr, params, ""),)
    result = run_steps(Prepared(exposure, planned, references))
    return result["sci"].compute(scheduler="sync").values


def test_clocks_of_a_subarray_and_of_the_full_frame():
    how = readout()
    # Rows outside of the subarray take 7 clocks each, four columns are read at a time.
    assert how.frame == 64 * 28 + 960 * 7
    assert how.integration == 12 * how.frame + 8512
    assert readout(resets=False).integration == 12 * how.frame
    clocks = how.clocks().read()
    assert clocks[0, :9].tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2]
    assert clocks[3, 5] == 3 * 28 + 1
    slow = readout(samples=9, delay=3)
    assert slow.clocks(delayed=True).read()[0, -5:].tolist() == [126, 138, 138, 138, 138]
    assert slow.clocks().read(slice(2, 3), slice(60, 64))[0].tolist() == [56 + 135] * 4


def test_waves_go_through_their_samples_and_around():
    pieces = wave_pieces(samples())
    for phase in (0.5 / 256, 100.5 / 256, 255.5 / 256):
        assert wave_at(pieces, phase) == pytest.approx(tone(phase), abs=1e-12)
    assert wave_at(pieces, 0.0) == pytest.approx(tone(0.0), abs=1e-6)


@pytest.mark.parametrize("phase", [0.0, 0.002, 0.37, 0.9985])
@pytest.mark.parametrize("separately", [False, True])
def test_a_wave_of_known_phase_is_taken_off(reference, phase, separately):
    how = readout()
    clean, sci = ramps(how, phase, 20.0)
    before = sci.copy()
    result = run(sci, how, reference(), fit_ints_separately=separately)
    # Integrations take the terms of the next of 500 trials: fitted alone, they are up to one off, 20 DN times
    # 2 pi / 500 times the slope of the wave.
    assert np.abs(result - clean).max() < (0.6 if separately else 0.3)
    np.testing.assert_array_equal(sci, before)
    assert result.dtype == np.float32


def test_the_amplitude_is_found(reference):
    how = readout(integrations=1)
    _, sci = ramps(how, 0.25, 8.0, noise=0.0)
    removed = sci - run(sci, how, reference())
    expected = 8 * tone(times(how) / period_clocks(FREQUENCY) + 0.25)
    np.testing.assert_allclose(removed, expected, atol=0.05)


def test_one_wave_after_the_other(reference):
    how = readout(integrations=1, groups=30)
    _, first = ramps(how, 0.1, 20.0)
    clean, second = ramps(how, 0.6, 12.0, OTHER)
    sci = first + second - clean
    result = run(sci, how, reference((FREQUENCY, OTHER)))
    assert np.std(result - clean) < 0.1 * np.std(sci - clean)


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"fit_ints_separately": True},
        {"algorithm": "sequential"},
        {"algorithm": "sequential", "use_n_cycles": None},
        {"onthefly_corr_freq": (FREQUENCY,), "nbins": 50},
    ],
)
def test_blocks_and_batches_do_not_matter(reference, monkeypatch, parameters):
    how = readout(integrations=3)
    _, sci = ramps(how, 0.3, 15.0)
    pixeldq = (np.random.default_rng(1).random((ROWS, COLUMNS)) < 0.1).astype(np.uint32)
    references = reference((FREQUENCY, OTHER))
    whole = run(sci, how, references, pixeldq=pixeldq, **parameters)
    monkeypatch.setattr("jwpipe.engine.graph.row_blocks", lambda ny, planes: (40, 24))
    monkeypatch.setattr("jwpipe.engine.chain.strip_rows", lambda planes, nx: 8)
    monkeypatch.setattr(emi_fit, "SUMS_BYTES", 1)
    monkeypatch.setattr(emi_fit, "SPREADS_BYTES", 1)
    blocks = run(sci, how, references, pixeldq=pixeldq, **parameters)
    np.testing.assert_allclose(blocks, whole, rtol=0, atol=2e-3)
    assert np.abs(whole - sci).max() > 1


def test_bright_and_flagged_pixels_have_no_part_in_the_fit(reference):
    how = readout(integrations=1)
    clean, sci = ramps(how, 0.3, 15.0)
    bad = np.random.default_rng(1).random((ROWS, COLUMNS)) < 0.05
    sci[:, :, bad] += 500 * np.sin(np.arange(GROUPS) + 2)[:, None]
    result = run(sci, how, reference())
    assert np.abs(result - clean)[..., ~bad].max() < 0.3
    flagged = run(sci, how, reference(), pixeldq=bad.astype(np.uint32))
    assert np.abs(flagged - clean)[..., ~bad].max() < 0.3


def test_nothing_is_taken_off_where_no_pixel_is_usable(reference):
    how = readout(integrations=1)
    _, sci = ramps(how, 0.3, 15.0)
    everywhere = np.ones((ROWS, COLUMNS), np.uint32)
    np.testing.assert_array_equal(run(sci, how, reference(), pixeldq=everywhere), sci)


@pytest.mark.parametrize("scale", [True, False])
def test_sequential_finds_phase_and_amplitude_of_the_reference(reference, scale):
    how = readout(integrations=1, groups=30)
    clean, sci = ramps(how, 0.7, 20.0)
    result = run(sci, how, reference(), algorithm="sequential", scale_reference=scale)
    left = np.std(result - clean) / np.std(sci - clean)
    # Unscaled the reference has amplitude 1, not 20.
    # Lines and medians take a part of the wave along.
    assert left < 0.2 if scale else left == pytest.approx(0.95, abs=0.01)


def test_frequencies_without_a_reference():
    how = readout(integrations=1, groups=30)
    clean, sci = ramps(how, 0.7, 20.0)
    nothing = References.from_files({"emicorr": "N/A"})
    result = run(sci, how, nothing, onthefly_corr_freq=(FREQUENCY,))
    assert np.std(result - clean) < 0.2 * np.std(sci - clean)


def test_the_best_trial_may_be_the_first_or_the_last():
    # A parabola with its vertex at 0.4 trials after the first, or before it, around the circle.
    trials = np.arange(500)
    for vertex in (0.4, 499.7, 250.0):
        distance = (trials - vertex + 250) % 500 - 250
        assert best_phase(distance**2 + 3.0) % 1 == pytest.approx(vertex / 500)
    assert best_phase(np.full(500, np.nan)) == 0.0
    assert best_phase(np.ones(500)) == 0.0


def test_spreads_and_sums_by_hand():
    # Groups 1 2 6 have mean 3 and variance (4 + 1 + 9) / 3.
    sci = np.array([1, 2, 6], np.float32).reshape(1, 3, 1, 1)
    assert spreads(sci)[0, 0, 0] == np.float32(np.sqrt(14 / 3))
    clock = np.array([[0, 3, 7, 11]])
    usable = np.array([[[True, True, False, True]]])
    data = np.array([[10, 20, 40, 80], [1, 2, 4, 8]], np.float32).reshape(1, 2, 1, 4)
    # Phases 0, 3/8, 7/8 and 3/8 of a period of 8 clocks fall into bins 0, 1, 3 and 1 of four.
    sums, numbers = phase_sums(data, usable, clock, 8.0, 4)
    np.testing.assert_array_equal(sums[0], [[10, 100, 0, 0], [1, 10, 0, 0]])
    np.testing.assert_array_equal(numbers[0], [1, 2, 0, 0])


def test_waves_are_subtracted_at_the_phase_of_each_pixel():
    how = readout(integrations=2, groups=3)
    zeros = np.zeros((2, 3, ROWS, COLUMNS), np.float32)
    clock, period = how.clocks().read(), period_clocks(FREQUENCY)
    pieces = wave_pieces(samples())
    step = how.step(FREQUENCY)
    amplitudes, phases = np.array([1.0, 2.0]), np.array([0.1, 0.1 + how.lag(FREQUENCY)])
    wave = (
        pieces,
        np.array([len(pieces)]),
        amplitudes[None],
        phases[None],
        np.array([period]),
        np.array([step]),
    )
    found = -subtract_waves(zeros, clock, *wave)
    expected = tone(times(how) / period + 0.1) * amplitudes[:, None, None, None]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    # The strip of rows 10 to 20 and columns 3 to 9 is what the whole has there.
    part = zeros[:, :, 10:20, 3:9].copy(), clock[10:20, 3:9].copy()
    strip = -subtract_waves(*part, *wave)
    np.testing.assert_array_equal(strip, found[:, :, 10:20, 3:9])
    # Twice the wave is its sum with itself.
    twice = (
        np.concatenate([pieces, pieces]),
        np.array([1, 2]) * len(pieces),
        *(np.concatenate([each, each]) for each in wave[2:]),
    )
    np.testing.assert_allclose(-subtract_waves(zeros, clock, *twice), 2 * found, rtol=1e-6)


def test_bins_on_the_grid_of_trials_are_summed_by_fourier_transforms():
    random = np.random.default_rng(8)
    how, sums = readout(integrations=2, groups=5), random.normal(size=(2, 5, 250)) * 1e4
    numbers = random.integers(1, 50, (2, 250)).astype(float)
    wave = Wave(FREQUENCY, random.normal(size=250))
    start = (np.arange(250) + 0.5) / 250 + np.arange(5)[:, None] * how.step(FREQUENCY)
    direct = _squares(wave_pieces(wave.samples), start % 1, sums, numbers)
    for found, expected in zip(squares(how, wave, sums, numbers), direct, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


def test_tables_are_looked_up_clock_by_clock():
    table = np.arange(8.0)
    sci = np.zeros((2, 2, 1, 2), np.float32)
    clock = np.array([[0, 5]])
    # A period of 8 clocks, 10 from frame to frame and 23 from integration to integration.
    found = -subtract_table(sci, clock, table, 8.0, 10.0, 23.0, 0)
    np.testing.assert_array_equal(found[:, :, 0], [[[0, 5], [2, 7]], [[7, 4], [1, 6]]])


def test_residuals_are_free_of_ramps_and_levels():
    groups = np.arange(6.0)[:, None, None]
    sci = (1000 + 30 * groups + np.zeros((2, 16))).astype(np.float32)[None]
    sci[0, 2, 1, 4:8] += 4
    found = detrended(sci)
    assert found.shape == (1, 6, 2, 4)
    np.testing.assert_allclose(found[0, :, 0], 0, atol=1e-3)
    # Columns 1 and 2 are replaced, whatever they hold.
    np.testing.assert_allclose(found[0, :, 1], 0, atol=1e-3)
    sci[0, 2, 1, 12:] += 4
    # The slope of 4 in the second of four groups is -0.4 a group; residuals from their median follow by hand.
    line = 4 * (groups[:, 0, 0] == 2) + 0.4 * groups[:, 0, 0]
    expected = line - np.median(line[1:-1])
    np.testing.assert_allclose(found.shape, (1, 6, 2, 4))
    np.testing.assert_allclose(detrended(sci)[0, :, 1, 3], expected, atol=1e-3)
    np.testing.assert_allclose(detrended(sci)[0, :, 1, 1], expected / 2, atol=1e-3)


def test_values_are_sorted_by_phase_and_phase_zero_is_in_no_bin():
    clock = np.array([[0, 1, 2, 3, 4, 6]])
    values = np.arange(6, dtype=np.float32).reshape(1, 1, 1, 6)
    # Two bins of a period of 4 clocks: (0, 1/2] has clocks 1, 2 and 6, (1/2, 1] has clock 3; 0 and 4 are in none.
    order, ends = sorted_by_phase(clock, 4.0, 0.0, 0.0, values, 2)
    assert ends.tolist() == [0, 3, 4]
    assert order.tolist() == [1, 2, 5, 3]


def test_clipped_means_are_those_of_the_library():
    draw = np.random.default_rng(8)
    for size in (5, 40, 400):
        values = np.sort(np.append(draw.normal(0, 1, size), [30, 8, -9])).astype(np.float32)
        assert clipped_mean(values) == pytest.approx(
            sigma_clipped_stats(values.astype(float))[0], rel=1e-6
        )
    assert np.isnan(clipped_mean(np.zeros(0, np.float32)))


def test_resampling_and_shifts():
    np.testing.assert_array_equal(resampled(np.arange(4), 8), np.arange(4).repeat(2))
    np.testing.assert_array_equal(resampled(np.arange(8), 4), [0, 2, 4, 6])
    # 228 / (228 / 457) is rounded to more than 457.
    assert resampled(np.arange(228), 457).size == 457
    wave = samples()
    assert best_shift(wave, 3 * np.roll(wave, 17) + 5) == 17


def test_as_many_integrations_are_phased_as_hold_the_cycles():
    how, slow = readout(integrations=50, groups=3), Wave(0.5, np.zeros(0))
    # 3 cycles of 2 s are 600000 clocks, 23.5 times the 3 x 8512 of an integration.
    assert integrations_to_phase(how, slow, Search(None, 3, None, True)) == 24
    assert integrations_to_phase(how, slow, Search(None, None, None, True)) == 50
    assert integrations_to_phase(how, slow, Search(7, 3, None, True)) == 7
    assert integrations_to_phase(how, slow, Search(99, 3, None, True)) == 50


def test_off_by_default_and_left_out_where_it_cannot_work(reference):
    params, references = EmiCorrParams(), reference()
    assert params.skip
    assert params.algorithm == "joint"
    for change, reason in (
        ({"INSTRUME": "NIRCAM"}, "MIRI"),
        ({"READPATT": "FASTINTAVG"}, "FASTINTAVG"),
        ({"NGROUPS": 2}, "2 groups"),
        ({"SUBSIZE1": 66}, "four outputs"),
    ):
        given = Header({"primary": header(readout(), **change)})
        assert reason in emicorr.applies(given, params)
    unknown = Header({"primary": header(readout(), SUBARRAY="MASK1065")})
    assert "MASK1065" in emicorr.unsuitable(references, unknown, params)
    on_the_fly = EmiCorrParams(onthefly_corr_freq=(FREQUENCY,))
    assert emicorr.unsuitable(references, unknown, on_the_fly) == ""
    assert emicorr.supplied(on_the_fly) == {"emicorr": "N/A"}
    assert emicorr.supplied(EmiCorrParams(user_supplied_reffile="a.asdf")) == {"emicorr": "a.asdf"}
    absent = References.from_files({"emicorr": "N/A"})
    assert "N/A" in emicorr.unsuitable(absent, unknown, params)


def test_waves_found_on_the_fly_are_saved_as_a_reference(tmp_path):
    how = readout(integrations=2)
    saving = EmiCorrParams(onthefly_corr_freq=(FREQUENCY,), save_intermediate_results=True)
    assert emicorr.further(EmiCorrParams(save_intermediate_results=True)) is None
    ramps = (1000 + 5 * tone(times(how) / period_clocks(FREQUENCY))).astype(np.float32)
    attrs = {"primary": header(how), "filename": "one_uncal.fits"}
    variables = {"sci": (("integration", "group", "y", "x"), da.from_array(ramps))}
    exposure = xr.Dataset(variables, attrs=attrs)
    (product,) = emicorr.further(saving)(
        exposure, References.from_files({"emicorr": None})
    ).values()
    path = save(product, tmp_path)
    assert path.name == "one_emi_ref_waves.asdf"
    with asdf.open(path, lazy_load=False, memmap=False) as file:
        (wave,) = file["frequencies"].values()
        found = np.array(wave["phase_amplitudes"])
    assert wave["frequency"] == FREQUENCY
    # 457.6 clocks make 228 bins of two; lines through twelve groups take a part of the wave.
    expected = 5 * tone((np.arange(228) + 0.5) / 228)
    assert np.corrcoef(found, expected)[0, 1] > 0.97
    assert np.polyfit(expected, found, 1)[0] == pytest.approx(1.0, abs=0.2)
    # The file serves as a reference for the same readout.
    again = References.from_files({"emicorr": path})
    words = Header({"primary": header(how)})
    assert emicorr.unsuitable(again, words, EmiCorrParams()) == ""
    (read,) = waves_of(again, words, EmiCorrParams())
    np.testing.assert_array_equal(read.samples, found)


def test_slow_readouts_are_listed_by_detector(reference):
    references = reference((FREQUENCY, OTHER), subarray="FULL_SLOW")
    full = header(readout(), SUBARRAY="FULL", READPATT="SLOWR1")
    assert emicorr.unsuitable(references, Header({"primary": full}), EmiCorrParams()) == ""
    other = Header({"primary": full | {"DETECTOR": "MIRIFULONG"}})
    assert emicorr.unsuitable(references, other, EmiCorrParams()) != ""
