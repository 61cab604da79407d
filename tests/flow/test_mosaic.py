"""image3 in Python: lazy, tile by tile, from raw ramps to a cutout."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

import jwpipe
from jwpipe.exposure import ExposureError
from jwpipe.io.fitsarray import FitsArray
from jwpipe.params import ParameterError
from jwpipe.simulate import observation as simulate

UNSOLVED = {"tweakreg": {"skip": True}, "skymatch": {"skip": True}}
LAZY = UNSOLVED | {"outlier_detection": {"skip": True}}


@pytest.fixture
def reads(monkeypatch):
    """The boxes read of each file, by its name."""
    found = {}
    read = FitsArray.read

    def counted(array, box, *options):
        found.setdefault(array.path.rpartition("/")[2], []).append((array, box))
        return read(array, box, *options)

    monkeypatch.setattr(FitsArray, "read", counted)
    return found


@pytest.fixture
def cals(products):
    return sorted(products.glob("*_cal.fits"))


@pytest.fixture(scope="session")
def apart(tmp_path_factory):
    """Two exposures so far apart that they share no tile of a mosaic."""
    return simulate(
        tmp_path_factory.mktemp("apart"),
        detectors=("NRCB1",),
        dithers=[(-12.0, -12.0), (12.0, 12.0)],
        subarray="SUB160P",
        size=64,
        ngroups=5,
        readpatt="RAPID",
    )


def test_stages_compose_and_nothing_is_computed(uncal, refs, nothing_computed, reads):
    rates = [
        jwpipe.detector1(jwpipe.open(path), refs=refs, steps={"jump": {"rejection_threshold": 5}})
        for path in uncal
    ]
    mosaic = jwpipe.image3(
        [jwpipe.image2(rate, refs=refs) for rate in rates], refs=refs, steps=LAZY
    )
    assert mosaic["sci"].dims == ("y", "x")
    assert not any(name.endswith("_uncal.fits") for name in reads)
    result = mosaic["sci"].data.compute(scheduler="sync")
    assert np.isfinite(result).mean() > 0.5
    history = {entry["step"]: entry for entry in rates[0].attrs["history"]}
    assert history["jump"]["parameters"]["rejection_threshold"] == 5.0


def test_a_cutout_from_raw_ramps_reads_the_exposures_under_it(apart, reads):
    references = apart.references
    exposures = [
        jwpipe.image2(jwpipe.detector1(path, refs=references), refs=references)
        for path in apart.uncal
    ]
    mosaic = jwpipe.image3(exposures, refs=references, steps=UNSOLVED)
    height = mosaic.sizes["y"]
    assert len(mosaic["sci"].chunksizes["y"]) > 2
    for cutout in (slice(0, 20), slice(height - 20, height)):
        reads.clear()
        part = mosaic["sci"].isel(y=cutout).compute()
        assert np.isfinite(part).any()
        assert sum(name.endswith("_uncal.fits") for name in reads) == 1
    whole = mosaic["sci"].values
    np.testing.assert_array_equal(part, whole[height - 20 :])


def test_a_cutout_of_files_reads_the_rows_under_it(cals, refs, reads):
    mosaic = jwpipe.image3(cals, refs=refs, steps=LAZY)
    reads.clear()
    mosaic["sci"].isel(y=slice(0, 8)).compute()
    pixels = sum(
        (box[-2].stop - box[-2].start) * (box[-1].stop - box[-1].start)
        for name, boxes in reads.items()
        if name.endswith("_cal.fits")
        for array, box in boxes
        if array.dtype == np.float32
    )
    every = sum(array.shape[-1] * array.shape[-2] for boxes in reads.values() for array, _ in boxes)
    assert 0 < pixels < every


def test_what_outliers_need_of_all_is_solved_beforehand(cals, refs, nothing_computed):
    with pytest.raises(AssertionError, match="computed before"):
        jwpipe.image3(cals, refs=refs, steps=UNSOLVED)


def test_a_lazy_result_goes_to_another_process(uncal, refs, tmp_path):
    rate = jwpipe.detector1(uncal[0], refs=refs)
    cal = jwpipe.image2(rate, refs=refs)
    (tmp_path / "cal.pickle").write_bytes(pickle.dumps(cal))
    code = (
        "import pickle, numpy, sys; "
        "cal = pickle.load(open('cal.pickle', 'rb')); "
        "numpy.save('sci.npy', cal['sci'].values); print(*map(float, cal.attrs['wcs'](10, 20)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "sci.npy"), cal["sci"].values)
    ours = cal.attrs["wcs"](10, 20)
    found = [float(word) for word in done.stdout.split()]
    np.testing.assert_allclose(found, ours, rtol=1e-12)


def test_a_mosaic_is_saved_and_its_sources_listed(cals, refs, tmp_path):
    mosaic = jwpipe.image3(cals, refs=refs, name="mine", steps=LAZY)
    path = jwpipe.save(mosaic, tmp_path)
    assert path.name == "mine_i2d.fits"
    table, segments = jwpipe.source_catalog(
        path, refs=refs, steps={"source_catalog": {"npixels": 4, "snr_threshold": 2.0}}
    )
    assert len(table) == segments["sci"].values.max()


def test_functions_go_around_the_steps_of_image3(cals, refs):
    seen = []
    steps = {
        name: {"post_hooks": [lambda found, name=name: seen.append(name)]}
        for name in ("tweakreg", "skymatch", "outlier_detection", "resample")
    }
    jwpipe.image3(cals, refs=refs, steps=steps)
    assert seen == ["tweakreg"] * 3 + ["skymatch"] * 3 + ["outlier_detection"] * 3 + ["resample"]


def test_what_cannot_be_combined_is_refused(products, cals, refs):
    with pytest.raises(ExposureError, match="no exposures to combine"):
        jwpipe.image3([], refs=refs)
    with pytest.raises(ExposureError, match="this is a mosaic; expected calibrated exposures"):
        jwpipe.image3([next(products.glob("*_i2d.fits"))], refs=refs)
    with pytest.raises(ExposureError, match="no WCS; run image2"):
        jwpipe.image3([next(products.glob("*_rate.fits"))], refs=refs)
    with pytest.raises(ParameterError, match="did you mean 'skymatch'"):
        jwpipe.image3(cals, refs=refs, steps={"skymach": {"skip": True}})


def test_one_step_alone(uncal, products, refs):
    ramp = jwpipe.run_step("linearity", uncal[0], refs=refs)
    assert ramp["sci"].dims == ("integration", "group", "y", "x")
    rate = next(products.glob("*_rate.fits"))
    assert "wcs" in jwpipe.run_step("assign_wcs", rate, refs=refs).attrs
    with pytest.raises(ParameterError, match="did you mean 'flat_field'"):
        jwpipe.run_step("flat_feld", rate, refs=refs)
