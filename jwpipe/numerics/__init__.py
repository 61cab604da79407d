"""Numerical kernels shared by steps: numpy and numba only, no xarray, no dask, no files."""
