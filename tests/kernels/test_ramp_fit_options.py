"""What the header and the parameters make of ramp_fit."""

import pytest

from jwpipe.exposure import Header
from jwpipe.stage1.ramp_fit import RampFitParams, ramp_fit


def header(**keywords):
    keywords = {
        "NGROUPS": 8,
        "NFRAMES": 4,
        "TGROUP": 10.0,
        "TFRAME": 2.0,
        "INSTRUME": "NIRCAM",
        **keywords,
    }
    return Header({"primary": keywords, "filename": "x_uncal.fits"})


@pytest.mark.parametrize(
    ("first", "last", "selected"),
    [
        (None, None, None),
        (2, None, (2, 7)),
        (None, 5, (0, 5)),
        (-3, 90, None),
        (5, 5, None),
        (6, 2, None),
    ],
)
def test_selection_of_groups(first, last, selected):
    keywords = ramp_fit.keywords(header(), RampFitParams(firstgroup=first, lastgroup=last))
    assert keywords["groups"] == selected


def test_keywords_of_the_kernel():
    assert not ramp_fit.keywords(header(), RampFitParams())["trim"]
    assert ramp_fit.keywords(header(INSTRUME="MIRI"), RampFitParams())["trim"]


def test_the_likelihood_fit_is_taken_where_it_can_be():
    likely = RampFitParams(algorithm="LIKELY")
    times = ramp_fit.keywords(header(NGROUPS=4, NFRAMES=2, GROUPGAP=1), likely)["times"]
    # Two frames of 2 s are read, one is not.
    assert times == ((2.0, 4.0), (8.0, 10.0), (14.0, 16.0), (20.0, 22.0))
    # Three groups are too few: least squares takes over.
    assert "times" not in ramp_fit.keywords(header(NGROUPS=3), likely)
    uneven = Header(
        {"primary": dict(header(NGROUPS=4)), "read_times": ((1.0,), (2.0,), (5.0,), (9.0,))}
    )
    assert ramp_fit.keywords(uneven, RampFitParams())["times"] == uneven.read_times


def test_parameters_are_those_of_the_reference_pipeline():
    # All of theirs, and uncertainty.
    assert len(RampFitParams().own()) == 8 + 1
    assert all(field.description for field in RampFitParams.model_fields.values())
