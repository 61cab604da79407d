import numpy as np
import pytest
from io_examples import uncal

import jwpipe.io as jio
from jwpipe.exposure import ExposureError


@pytest.fixture
def three(tmp_path):
    """Segments of 2, 2 and 1 integrations."""
    spans = [(1, 2), (3, 2), (5, 1)]
    paths = [tmp_path / f"jw01234001001_02101_00001-seg00{n}_nrcb1_uncal.fits" for n in (1, 2, 3)]
    pixels = [
        uncal(path, integrations=count, first=first, segments=(n, 3), total=5, seed=n)
        for n, (path, (first, count)) in enumerate(zip(paths, spans, strict=True), 1)
    ]
    return paths, np.concatenate(pixels)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_segments_become_one_array(three, order):
    paths, pixels = three
    exposure = jio.open([paths[n] for n in order])
    np.testing.assert_array_equal(exposure["sci"].values, pixels)
    np.testing.assert_array_equal(exposure["zeroframe"].values, pixels[:, 0] // 4)
    assert exposure.attrs["tables"]["INT_TIMES"]["integration_number"].tolist() == [1, 2, 3, 4, 5]
    keywords = exposure.attrs["primary"]
    assert [keywords[k] for k in ("NINTS", "INTSTART", "INTEND", "EXSEGNUM", "EXSEGTOT")] == [
        5,
        1,
        5,
        1,
        1,
    ]
    assert exposure.attrs["filename"] == "jw01234001001_02101_00001_nrcb1_uncal.fits"


def test_a_pattern(three, tmp_path):
    exposure = jio.open(tmp_path / "*-seg*_nrcb1_uncal.fits")
    np.testing.assert_array_equal(exposure["sci"].values, three[1])


def test_the_whole_can_be_written_and_read(three, tmp_path):
    path = jio.save(jio.open(three[0]), tmp_path)
    assert path.name == "jw01234001001_02101_00001_nrcb1_uncal.fits"
    np.testing.assert_array_equal(jio.open(path)["sci"].values, three[1])


def test_neighbouring_segments_stay_a_part(three):
    exposure = jio.open(three[0][1:])
    assert exposure.sizes["integration"] == 3
    keywords = exposure.attrs["primary"]
    assert [keywords[k] for k in ("INTSTART", "INTEND", "EXSEGNUM", "EXSEGTOT")] == [3, 5, 2, 3]


def test_one_segment_alone(three):
    assert jio.open(three[0][1]).attrs["primary"]["INTSTART"] == 3


def test_a_segment_is_missing(three):
    with pytest.raises(ExposureError, match=r"seg003.*integration 5, expected 3.*all segments"):
        jio.open([three[0][0], three[0][2]])


def test_a_segment_twice(three):
    with pytest.raises(ExposureError, match="each once"):
        jio.open([three[0][0], three[0][0]])


def test_segments_of_two_exposures(three, tmp_path):
    other = tmp_path / "other_uncal.fits"
    uncal(other, integrations=2, first=3, segments=(2, 3), total=5, EXPOSURE="00002")
    with pytest.raises(ExposureError, match=r"EXPOSURE is '00002', expected '00001'.*one by one"):
        jio.open([three[0][0], other])


def test_segments_of_two_sizes(three, tmp_path):
    other = tmp_path / "other_uncal.fits"
    uncal(other, integrations=2, first=3, segments=(2, 3), total=5, size=(20, 20))
    with pytest.raises(ExposureError, match="not segments of one exposure"):
        jio.open([three[0][0], other])


def test_a_table_of_all_integrations_in_each_segment(tmp_path):
    import astropy.io.fits as fits
    from io_examples import int_times

    paths = []
    for n, first in ((1, 1), (2, 3)):
        paths.append(tmp_path / f"a-seg00{n}_uncal.fits")
        uncal(paths[-1], integrations=2, first=first, segments=(n, 2), total=4)
        with fits.open(paths[-1], "update") as hdus:
            hdus["INT_TIMES"] = fits.BinTableHDU(int_times(1, 4), name="INT_TIMES")
    rows = jio.open(paths).attrs["tables"]["INT_TIMES"]
    assert rows["integration_number"].tolist() == [1, 2, 3, 4]


def test_nothing_given():
    with pytest.raises(ExposureError, match="no file"):
        jio.open([])
