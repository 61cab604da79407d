import numpy as np
import pytest
from astropy.io import fits

from jwpipe.exposure import ExposureError, Header
from jwpipe.refs import References
from jwpipe.stage1.reset import ResetParams, reset, subtract_reset


@pytest.fixture
def transient():
    """Two integrations of two groups: 10, 5 and 20, 8."""
    return np.array([[10, 5], [20, 8]], np.float32).reshape(2, 2, 1, 1)


def ramps(integrations, groups):
    return np.full((integrations, groups, 1, 1), 100, np.float32)


def subtracted(transient, first, known=(2, 2), integrations=3, groups=3):
    sci, flags = ramps(integrations, groups), np.array([[1]], np.uint32)
    corrected, pixeldq = subtract_reset(
        sci, flags, transient, np.array([[4]], np.uint32), known, first=first
    )
    assert pixeldq[0, 0] == 5
    assert (sci == 100).all()
    assert flags[0, 0] == 1
    return corrected[..., 0, 0]


def test_first_groups_lose_the_transient_of_their_integration_the_last_known_goes_on(transient):
    np.testing.assert_array_equal(
        subtracted(transient, 0), [[90, 95, 100], [80, 92, 100], [80, 92, 100]]
    )


def test_integrations_count_from_the_start_of_the_exposure(transient):
    # A segment that begins with the second integration has the second transient throughout.
    np.testing.assert_array_equal(subtracted(transient, 1, integrations=2), [[80, 92, 100]] * 2)


def test_ramps_shorter_than_the_transient_and_nan(transient):
    transient[0, 0] = np.nan
    np.testing.assert_array_equal(subtracted(transient, 0, groups=1), [[100], [80], [80]])


def test_only_what_the_reference_calls_valid_counts(transient):
    found = subtracted(transient, 0, known=(1, 1))
    np.testing.assert_array_equal(found, [[90, 100, 100]] * 3)


def header(**keywords):
    return Header({"primary": {"INSTRUME": "MIRI"} | keywords, "filename": "a_uncal.fits"})


def test_the_headers_say_what_is_valid_and_where_the_segment_begins(tmp_path, transient):
    primary = fits.PrimaryHDU()
    primary.header.update({"REFTYPE": "RESET", "NINTS": 1, "NGROUPS": 5})
    flags = fits.ImageHDU(np.zeros((1, 1), np.uint32), name="DQ")
    fits.HDUList([primary, fits.ImageHDU(transient, name="SCI"), flags]).writeto(
        tmp_path / "r.fits"
    )
    references = References.from_files({"reset": tmp_path / "r.fits"})
    array, dq, known = reset.prepare(references, header(), ResetParams())
    assert array.shape == (2, 2, 1, 1)
    assert dq.shape == (1, 1)
    assert known == (1, 2)
    assert reset.keywords(header(INTSTART=3), ResetParams()) == {"first": 2}
    assert reset.keywords(header(), ResetParams()) == {"first": 0}


def test_a_reference_of_the_wrong_shape_is_refused(tmp_path):
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(np.zeros((2, 1, 1), np.float32), name="SCI")]
    fits.HDUList(hdus).writeto(tmp_path / "r.fits")
    references = References.from_files({"reset": tmp_path / "r.fits"})
    with pytest.raises(
        ExposureError, match=r"a_uncal.fits: reset: .*r.fits.* found shape \(2, 1, 1\)"
    ):
        reset.prepare(references, header(), ResetParams())


def test_left_out_for_other_detectors():
    assert "MIRI" in reset.applies(Header({"primary": {"INSTRUME": "NIRCAM"}}), ResetParams())
