"""Raw exposure files: names, headers and tables as the archive has them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jwpipe.io.asdf_tree import write_tree
from jwpipe.simulate import fitsfile
from jwpipe.simulate.camera import Camera
from jwpipe.simulate.geometry import Optics, Pointing, attitude, pointing_at, to_sky
from jwpipe.simulate.irs2 import NORMAL, REFERENCE
from jwpipe.simulate.readout import Raw

PROGRAM, OBSERVATION, VISIT = "90210", "001", "001"
FIRST_MJD = 60400.0
_SECONDS = 86400.0
_GAP_BETWEEN_EXPOSURES = 60.0
_BARYCENTRE_DAYS = 69.2e-5
_TARGET = "JWPIPE-DEMO"


@dataclass(frozen=True)
class Dither:
    """One exposure's place in the pattern: its number (from 1) of how many, and its offset (arcsec)."""

    number: int
    count: int
    x: float
    y: float


@dataclass(frozen=True)
class Shot:
    """All that a header tells of an exposure: the camera, its optics, the dither, and the commanded attitude."""

    camera: Camera
    optics: Optics
    dither: Dither
    attitude: np.ndarray
    target: tuple[float, float]

    @property
    def name(self) -> str:
        """The file name without suffix."""
        detector = self.camera.detector.name.lower()
        return f"jw{PROGRAM}{OBSERVATION}{VISIT}_02101_{self.dither.number:05d}_{detector}"

    @property
    def pointing(self) -> Pointing:
        """The pointing at the subarray's reference point."""
        return pointing_at(self.attitude, *self.optics.reference_point(self.camera.region))

    @property
    def integration_seconds(self) -> float:
        """Seconds from one reset to the next."""
        timing = self.camera.timing
        return (timing.stride * timing.ngroups + 1) * timing.frame_time

    @property
    def start(self) -> float:
        """MJD at which the exposure starts; dithers follow each other."""
        every = self.integration_seconds * self.camera.timing.nints + _GAP_BETWEEN_EXPOSURES
        return FIRST_MJD + (self.dither.number - 1) * every / _SECONDS

    @property
    def end(self) -> float:
        """MJD at which it ends."""
        return self.start + self.integration_seconds * self.camera.timing.nints / _SECONDS


def write_uncal(folder: Path, shot: Shot, raw: Raw) -> Path:
    """Write the ``_uncal`` file of an exposure into ``folder``."""
    path = folder / f"{shot.name}_uncal.fits"
    primary, science = primary_keywords(shot), science_keywords(shot)
    tree = write_tree("Level1bModel", {"PRIMARY": primary, "SCI": science}, {}, [])
    content = np.frombuffer(tree, np.uint8)
    parts = [fitsfile.primary(primary), fitsfile.image("SCI", raw.sci, science)]
    if _keeps_zeroframe(shot):
        parts.append(fitsfile.image("ZEROFRAME", raw.zeroframe))
    if raw.reference_output.size:
        parts.append(fitsfile.image("REFOUT", raw.reference_output))
    parts += [
        fitsfile.table("INT_TIMES", integration_times(shot)),
        fitsfile.table("ASDF", np.array([(content,)], [("ASDF_METADATA", "u1", content.shape)])),
    ]
    return fitsfile.write(path, parts)


def _keeps_zeroframe(shot: Shot) -> bool:
    """Whether the first frame of each integration is kept, as NIRCam and NIRISS do."""
    return shot.camera.detector.instrument in ("NIRCAM", "NIRISS")


def integration_times(shot: Shot) -> np.ndarray:
    """The INT_TIMES table: start, middle and end of each integration, UTC and at the barycentre."""
    count = shot.camera.timing.nints
    start = shot.start + np.arange(count) * shot.integration_seconds / _SECONDS
    end = start + (shot.integration_seconds - shot.camera.timing.frame_time) / _SECONDS
    names = [
        f"int_{when}_{scale}"
        for scale in ("MJD_UTC", "BJD_TDB")
        for when in ("start", "mid", "end")
    ]
    rows = np.zeros(count, [("integration_number", "i4"), *((name, "f8") for name in names)])
    rows["integration_number"] = np.arange(count) + 1
    for name, value in zip(names[:3], (start, (start + end) / 2, end), strict=True):
        rows[name] = value
    for early, late in zip(names[:3], names[3:], strict=True):
        rows[late] = rows[early] + _BARYCENTRE_DAYS
    return rows


def _iso(mjd: float) -> str:
    from astropy.time import Time

    return str(Time(mjd, format="mjd", scale="utc").isot)


