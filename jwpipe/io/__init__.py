"""Files to lazy Datasets and back: FITS, zarr, associations."""

from jwpipe.io.open import open  # noqa: A004
from jwpipe.io.product import Pending, store
from jwpipe.io.save import prepare, product_path, save

__all__ = ["Pending", "open", "prepare", "product_path", "save", "store"]
