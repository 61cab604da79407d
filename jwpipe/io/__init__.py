"""Files to lazy Datasets and back: FITS, zarr, associations."""

from jwpipe.io.open import open  # noqa: A004

__all__ = ["open"]
