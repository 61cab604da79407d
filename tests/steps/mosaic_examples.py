"""Small dithered exposures with variances and all the keywords that mosaics are made from."""

import dask.array as da
import numpy as np
from image3_examples import exposure, picture, pointing, sky_of_stars

SHAPE = (60, 72)
DITHERS = ((0.0, 0.0), (0.41, 0.13), (-0.22, 0.5), (0.1, -0.36))
"""Arcsec east and north; a pixel is 0.03."""


def calibrated(image, where, number=1, *, noise=0.02, level=None, seed=0, **keywords):
    """An exposure with variances: read noise, Poisson noise that follows the image, flat-field noise."""
    found = exposure(image, where, number)
    rng = np.random.default_rng(seed)
    variances = {
        "var_rnoise": noise**2 * rng.uniform(0.8, 1.2, image.shape),
        "var_poisson": 1e-3 * np.abs(image),
        "var_flat": 1e-6 * image**2,
    }
    for name, values in variances.items():
        found[name] = (("y", "x"), values.astype(np.float32))
    found["err"] = (("y", "x"), np.sqrt(sum(variances.values())).astype(np.float32))
    found["sci"].attrs["units"] = "MJy/sr"
    times = {"EFFEXPTM": 100.0, "TMEASURE": 95.0, "DURATION": 110.0}
    times |= {"EXPSTART": 61000.0 + number, "EXPEND": 61000.5 + number, "DETECTOR": "NRCB1"}
    background = {} if level is None else {"BKGLEVEL": level, "BKGSUB": False}
    primary = {**found.attrs["primary"], **times, "EXP_TYPE": "NRC_IMAGE", **background, **keywords}
    sci = {**found.attrs["sci"], "V3I_YANG": 0.0, "VPARITY": -1}
    return found.assign_attrs(primary=primary, sci=sci, product="cal")


def flag(found, places, value=1):
    """``found`` with DQ set and pixels undefined at (row, column) ``places``."""
    found = found.copy(deep=True)
    for row, column in places:
        found["dq"].values[row, column] |= value
        for name in ("sci", "err", "var_rnoise", "var_poisson", "var_flat"):
            found[name].values[row, column] = np.nan
    return found


def dithered(number=4, *, stars=None, shape=SHAPE, **options):
    """Exposures of the same stars at some dithers, each a group of its own, a few pixels bad."""
    stars = stars or sky_of_stars(15, reach=0.8)
    rng = np.random.default_rng(4)
    made = []
    for k in range(number):
        where = pointing(*DITHERS[k % len(DITHERS)])
        image = picture(stars, where, shape=shape, seed=k)
        found = calibrated(image, where, k + 1, seed=k, **options)
        bad = zip(rng.integers(0, shape[0], 12), rng.integers(0, shape[1], 12), strict=True)
        made.append(flag(found, list(bad)))
    return made


class Counter:
    """An array that counts what is read of it."""

    def __init__(self, values):
        self.values, self.shape, self.dtype, self.ndim = values, values.shape, values.dtype, 2
        self.read = np.zeros(values.shape, int)

    def __getitem__(self, index):
        self.read[index] += 1
        return self.values[index]


def counted(found, chunks=(10, 12)):
    """``found`` with lazy variables, and the counters behind them by name."""
    counters = {str(name): Counter(values.values) for name, values in found.items()}
    lazy = {
        name: (("y", "x"), da.from_array(counter, chunks, asarray=False), found[name].attrs)
        for name, counter in counters.items()
    }
    return found.assign(lazy), counters
