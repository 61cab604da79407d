"""Files to lazy Datasets and back: FITS, zarr, associations."""

from jwpipe.io.associations import (
    AssociatedProduct,
    Association,
    Member,
    association_of,
    read_association,
    write_association,
)
from jwpipe.io.names import product_name
from jwpipe.io.open import open
from jwpipe.io.product import Pending, store
from jwpipe.io.save import prepare, product_path, save

__all__ = [
    "AssociatedProduct",
    "Association",
    "Member",
    "Pending",
    "association_of",
    "open",
    "prepare",
    "product_name",
    "product_path",
    "read_association",
    "save",
    "store",
    "write_association",
]