def primary_keywords(shot: Shot) -> dict[str, Any]:
    """The primary header."""
    start, end = _iso(shot.start), _iso(shot.end)
    return {
        "DATE": fitsfile.now(),
        "ORIGIN": "JWPIPE",
        "TIMESYS": "UTC",
        "TIMEUNIT": "s",
        "FILENAME": f"{shot.name}_uncal.fits",
        "SDP_VER": "simulated",
        "DATAMODL": "Level1bModel",
        "TELESCOP": "JWST",
        "TITLE": "Simulated exposures with known truth",
        "PI_NAME": "Nobody",
        "CATEGORY": "CAL",
        "DATE-OBS": start[:10],
        "TIME-OBS": start[11:],
        "DATE-BEG": start,
        "DATE-END": end,
        **_identity(shot),
        **_target(shot),
        **_configuration(shot),
        **_exposure(shot),
        **_timing(shot),
        **_subarray(shot),
        **_dither(shot),
        "VA_RA": shot.pointing.ra,
        "VA_DEC": shot.pointing.dec,
        "BARTDELT": 0.0,
        "HELIDELT": 0.0,
    }


def _identity(shot: Shot) -> dict[str, Any]:
    number = PROGRAM + OBSERVATION + VISIT
    return {
        "OBS_ID": f"V{number}P0000000002101",
        "VISIT_ID": number,
        "PROGRAM": PROGRAM,
        "OBSERVTN": OBSERVATION,
        "VISIT": VISIT,
        "VISITGRP": "02",
        "SEQ_ID": "1",
        "ACT_ID": "01",
        "EXPOSURE": f"{shot.dither.number:05d}",
        "ENGQLPTG": "CALCULATED_TRACK_TR_202111",
        "VISITYPE": "PRIME_TARGETED_FIXED",
        "VISITSTA": "SUCCESSFUL",
        "NEXPOSUR": shot.dither.count,
        "INTARGET": False,
        "TSOVISIT": False,
    }


def _target(shot: Shot) -> dict[str, Any]:
    ra, dec = shot.target
    return {
        "TARGPROP": _TARGET,
        "TARGNAME": _TARGET,
        "TARGTYPE": "FIXED",
        "TARG_RA": ra,
        "TARG_DEC": dec,
        "MU_RA": 0.0,
        "MU_DEC": 0.0,
        "PROP_RA": ra,
        "PROP_DEC": dec,
        "SRCTYAPT": "UNKNOWN",
    }


def _configuration(shot: Shot) -> dict[str, Any]:
    detector = shot.camera.detector
    words = {"INSTRUME": detector.instrument, "DETECTOR": detector.name}
    if detector.module:
        words |= {"MODULE": detector.module, "CHANNEL": detector.channel}
    return words | shot.optics.filter.wheels


def _exposure(shot: Shot) -> dict[str, Any]:
    timing = shot.camera.timing
    between = {"NRS_NORM": NORMAL, "NRS_REF": REFERENCE} if shot.camera.irs2 else {}
    return between | {
        "EXPCOUNT": shot.dither.number,
        "EXPRIPAR": "PRIME",
        "EXP_TYPE": shot.optics.filter.exp_type,
        "EXPSTART": shot.start,
        "EXPMID": (shot.start + shot.end) / 2,
        "EXPEND": shot.end,
        "READPATT": timing.pattern,
        "EXSEGNUM": 1,
        "EXSEGTOT": 1,
        "NOUTPUTS": shot.camera.outputs,
        "NINTS": timing.nints,
        "INTSTART": 1,
        "INTEND": timing.nints,
        "NGROUPS": timing.ngroups,
        "NFRAMES": timing.nframes,
        "FRMDIVSR": timing.nframes,
        "GROUPGAP": timing.groupgap,
        "DRPFRMS1": 0,
        "DRPFRMS3": 0,
        "NSAMPLES": 9 if timing.pattern.startswith("SLOW") else 1,
    }


def _timing(shot: Shot) -> dict[str, Any]:
    timing = shot.camera.timing
    effective = timing.group_time * (timing.ngroups - 1) or timing.frame_time
    return {
        "TSAMPLE": 10.0,
        "TFRAME": timing.frame_time,
        "TGROUP": timing.group_time,
        "EFFINTTM": effective,
        "EFFEXPTM": effective * timing.nints,
        "TMEASURE": effective * timing.nints,
        "DURATION": shot.integration_seconds * timing.nints,
        "NRSTSTRT": 1,
        "NRESETS": 1,
        "ZEROFRAM": _keeps_zeroframe(shot),
        "DATAPROB": False,
    }


def _subarray(shot: Shot) -> dict[str, Any]:
    region, detector = shot.camera.region, shot.camera.detector
    aperture = f"{detector.name}_{region.name}"
    return {
        "SUBARRAY": region.name,
        "SUBSTRT1": region.x0 + 1,
        "SUBSTRT2": region.y0 + 1,
        "SUBSIZE1": region.nx,
        "SUBSIZE2": region.ny,
        "FASTAXIS": detector.fast_axis,
        "SLOWAXIS": detector.slow_axis,
        "APERNAME": aperture,
        "PPS_APER": aperture,
    }


