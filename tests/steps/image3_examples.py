"""Small calibrated images with a true JWST-like WCS, for the tests of the steps of image3."""

import numpy as np
import xarray as xr
from astropy import coordinates as coord
from astropy import units as u
from astropy.modeling.models import Scale, Shift
from gwcs import WCS
from gwcs import coordinate_frames as cf

from jwpipe.wcs.fitswcs import s_region
from jwpipe.wcs.pointing import Pointing

SHAPE = (200, 220)
PIXEL = 0.03
V2, V3 = -148.0, -432.0
RA, DEC, ROLL = 80.48, -69.5, 37.0


def pointing(east=0.0, north=0.0, roll=ROLL):
    """A pointing, ``east`` and ``north`` arcsec off the field's centre."""
    return Pointing(V2, V3, RA + east / 3600 / np.cos(np.radians(DEC)), DEC + north / 3600, roll)


def camera(where, shape=SHAPE):
    """A WCS from detector over V2V3 to the sky, without distortion; x runs against V2, as in most detectors."""
    ny, nx = shape
    detector = (
        Shift(-(nx - 1) / 2) & Shift(-(ny - 1) / 2)
        | Scale(-PIXEL) & Scale(PIXEL)
        | Shift(V2) & Shift(V3)
    )
    detector.name = "detector"
    sky = cf.CelestialFrame(reference_frame=coord.ICRS(), name="world", unit=(u.deg, u.deg))
    telescope = cf.Frame2D(name="v2v3", unit=(u.arcsec, u.arcsec), axes_names=("v2", "v3"))
    steps = [(cf.Frame2D(name="detector"), detector), (telescope, where.to_sky()), (sky, None)]
    wcs = WCS(steps)
    wcs.bounding_box = ((-0.5, nx - 0.5), (-0.5, ny - 0.5))
    return wcs


def exposure(image, where, number=1, *, believed=None, dq=None, **attrs):
    """An exposure of ``image`` taken at ``where``; its header says ``believed``, if that is another place."""
    said = believed or where
    wcs = camera(said, image.shape)
    sci = {
        "RA_REF": said.ra,
        "DEC_REF": said.dec,
        "ROLL_REF": said.roll,
        "V2_REF": said.v2,
        "V3_REF": said.v3,
        "BUNIT": "MJy/sr",
        "CRPIX1": image.shape[1] / 2,
        "CRPIX2": image.shape[0] / 2,
        "S_REGION": s_region(wcs),
    }
    primary = {
        "PROGRAM": "01234",
        "OBSERVTN": "001",
        "VISIT": "001",
        "VISITGRP": "02",
        "SEQ_ID": "1",
        "ACT_ID": "01",
        "EXPOSURE": f"{number:05d}",
        "DATE-OBS": "2026-03-01",
    }
    flags = np.zeros(image.shape, np.uint32) if dq is None else dq
    variables = {
        "sci": (("y", "x"), image.astype(np.float32)),
        "err": (("y", "x"), np.full(image.shape, 0.02, np.float32)),
        "dq": (("y", "x"), flags),
    }
    name = f"jw01234001001_02101_{number:05d}_nrcb1_cal.fits"
    known = {"primary": primary, "sci": sci, "wcs": wcs, "filename": name, "history": []}
    return xr.Dataset(variables, attrs=known | attrs)


def sky_of_stars(number=60, seed=0, reach=3.6):
    """Positions (RA, Dec) and fluxes of stars within ``reach`` arcsec of the field's centre."""
    rng = np.random.default_rng(seed)
    east, north = rng.uniform(-reach, reach, (2, number))
    ra = RA + east / 3600 / np.cos(np.radians(DEC))
    return ra, DEC + north / 3600, 10 ** rng.uniform(1.0, 2.5, number)


def picture(stars, where, *, shape=SHAPE, level=1.0, noise=0.02, seed=0):
    """The image (y, x) of ``stars`` at a pointing: Gaussians of 2.2 pixels FWHM, on a sky with noise."""
    image = np.random.default_rng(seed).normal(level, noise, shape)
    ra, dec, flux = stars
    u_, v_ = camera(where, shape).invert(ra, dec, with_bounding_box=False)
    sigma = 2.2 / 2.355
    offsets = np.arange(-8, 9)
    for x, y, total in zip(u_, v_, flux, strict=True):
        column, row = round(float(x)) + offsets, round(float(y)) + offsets
        keep_x = column[(column >= 0) & (column < shape[1])]
        keep_y = row[(row >= 0) & (row < shape[0])]
        spot = np.exp(-((keep_y[:, None] - y) ** 2 + (keep_x - x) ** 2) / (2 * sigma**2))
        image[np.ix_(keep_y, keep_x)] += total * spot / (2 * np.pi * sigma**2)
    return image


def offsets_mas(wcs, truth, shape=SHAPE):
    """The largest difference, in mas, between two WCS over the frame."""
    x, y = np.meshgrid(np.linspace(0, shape[1] - 1, 5), np.linspace(0, shape[0] - 1, 5))
    ra, dec = wcs(x, y)
    true_ra, true_dec = truth(x, y)
    east = (ra - true_ra) * np.cos(np.radians(DEC))
    return float(np.hypot(east, dec - true_dec).max() * 3.6e6)
