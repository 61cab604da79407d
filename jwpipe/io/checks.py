"""Does an exposure agree with itself?"""

import xarray as xr


def check_exposure(exposure: xr.Dataset, path: str) -> None:
    """Raise ExposureError where keywords contradict the pixels."""
