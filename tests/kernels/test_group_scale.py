import numpy as np
import pytest

from jwpipe.exposure import Header
from jwpipe.stage1.group_scale import GroupScaleParams, group_scale, scale_groups


def header(**keywords):
    return Header({"primary": keywords})


def test_five_frames_divided_by_eight():
    # Five frames of 100 DN were summed and divided by 8: 62.5; times 8 / 5 gives the average, 100.
    sci = np.full((1, 2, 3, 4), 62.5, np.float32)
    kept = sci.copy()
    keywords = group_scale.keywords(header(NFRAMES=5, FRMDIVSR=8), GroupScaleParams())
    (scaled,) = scale_groups(sci, **keywords)
    assert scaled.dtype == np.float32
    np.testing.assert_array_equal(scaled, 100)
    np.testing.assert_array_equal(sci, kept)


@pytest.mark.parametrize(
    ("keywords", "runs"),
    [
        ({"NFRAMES": 5, "FRMDIVSR": 8}, True),
        ({"NFRAMES": 8, "FRMDIVSR": 8}, False),
        ({"NFRAMES": 5}, False),
        ({"NFRAMES": 4}, False),
        ({"FRMDIVSR": 4}, False),
    ],
)
def test_applies_to_a_wrong_divisor_alone(keywords, runs):
    reason = group_scale.applies(header(**keywords), GroupScaleParams())
    assert (reason == "") == runs
