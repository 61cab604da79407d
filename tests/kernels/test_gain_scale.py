import numpy as np
import pytest
from astropy.io import fits

from jwpipe.exposure import Header
from jwpipe.refs import References
from jwpipe.stage1.gain_scale import GainScaleParams, gain_scale, scale_gain


def test_variances_scale_with_the_square():
    arrays = [np.full((2, 2), value, np.float32) for value in (3.0, 2.0, 1.0, 5.0)]
    cube = [np.full((1, 2, 2), 1.0, np.float32)] * 3
    scaled = scale_gain(*arrays, *cube, None, 2.0)
    assert [float(array.flat[0]) for array in scaled[:7]] == [6, 4, 4, 20, 2, 2, 4]
    assert scaled[7] is None
    assert all(array.dtype == np.float32 for array in scaled[:7])
    np.testing.assert_array_equal(arrays[0], 3.0)


def reference(folder, **keywords):
    hdu = fits.PrimaryHDU()
    hdu.header.update(keywords)
    fits.HDUList([hdu, fits.ImageHDU(np.ones((2, 2), np.float32), name="SCI")]).writeto(
        folder / "gain.fits"
    )
    return References.from_files({"gain": folder / "gain.fits"})


@pytest.mark.parametrize(
    ("exposure", "gain", "factor"),
    [({"GAINFACT": 2.0}, {"GAINFACT": 3.0}, 2.0), ({}, {"GAINFACT": 3.0}, 3.0), ({}, {}, None)],
)
def test_the_exposures_factor_goes_before_the_references(tmp_path, exposure, gain, factor):
    header, references = Header({"primary": exposure}), reference(tmp_path, **gain)
    reason = gain_scale.unsuitable(references, header, GainScaleParams())
    assert ("GAINFACT" in reason) == (factor is None)
    assert gain_scale.prepare(references, header, GainScaleParams()) == (factor,)
    assert gain_scale.marks(references, header, GainScaleParams()) == {"GAINFACT": factor}


def test_no_gain_reference_at_all():
    references, header = References.from_files({"gain": "N/A"}), Header({})
    assert gain_scale.unsuitable(references, header, GainScaleParams())