def _dither(shot: Shot) -> dict[str, Any]:
    return {
        "PATTTYPE": "INTRAMODULE",
        "PATT_NUM": shot.dither.number,
        "NUMDTHPT": shot.dither.count,
        "XOFFSET": shot.dither.x,
        "YOFFSET": shot.dither.y,
    }


def science_keywords(shot: Shot) -> dict[str, Any]:
    """The header of the SCI extension: times, pointing and a linear WCS."""
    start, end, pointing = shot.start, shot.end, shot.pointing
    bore = pointing_at(shot.attitude, 0.0, 0.0)
    y_angle = shot.optics.y_angle(shot.camera.region)
    return {
        "BUNIT": "DN",
        "MJD-BEG": start,
        "MJD-AVG": (start + end) / 2,
        "MJD-END": end,
        "TDB-BEG": start + _BARYCENTRE_DAYS,
        "TDB-MID": (start + end) / 2 + _BARYCENTRE_DAYS,
        "TDB-END": end + _BARYCENTRE_DAYS,
        "XPOSURE": _timing(shot)["EFFEXPTM"],
        "TELAPSE": _timing(shot)["DURATION"],
        "REFFRAME": "EME2000",
        "PA_APER": (pointing.roll + y_angle) % 360.0,
        "VA_SCALE": shot.camera.instrument.velocity_aberration,
        "RADESYS": "ICRS",
        "RA_V1": bore.ra,
        "DEC_V1": bore.dec,
        "PA_V3": bore.roll,
        **_linear_wcs(shot),
        "S_REGION": footprint(shot),
        "V2_REF": pointing.v2,
        "V3_REF": pointing.v3,
        "VPARITY": -1,
        "V3I_YANG": y_angle,
        "RA_REF": pointing.ra,
        "DEC_REF": pointing.dec,
        "ROLL_REF": pointing.roll,
        "VELOSYS": 0.0,
        "XREF_SCI": (shot.camera.region.nx + 1) / 2,
        "YREF_SCI": (shot.camera.region.ny + 1) / 2,
    }


def _sky_of(shot: Shot, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """RA and Dec of 0-based subarray pixels, by the commanded attitude."""
    region = shot.camera.region
    return to_sky(shot.attitude, *shot.optics.to_v2v3(x + region.x0, y + region.y0))


def _linear_wcs(shot: Shot) -> dict[str, Any]:
    """The tangent plane at the middle of the subarray."""
    region = shot.camera.region
    x, y = (region.nx - 1) / 2, (region.ny - 1) / 2
    ra, dec = _sky_of(shot, np.array([x, x + 1, x]), np.array([y, y, y + 1]))
    cosine = math.cos(math.radians(float(dec[0])))
    east, north = (ra[1:] - ra[0]) * cosine, dec[1:] - dec[0]
    scale = np.hypot(east, north)
    words = {
        "WCSAXES": 2,
        "CRPIX1": x + 1,
        "CRPIX2": y + 1,
        "CRVAL1": float(ra[0]),
        "CRVAL2": float(dec[0]),
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CUNIT1": "deg",
        "CUNIT2": "deg",
    }
    # the rows of PC times CDELT give east and north, hence one scale for each row
    words |= {"CDELT1": float(scale[0]), "CDELT2": float(scale[1])}
    words |= {"PC1_1": float(east[0] / scale[0]), "PC1_2": float(east[1] / scale[0])}
    return words | {"PC2_1": float(north[0] / scale[1]), "PC2_2": float(north[1] / scale[1])}


def footprint(shot: Shot) -> str:
    """The S_REGION polygon of the outer corners of the subarray."""
    region = shot.camera.region
    right, top = region.nx - 0.5, region.ny - 0.5
    x = np.array([-0.5, right, right, -0.5])
    y = np.array([-0.5, -0.5, top, top])
    corners = zip(*_sky_of(shot, x, y), strict=True)
    return "POLYGON ICRS  " + " ".join(f"{ra:.9f} {dec:.9f}" for ra, dec in corners)


def commanded_attitude(
    target: tuple[float, float], roll: float, place: tuple[float, float], dither: Dither
) -> np.ndarray:
    """The attitude that puts ``target`` (RA, Dec) at ``place`` (V2, V3) moved by the dither's offset.

    Offsets run along the detectors' x and y: x against V2 and y along V3. ``roll`` is the V3 angle there.
    """
    v2, v3 = place[0] - dither.x, place[1] + dither.y
    return attitude(Pointing(*target, roll, v2, v3))
