"""How an image's looks decide the way it is cleaned."""

import numpy as np
import pytest

from jwpipe.stage1.flicker.auto import AUTOMATIC, Looks, chosen, decided, looks
from jwpipe.stage1.flicker.frame import Cleaning

CLEAR = Looks(masked=0.02, offset=0.01, slope=1e-6, slope_ratio=1.0, scatter=0.001)


@pytest.mark.parametrize(
    ("kind", "changes", "expected"),
    [
        ("NRC_IMAGE", {}, ("median", False)),
        ("NRC_IMAGE", {"offset": 0.08}, ("median", True)),
        ("NRC_IMAGE", {"masked": 0.2, "offset": 0.08}, ("median", False)),
        ("NRC_IMAGE", {"masked": 0.2, "slope": 2e-5}, ("model", False)),
        ("NIS_IMAGE", {"masked": 0.2, "offset": 0.08, "slope": 2e-5}, ("median", False)),
        ("NIS_IMAGE", {"masked": 0.2, "offset": 0.08, "slope": 2e-4}, ("model", False)),
        ("NIS_IMAGE", {"slope": 2e-5, "slope_ratio": 4.0}, ("model", False)),
        ("NIS_IMAGE", {"slope": 2e-5, "slope_ratio": 6.0}, ("median", False)),
        ("NIS_IMAGE", {"slope": 2e-4, "slope_ratio": 6.0}, ("model", False)),
        ("NIS_IMAGE", {"scatter": 0.03}, ("median", True)),
        ("NIS_IMAGE", {"scatter": 0.03, "offset": 0.0}, ("median", False)),
    ],
)
def test_the_way_is_decided(kind, changes, expected):
    image = Looks(**(vars(CLEAR) | changes))
    assert decided(image, AUTOMATIC[kind]) == expected


def test_slopes_and_masked_pixels_are_seen():
    """A background that rises by 0.002 a column, on which a tenth of the pixels has light."""
    rng = np.random.default_rng(2)
    _, x = np.mgrid[:128, :128]
    rate = (1 + 0.002 * x + rng.normal(0, 0.02, x.shape)).astype(np.float32)
    rate[:13] += 5
    found = looks(rate, 1, "NRC_IMAGE")
    assert found.slope == pytest.approx(0.002, rel=0.2)
    assert 0.1 < found.masked < 0.2
    assert found.offset == 0.0
    how = chosen(rate, Cleaning(), "NRC_IMAGE", full=False)
    assert (how.background, how.by_output) == ("model", False)


def test_integrations_are_averaged_and_empty_ones_change_nothing():
    rng = np.random.default_rng(3)
    rates = rng.normal(1, 0.1, (2, 64, 64)).astype(np.float32)
    assert chosen(rates, Cleaning(), "NRC_IMAGE", full=True) == chosen(
        rates.mean(axis=0), Cleaning(), "NRC_IMAGE", full=True
    )
    empty = np.full((64, 64), np.nan, np.float32)
    assert chosen(empty, Cleaning(), "NRC_IMAGE", full=True) == Cleaning()
