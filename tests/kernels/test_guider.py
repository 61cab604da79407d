import numpy as np
import pytest

from jwpipe.dq import Pixel
from jwpipe.exposure import ExposureError, Header
from jwpipe.exptypes import GUIDER
from jwpipe.pipelines import dark_steps, detector1_steps, guider_steps
from jwpipe.stage1.guider_cds import guide_rates
from jwpipe.stage2.flat_field_guider import flatten_guide_rates, usable_flat

BAD = int(Pixel.DO_NOT_USE | Pixel.NO_FLAT_FIELD)


def rates_of(counts, kind, *, gain=2.0, noise=10.0, group_time=0.5):
    """Rates and errors of one pixel with ``counts`` (i, g)."""
    sci = np.array(counts, np.float32)[..., None, None]
    planes = [np.full((1, 1), value, np.float32) for value in (gain, noise)]
    before = sci.copy()
    rate, err = guide_rates(sci, *planes, kind=kind, group_time=group_time)
    np.testing.assert_array_equal(sci, before)
    return rate[:, 0, 0].tolist(), err[:, 0, 0]


def test_acquisition_takes_the_two_groups_of_each_integration():
    """A rise of 30 DN in 0.5 s is 60 DN/s; variance 2 (10 / 0.5)^2 + 30 / (2 * 0.5), a fall adds no photons."""
    rate, err = rates_of([[100, 130], [50, 40]], "FGS_ACQ1")
    assert rate == [60.0, -20.0]
    np.testing.assert_allclose(err, np.sqrt([800 + 30, 800]), rtol=1e-6)


def test_identification_takes_the_smaller_rise():
    """A cosmic ray in one of the two integrations is left out; a third integration does not count."""
    rate, err = rates_of([[100, 130], [100, 5000], [0, 1]], "FGS_ID-IMAGE")
    assert rate == [60.0]
    np.testing.assert_allclose(err, [np.sqrt(830)], rtol=1e-6)


def test_fine_guiding_averages_four_groups_at_either_end():
    rate, _ = rates_of([[1, 2, 3, 4, 100, 9, 10, 11, 12]], "FGS_FINEGUIDE")
    assert rate == [(10.5 - 2.5) / 0.5]


def test_no_gain_gives_no_finite_error():
    _, err = rates_of([[100, 130]], "FGS_TRACK", gain=0.0)
    assert np.isinf(err[0])
    _, err = rates_of([[100, 130]], "FGS_TRACK", gain=np.nan)
    assert np.isnan(err[0])


def test_flats_that_say_nothing_count_as_one():
    flat = np.array([[0.5, 0.0, np.nan, 2.0, 2.0]], np.float32)
    dq = np.array([[0, 0, 0, Pixel.NO_FLAT_FIELD, Pixel.WARM]], np.uint32)
    usable, flags = usable_flat(flat, dq)
    np.testing.assert_array_equal(usable, [[0.5, 1, 1, 1, 2]])
    np.testing.assert_array_equal(flags, [[0, BAD, BAD, BAD, Pixel.WARM]])
    assert np.isnan(flat[0, 2])
    assert dq[0, 1] == 0


def test_the_flats_error_is_added():
    """100 / 0.5 = 200 DN/s; its error 200 * 0.01 / 0.5 = 4, with 3 before that makes 5."""
    sci, err = np.full((1, 1, 1), 100, np.float32), np.full((1, 1, 1), 3, np.float32)
    flat, noise = np.full((1, 1), 0.5, np.float32), np.full((1, 1), 0.01, np.float32)
    rate, error = flatten_guide_rates(sci, err, flat, noise, inverse=False)
    assert (rate.item(), error.item()) == (200.0, 5.0)
    rate, error = flatten_guide_rates(sci, err, flat, noise, inverse=True)
    assert (rate.item(), error.item()) == (50.0, 3.0)
    rate, error = flatten_guide_rates(sci, err * np.float32(np.nan), flat, noise, inverse=True)
    assert np.isnan(rate.item())
    assert np.isnan(error.item())


def header(kind, instrument="NIRCAM"):
    return Header({"primary": {"EXP_TYPE": kind, "INSTRUME": instrument, "FILENAME": "x.fits"}})


@pytest.mark.parametrize("kind", sorted(GUIDER))
def test_guide_stars_have_a_pipeline_of_their_own(kind):
    names = [step.name for step in guider_steps(header(kind, "FGS"))]
    assert names == ["dq_init", "guider_cds", "flat_field"]
    for other in (detector1_steps, dark_steps):
        with pytest.raises(ExposureError, match="run guider"):
            other(header(kind, "FGS"))


def test_darks_stop_before_a_dark_is_subtracted():
    names = [step.name for step in dark_steps(header("NRC_DARK"))]
    assert names == [
        "group_scale", "dq_init", "saturation", "ipc", "superbias", "refpix", "linearity",
    ]  # fmt: skip
    names = [step.name for step in dark_steps(header("MIR_DARKIMG", "MIRI"))]
    assert names == [
        "group_scale", "dq_init", "emicorr", "saturation", "ipc", "firstframe", "lastframe", "reset", "linearity",
        "rscd",
    ]  # fmt: skip
    with pytest.raises(ExposureError, match="run dark"):
        detector1_steps(header("NRC_DARK"))
    with pytest.raises(ExposureError, match="run dark"):
        guider_steps(header("NRC_DARK"))
    with pytest.raises(ExposureError, match="run detector1"):
        guider_steps(header("NRC_IMAGE"))
