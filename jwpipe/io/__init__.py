"""Files to lazy Datasets and back: FITS, zarr, associations."""
