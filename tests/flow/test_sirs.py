"""``refpix_algorithm = sirs`` from a reference file to the corrected frame."""

import asdf
import numpy as np
import pytest
import xarray as xr

import jwpipe


@pytest.fixture
def exposure() -> xr.Dataset:
    primary = {
        "INSTRUME": "NIRCAM", "DETECTOR": "NRCB1", "SUBARRAY": "FULL", "FASTAXIS": 1, "SLOWAXIS": -2, "SUBSTRT1": 1,
        "SUBSTRT2": 1, "SUBSIZE1": 2048, "SUBSIZE2": 2048, "EXP_TYPE": "NRC_IMAGE", "NOUTPUTS": 4, "ZEROFRAM": False,
    }  # fmt: skip
    sci = np.zeros((1, 1, 2048, 2048), np.float32)
    sci[..., :4] = sci[..., -4:] = np.arange(2048)[:, np.newaxis] % 5
    # All rows at the ends of the outputs are alike, so that columns have no level of their own.
    sci[:, :, :4] = sci[:, :, -4:] = 0
    dims = ("integration", "group", "y", "x")
    attrs = {"primary": primary, "sci": {}, "product": "superbias", "filename": "a.fits"}
    return xr.Dataset({"sci": (dims, sci)}, attrs=attrs).chunk()


def test_each_output_loses_its_share_of_the_reference_columns(exposure, tmp_path):
    gains = np.array([1.0, 0.5, 0.25, 2.0])
    flat = np.outer(gains, np.ones(1025)).astype(np.complex64)
    path = tmp_path / "jwst_nircam_sirskernel.asdf"
    meta = {"reftype": "sirskernel", "telescope": "JWST", "instrument": {"name": "NIRCAM"}}
    asdf.AsdfFile({"meta": meta, "nrcb1": {"gamma": flat, "zeta": 0 * flat}}).write_to(path)
    found = jwpipe.run_step(
        "refpix", exposure, overrides={"sirskernel": path}, refpix_algorithm="sirs", gaussmooth=1e-3
    )
    assert found.attrs["primary"]["R_SIRSKL"].endswith(path.name)
    expected = -np.outer(np.arange(2048) % 5, np.repeat(gains, 512))
    inner = slice(4, -4)
    np.testing.assert_allclose(found["sci"][0, 0, inner, inner], expected[inner, inner], atol=1e-5)


def test_the_running_median_asks_for_no_kernels(exposure):
    found = jwpipe.run_step("refpix", exposure)
    assert "R_SIRSKL" not in found.attrs["primary"]
    # Of 0 1 2 3 4 0 1 2 3 4 0 ... the median of eleven rows is 2.
    np.testing.assert_allclose(found["sci"][0, 0, 20:-20, 4:-4], -2, atol=0.5)
