import gzip
from typing import ClassVar

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from io_examples import rate, uncal

import jwpipe.io as jio
from jwpipe.exposure import ExposureError
from jwpipe.io import source


class CountedFileSystem(MemoryFileSystem):
    """A far store that notes the bytes of each request."""

    protocol = "counted"
    store: ClassVar[dict] = {}
    pseudo_dirs: ClassVar[list] = [""]
    requests: ClassVar[list] = []
    short = 0

    def cat_file(self, path, start=None, end=None, **kwargs):
        CountedFileSystem.requests.append((start, end))
        content = self.store[self._strip_protocol(path)].getvalue()
        return content[start : end - self.short]


fsspec.register_implementation("counted", CountedFileSystem, clobber=True)


@pytest.fixture
def far(tmp_path):
    path = tmp_path / "a_uncal.fits"
    pixels = uncal(path, size=(64, 2048))
    url = "counted://bucket/a_uncal.fits"
    with fsspec.open(url, "wb") as file:
        file.write(path.read_bytes())
    CountedFileSystem.requests.clear()
    yield url, pixels
    CountedFileSystem.short = 0


def test_opening_asks_for_headers_only(far):
    exposure = jio.open(far[0])
    asked = sum(stop - start for start, stop in CountedFileSystem.requests)
    assert exposure.attrs["filename"] == "a_uncal.fits"
    assert asked < 4 * source.REMOTE_HEADER < exposure["sci"].nbytes / 4


def test_a_tile_asks_for_its_bytes_only(far):
    url, pixels = far
    exposure = jio.open(url, chunks={"y": 16})
    CountedFileSystem.requests.clear()
    tile = exposure["sci"].isel(y=slice(16, 32)).compute(scheduler="sync")
    np.testing.assert_array_equal(tile, pixels[:, :, 16:32])
    asked = [stop - start for start, stop in CountedFileSystem.requests]
    assert asked == [16 * 2048 * 2] * 8


def test_a_part_of_rows(far):
    url, pixels = far
    exposure = jio.open(url)
    CountedFileSystem.requests.clear()
    part = (
        exposure["sci"]
        .isel(integration=1, group=-1, y=slice(10, 40, 3), x=slice(300, 700, 7))
        .values
    )
    np.testing.assert_array_equal(part, pixels[1, -1, 10:40:3, 300:700:7])
    assert len(CountedFileSystem.requests) == 1
    assert exposure["sci"].isel(y=slice(3, 3)).values.shape == (2, 4, 0, 2048)


def test_columns_of_a_wide_image_are_asked_for_row_by_row(tmp_path):
    rate(tmp_path / "a_rate.fits", size=(6, 40_000))
    with fsspec.open("counted://bucket/a_rate.fits", "wb") as file:
        file.write((tmp_path / "a_rate.fits").read_bytes())
    near, far = (
        jio.open(name)["sci"].isel(y=slice(1, 4), x=slice(5, 9))
        for name in (tmp_path / "a_rate.fits", "counted://bucket/a_rate.fits")
    )
    CountedFileSystem.requests.clear()
    np.testing.assert_array_equal(far.values, near.values)
    assert [stop - start for start, stop in CountedFileSystem.requests] == [16, 16, 16]


def test_a_server_that_sends_too_little(far):
    exposure = jio.open(far[0])
    CountedFileSystem.short = 1
    with pytest.raises(ExposureError, match="copy the file to this machine"):
        exposure["sci"].compute(scheduler="sync")


def test_memory_and_gzip(tmp_path):
    pixels = uncal(tmp_path / "a_uncal.fits")
    for name, content in (
        ("a_uncal.fits", (tmp_path / "a_uncal.fits").read_bytes()),
        ("a_uncal.fits.gz", gzip.compress((tmp_path / "a_uncal.fits").read_bytes())),
    ):
        with fsspec.open(f"memory://jwpipe-test/{name}", "wb") as file:
            file.write(content)
        exposure = jio.open(f"memory://jwpipe-test/{name}")
        np.testing.assert_array_equal(exposure["sci"].values, pixels)
        np.testing.assert_array_equal(exposure["sci"].isel(y=4).values, pixels[:, :, 4])


def test_file_addresses(tmp_path):
    pixels = uncal(tmp_path / "a_uncal.fits")
    np.testing.assert_array_equal(jio.open(f"file://{tmp_path}/a_uncal.fits")["sci"].values, pixels)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("memory://jwpipe-test/none_uncal.fits", "cannot be read"),
        ("nosuch://bucket/a_uncal.fits", "no access to this kind of address"),
    ],
)
def test_addresses_that_lead_nowhere(url, said):
    with pytest.raises(ExposureError, match=said):
        jio.open(url)
