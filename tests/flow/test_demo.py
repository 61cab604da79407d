"""The demo from end to end on a field smaller than its own: what it promises, it keeps."""

import pytest

from jwpipe import demo

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """The folder of a demo that went through, what it recovered, and its exit status."""
    recovered = []
    with pytest.MonkeyPatch.context() as patch:
        recover = demo.recover
        patch.setattr(
            demo, "recover", lambda *args: recovered.append(recover(*args)) or recovered[-1]
        )
        size = {"subarray": "SUB320", "size": 400, "readpatt": "SHALLOW4", "ngroups": 6}
        patch.setattr(demo, "SIZES", {"small": size})
        folder = tmp_path_factory.mktemp("demo")
        status = demo.run_demo(folder)
    return folder, recovered[0], status


def test_it_goes_well_and_writes_what_it_says(shown):
    folder, _, status = shown
    assert status == 0
    assert (folder / demo.PICTURE).stat().st_size > 100_000
    for pattern in ("*_i2d.fits", "*_cat.ecsv", "*_segm.fits", "*_crf.fits", "*_rate.fits"):
        assert list((folder / "products").glob(pattern)), pattern
    assert len(list((folder / "data" / "uncal").iterdir())) == 8


def test_rates_are_unbiased_and_cosmic_rays_found(shown):
    rates = shown[1].rates
    assert abs(rates.pull_median) < 0.2
    assert rates.pull_width == pytest.approx(1.0, abs=0.07)
    assert abs(rates.bright_bias) < 0.005
    assert rates.found > 0.99
    assert rates.false < 0.01


def test_exposures_align_and_stars_have_their_flux(shown):
    recovery = shown[1]
    assert (recovery.offsets - recovery.offsets.mean(axis=0)).std() < 3.0
    assert recovery.stars.scatter_mas < 4.0
    assert recovery.stars.ratio.size > 20
    assert abs(recovery.stars.bias) < 0.01
    assert recovery.stars.completeness(24.0) > 0.95
