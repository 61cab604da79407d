"""A user's own functions and steps around the steps of a pipeline, in one line."""

import numpy as np
import pytest

import jwpipe
from jwpipe import Params, Step
from jwpipe.engine.hooks import import_function
from jwpipe.params import ParameterError

SKIPPED = {"ramp_fit": {"skip": True}, "gain_scale": {"skip": True}}


def doubled(exposure):
    return exposure.assign(sci=exposure["sci"] * 2)


def ramp(uncal, refs, **steps):
    return jwpipe.detector1(uncal[0], refs=refs, steps={**SKIPPED, **steps})


def test_a_function_goes_before_or_after_any_step(uncal, refs):
    plain = ramp(uncal, refs)["sci"].values
    for hooks in ({"jump": {"pre_hooks": [doubled]}}, {"jump": {"post_hooks": [doubled]}}):
        np.testing.assert_allclose(ramp(uncal, refs, **hooks)["sci"].values, 2 * plain, rtol=1e-6)


def test_a_function_may_stand_in_for_a_step(uncal, refs):
    alone = ramp(uncal, refs, dark_current={"skip": True})["sci"].values
    instead = ramp(uncal, refs, dark_current={"skip": True, "post_hooks": [doubled]})
    np.testing.assert_allclose(instead["sci"].values, 2 * alone, rtol=1e-6)


def test_a_function_after_ramp_fit_gets_rates(uncal, refs):
    seen = []

    def look(exposure):
        seen.append((exposure.attrs["product"], exposure["sci"].dims))

    jwpipe.detector1(uncal[0], refs=refs, steps={"ramp_fit": {"post_hooks": [look]}})
    assert seen == [("rate", ("y", "x")), ("rateints", ("integration", "y", "x"))]


def test_functions_go_around_the_steps_of_image2(products, refs):
    rate = next(products.glob("*_rate.fits"))
    plain = jwpipe.image2(rate, refs=refs)["sci"].values
    steps = {"photom": {"pre_hooks": [doubled]}}
    np.testing.assert_allclose(jwpipe.image2(rate, refs=refs, steps=steps)["sci"].values, 2 * plain)


class OffsetParams(Params):
    """Parameters of a step of one's own."""

    level: float = 100.0


def add_offset(sci, *, level):
    return (sci + np.float32(level),)


OFFSET = Step(
    "offset",
    add_offset,
    reads=("sci",),
    writes=("sci",),
    params=OffsetParams,
    keywords=lambda header, params: {"level": params.level},
)


@pytest.mark.parametrize("where", ["pre_hooks", "post_hooks"])
def test_a_step_of_ones_own_joins_the_list(uncal, refs, where, nothing_computed):
    result = ramp(uncal, refs, dark_current={where: [OFFSET]})
    plain = ramp(uncal, refs)
    difference = (result["sci"] - plain["sci"]).data.compute(scheduler="sync")
    np.testing.assert_allclose(difference, 100.0, atol=0.01)
    names = [entry["step"] for entry in result.attrs["history"]]
    place = names.index("dark_current")
    assert names[place + (-1 if where == "pre_hooks" else 1)] == "offset"


def test_a_step_of_ones_own_runs_in_the_same_task(uncal, refs):
    tasks = [
        len(dict(result["sci"].data.__dask_graph__()))
        for result in (ramp(uncal, refs), ramp(uncal, refs, jump={"pre_hooks": [OFFSET]}))
    ]
    assert tasks[0] == tasks[1]


def test_steps_around_those_that_combine_are_refused(products, refs):
    steps = {"tweakreg": {"skip": True}, "resample": {"pre_hooks": [OFFSET]}}
    with pytest.raises(ParameterError, match="step offset as a hook: steps go between steps on"):
        jwpipe.image3(sorted(products.glob("*_cal.fits")), refs=refs, steps=steps)


@pytest.mark.parametrize("name", ["nowhere.function", "os.nothing", "function"])
def test_functions_that_are_not_there(name):
    with pytest.raises(ParameterError, match=r"expected package\.module\.function"):
        import_function(name)


def test_functions_by_name(own_functions, monkeypatch):
    monkeypatch.syspath_prepend(own_functions)
    assert import_function("mine.doubled").__name__ == "doubled"
