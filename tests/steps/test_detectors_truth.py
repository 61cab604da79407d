"""Stage 1 of every kind of detector against the truth of simulated exposures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from detector_examples import (
    EXAMPLES,
    INTERFEROGRAM,
    SUBARRAYS_DRIFT,
    WARM,
    references_of_interferogram,
)

import jwpipe
from jwpipe import simulate
from jwpipe.dq import Pixel
from jwpipe.runner import run
from jwpipe.simulate import INSTRUMENTS, Scene
from jwpipe.simulate.recovery import RateRecovery, rate_recovery


@pytest.fixture(params=EXAMPLES)
def recovered(request, detector_runs) -> tuple[str, RateRecovery]:
    """An example's name, and how its rates compare with the truth."""
    made, ours = detector_runs[request.param]
    (name,) = made.names
    rate = jwpipe.open(ours / f"{name}_rate.fits")
    return request.param, rate_recovery(made, {name: rate})


def test_rates_are_unbiased(recovered):
    """Bright pixels to 2 %; all of them to a fraction of the noise, that common to a whole subarray among it."""
    _, found = recovered
    assert abs(found.bright_bias) < 0.02
    assert abs(found.pull_median) < 0.15


def test_errors_are_the_scatter(recovered):
    _, found = recovered
    assert found.pull_width == pytest.approx(1.0, abs=0.07)


def test_cosmic_rays_are_found(recovered):
    """All but those in groups that nobody looks at: with MIRI the first one or three and the last of 20."""
    name, found = recovered
    assert found.hits > 30
    assert found.found > (0.8 if name == "MIRI" else 0.97)
    assert found.false < 0.01


@pytest.mark.parametrize("name", EXAMPLES)
def test_reference_pixels_lie_where_the_detector_has_them(detector_runs, name):
    """Near the edges of the detector, which differ from one subarray to the other."""
    made, ours = detector_runs[name]
    with fits.open(ours / f"{made.names[0]}_rate.fits") as hdus:
        reference = hdus["DQ"].data & np.uint32(Pixel.REFERENCE_PIXEL) > 0
        head = hdus[0].header
    x = head["SUBSTRT1"] + np.arange(head["SUBSIZE1"])
    y = head["SUBSTRT2"] + np.arange(head["SUBSIZE2"])[:, None]
    columns, rows = (1032, 1024) if name == "MIRI" else (2048, 2048)
    edge = (x <= 4) | (x > columns - 4)
    if name != "MIRI":
        edge = edge | (y <= 4) | (y > rows - 4)
    assert np.array_equal(reference, np.broadcast_to(edge, reference.shape))


@pytest.fixture(scope="module")
def interferogram(tmp_path_factory) -> dict[str, np.ndarray]:
    """The planes of the rates of another simulator's interferogram, with references made for it."""
    if not INTERFEROGRAM.exists():
        pytest.skip(f"{INTERFEROGRAM} is not there")
    folder = tmp_path_factory.mktemp("interferogram")
    references_of_interferogram(folder / "refs")
    (outcome,) = run("detector1", INTERFEROGRAM, folder / "ours", refs=[folder / "refs"])
    assert not outcome.error, outcome.error
    with fits.open(next((folder / "ours").glob("*_rateints.fits"))) as hdus:
        return {hdu.name: hdu.data for hdu in hdus if hdu.is_image and hdu.data is not None}


def test_interferogram_is_the_same_in_each_integration(interferogram):
    """Its source does not change: rates scatter by no more than their errors."""
    sci, err = interferogram["SCI"], interferogram["ERR"]
    good = (interferogram["DQ"] == 0).all(axis=0)
    assert sci.shape == (5, 80, 80)
    assert good.mean() > 0.9
    pull = (np.diff(sci, axis=0) / np.hypot(err[1:], err[:-1]))[:, good]
    assert np.median(np.abs(pull)) < 0.7


def test_interferogram_has_fringes(interferogram):
    """Most of the light falls on few pixels around its middle, far above the noise."""
    rate, error = (np.nan_to_num(interferogram[name]).mean(axis=0) for name in ("SCI", "ERR"))
    bright = rate > 20 * np.maximum(error, 1.0)
    y, x = np.nonzero(bright)
    assert 30 < bright.sum() < 2000
    assert np.hypot(np.median(y) - 40, np.median(x) - 40) < 25


@pytest.fixture(scope="module")
def disturbed(tmp_path_factory) -> simulate.Observation:
    """MIRI ramps with interference of 12 DN, twice the read noise."""
    knobs = replace(
        INSTRUMENTS["MIRI"], emi=12.0, emi_phase=0.37, cosmic_ray_rate=0.0, **SUBARRAYS_DRIFT
    )
    return simulate.observation(
        tmp_path_factory.mktemp("interference"),
        detectors=("MIRIMAGE",),
        dithers=1,
        subarray="SUB64",
        readpatt="FASTR1",
        ngroups=24,
        nints=4,
        filter="F770W",
        scene=WARM,
        instrument=knobs,
    )


def test_interference_of_known_phase_comes_off(disturbed, tmp_path):
    """Where it stays one pixel of ten is taken for struck; where it is fitted, as few as without it, and no bias."""
    (name,) = disturbed.names
    found = []
    for skip in (True, False):
        steps, refs, folder = (
            {"emicorr": {"skip": skip}},
            [disturbed.references],
            tmp_path / f"{skip}",
        )
        (outcome,) = run("detector1", disturbed.uncal[0], folder, refs=refs, steps=steps)
        assert not outcome.error, outcome.error
        rate = jwpipe.open(folder / f"{name}_rate.fits")
        found.append(rate_recovery(disturbed, {name: rate}))
    left, fitted = found
    assert left.false > 0.1
    assert fitted.false < 0.01
    assert fitted.pull_width == pytest.approx(1.0, abs=0.07)
    assert abs(fitted.pull_median) < 0.05


def test_outputs_of_miri_are_levelled(tmp_path):
    """In full frames reference pixels tell what each output drifted, odd and even rows apart: 20 DN a group."""
    knobs = replace(
        INSTRUMENTS["MIRI"], amplifier_drift=20.0, odd_even_drift=10.0, cosmic_ray_rate=0.0
    )
    dark = Scene(star_density=0.0, bright_density=0.0, galaxy_density=0.0, spiral_density=0.0)
    made = simulate.observation(
        tmp_path,
        detectors=("MIRIMAGE",),
        dithers=1,
        subarray="FULL",
        readpatt="FASTR1",
        ngroups=6,
        filter="F770W",
        scene=dark,
        instrument=knobs,
    )
    (outcome,) = run("detector1", made.uncal[0], tmp_path / "ours", refs=[made.references])
    assert not outcome.error, outcome.error
    truth = made.truth(made.names[0])
    with fits.open(tmp_path / "ours" / f"{made.names[0]}_rate.fits") as hdus:
        off = np.where(hdus["DQ"].data == 0, hdus["SCI"].data - truth.rate, np.nan)
    levels = [np.nanmedian(off[row::2, column::4]) for row in range(2) for column in range(4)]
    # 20 DN a group of 2.8 s, with four groups in the fit, are 3 DN/s, and 9 between the extremes of eight; the
    # polynomial of linearity changes what light pixels drift by 2 %, and reference pixels have noise
    assert np.ptp(levels) < 0.5
