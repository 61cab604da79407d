"""How instruments are used, and the knobs of the simulation: read patterns, filters, and the behaviour of detectors."""

from __future__ import annotations

from dataclasses import dataclass

READ_PATTERNS = {
    "RAPID": (1, 0), "BRIGHT1": (1, 1), "BRIGHT2": (2, 0), "SHALLOW2": (2, 3), "SHALLOW4": (4, 1),
    "MEDIUM2": (2, 8), "MEDIUM8": (8, 2), "DEEP2": (2, 18), "DEEP8": (8, 12),
    "NISRAPID": (1, 0), "NIS": (4, 0), "NRSRAPID": (1, 0), "NRS": (4, 0), "NRSIRS2RAPID": (1, 0), "NRSIRS2": (5, 0),
    "FGSRAPID": (1, 0), "FGS": (2, 0), "FASTR1": (1, 0), "FAST": (1, 0), "SLOWR1": (1, 0), "SLOW": (1, 0),
}  # fmt: skip
"""Frames averaged into a group and frames dropped between groups, by read pattern; the names tell the instrument."""


_PATTERNS = {"NIRISS": ("NIS",), "NIRSPEC": ("NRS",), "FGS": ("FGS",), "MIRI": ("FAST", "SLOW")}


def patterns(instrument: str) -> list[str]:
    """The names of the read patterns of an instrument."""
    if instrument in _PATTERNS:
        return [name for name in READ_PATTERNS if name.startswith(_PATTERNS[instrument])]
    others = tuple(prefix for each in _PATTERNS.values() for prefix in each)
    return [name for name in READ_PATTERNS if not name.startswith(others)]


@dataclass(frozen=True)
class Readout:
    """When a detector is read: ``nframes`` averaged into a group, ``groupgap`` dropped between groups."""

    pattern: str
    nframes: int
    groupgap: int
    ngroups: int
    nints: int
    frame_time: float

    @property
    def stride(self) -> int:
        """Frames from one group to the next."""
        return self.nframes + self.groupgap

    @property
    def frames(self) -> int:
        """Frames in an integration, the dropped ones counted up to the last one read."""
        return self.stride * (self.ngroups - 1) + self.nframes

    @property
    def group_time(self) -> float:
        """Seconds between groups."""
        return self.stride * self.frame_time


def readout(pattern: str, ngroups: int, nints: int, frame_time: float) -> Readout:
    """The timing of an exposure; raises ValueError for an unknown read pattern."""
    if pattern not in READ_PATTERNS:
        raise ValueError(
            f"unknown read pattern {pattern!r}; known ones: {', '.join(READ_PATTERNS)}"
        )
    nframes, groupgap = READ_PATTERNS[pattern]
    return Readout(pattern, nframes, groupgap, ngroups, nints, frame_time)


@dataclass(frozen=True)
class Filter:
    """A filter, or another way to look: what light it passes, the exposure type, the keywords of the wheels.

    The band is in micron, ``photmjsr`` the brightness of 1 DN/s (MJy/sr), ``ab_vega`` the AB less the Vega magnitude,
    ``offset`` the image's shift (pixels). Where ``wavelength`` is 0 light is dispersed, and the detector sees spectra
    (``spectra.py``).
    """

    name: str
    channel: str
    wavelength: float
    bandwidth: float
    photmjsr: float
    ab_vega: float
    offset: tuple[float, float]
    exp_type: str = "NRC_IMAGE"
    words: tuple[tuple[str, str], ...] | None = None

    @property
    def dispersed(self) -> bool:
        """Whether spectra fall on the detector."""
        return self.wavelength == 0.0

    @property
    def wheels(self) -> dict[str, str]:
        """The keywords that say what light passes."""
        if self.words is None:
            return {"FILTER": self.name, "PUPIL": "CLEAR"}
        return dict(self.words)


_FILTERS = (
    Filter("F090W", "SHORT", 0.901, 0.194, 3.30, 0.504, (0.11, -0.05)),
    Filter("F115W", "SHORT", 1.154, 0.225, 2.98, 0.783, (-0.06, 0.14)),
    Filter("F150W", "SHORT", 1.501, 0.318, 2.21, 1.243, (-0.11, 0.06)),
    Filter("F200W", "SHORT", 1.990, 0.461, 1.85, 1.705, (0.17, -0.09)),
    Filter("F277W", "LONG", 2.786, 0.672, 0.41, 2.315, (-0.01, -0.56)),
    Filter("F356W", "LONG", 3.563, 0.787, 0.39, 2.824, (-0.13, -0.49)),
    Filter("F444W", "LONG", 4.421, 1.024, 0.44, 3.242, (-0.09, -0.07)),
)
FILTERS = {item.name: item for item in _FILTERS}
"""NIRCam's filters."""


def _band(name: str, kind: str, light: tuple[float, float, float, float], **words: str) -> Filter:
    """A filter of another instrument: name, exposure type, the four numbers of its light, keywords."""
    return Filter(name, "", *light, (0.0, 0.0), kind, tuple(words.items()))


_SPECTRA = (0.0, 0.0, 1.0, 0.0)
_OTHER_FILTERS = {
    "NIRISS": (
        _band("F115W", "NIS_IMAGE", (1.150, 0.227, 0.65, 0.79), FILTER="CLEAR", PUPIL="F115W"),
        _band("F200W", "NIS_IMAGE", (1.993, 0.463, 0.60, 1.71), FILTER="CLEAR", PUPIL="F200W"),
        _band("F480M", "NIS_IMAGE", (4.813, 0.298, 0.95, 3.43), FILTER="F480M", PUPIL="CLEARP"),
        _band("NRM", "NIS_AMI", (4.813, 0.298, 6.30, 3.43), FILTER="F480M", PUPIL="NRM"),
        _band("SOSS", "NIS_SOSS", _SPECTRA, FILTER="CLEAR", PUPIL="GR700XD"),
    ),
    "MIRI": (
        _band("F560W", "MIR_IMAGE", (5.635, 1.00, 0.40, 3.90), FILTER="F560W"),
        _band("F770W", "MIR_IMAGE", (7.639, 1.95, 0.30, 4.50), FILTER="F770W"),
        _band("F1500W", "MIR_IMAGE", (15.06, 2.92, 0.35, 5.90), FILTER="F1500W"),
        _band("P750L", "MIR_LRS-SLITLESS", _SPECTRA, FILTER="P750L"),
        _band("SHORT", "MIR_MRS", _SPECTRA, BAND="SHORT", CHANNEL="12"),
    ),
    "NIRSPEC": (
        _band("F100LP", "NRS_FIXEDSLIT", _SPECTRA, FILTER="F100LP", GRATING="G140M", FXD_SLIT="S200A1"),
        _band("CLEAR", "NRS_BRIGHTOBJ", _SPECTRA, FILTER="CLEAR", GRATING="PRISM", FXD_SLIT="S1600A1"),
    ),
    "FGS": (_band("OPEN", "FGS_IMAGE", (2.500, 3.00, 0.35, 2.00)),),
}  # fmt: skip
BANDS = {"NIRCAM": FILTERS} | {
    instrument: {band.name: band for band in bands} for instrument, bands in _OTHER_FILTERS.items()
}
"""Filters by instrument and name."""


@dataclass(frozen=True)
class Instrument:
    """Knobs of the detectors' behaviour; DN are those of the raw data. ``INSTRUMENTS`` has a row for each instrument.

    ``read_noise`` is that of one frame; ``amplifier_drift`` and ``odd_even_drift`` are the offsets that each
    amplifier takes from group to group; ``one_over_f`` is the rms of the 1/f noise in one frame; ``reset_noise`` the
    scatter of the pedestal from integration to integration; ``reset_anomaly`` what the reset leaves in the first
    frame; ``cosmic_ray_rate`` counts hits on 1 cm^2 in 1 s, ``snowball_rate`` those that saturate a disc of pixels
    and ``shower_rate`` those that light a wide ellipse faintly. Of the references: few pixels are not known
    (``odd_reference_fraction``), and nonlinearity may come with its inverse, for frames averaged into groups
    (``inverse_linearity``).

    Of MIRI alone: the reset's anomaly comes down in ``reset_groups`` groups and is smaller after the first
    integration; ``first_frame`` and ``last_frame`` are DN on top of these frames; ``decay`` DN come down in the first
    groups after the first integration (rscd); ``dark_growth`` is the share by which the dark current grows after the
    first; interference is a sine of ``emi`` DN, ``emi_hz`` and ``emi_phase`` (of a whole turn) at the first sample.
    """

    bias: float = 12000.0
    read_noise: float = 3.6
    reset_noise: float = 6.0
    amplifier_drift: float = 3.0
    odd_even_drift: float = 1.0
    one_over_f: float = 1.0
    dark_current: float = 0.002
    reset_anomaly: float = 3.0
    full_well: float = 47000.0
    nonlinearity: float = 1.0
    flat_rms: float = 0.02
    hot_fraction: float = 1e-3
    dead_fraction: float = 5e-4
    odd_reference_fraction: float = 1e-4
    inverse_linearity: bool = False
    ipc: float = 0.0
    cosmic_ray_rate: float = 5.0
    snowball_rate: float = 0.004
    shower_rate: float = 0.0
    pointing_error_mas: float = 6.0
    roll_error_arcsec: float = 2.0
    velocity_aberration: float = 1.00005
    reset_groups: float = 2.0
    first_frame: float = 0.0
    last_frame: float = 0.0
    decay: float = 0.0
    dark_growth: float = 0.0
    emi: float = 0.0
    emi_hz: float = 10.039216
    emi_phase: float = 0.3


INSTRUMENTS = {
    "NIRCAM": Instrument(),
    "NIRISS": Instrument(bias=11000.0, read_noise=5.1, dark_current=0.012),
    "NIRSPEC": Instrument(bias=9000.0, read_noise=6.0, dark_current=0.008, full_well=50000.0, one_over_f=3.0,
                          amplifier_drift=5.0),
    "FGS": Instrument(bias=10500.0, read_noise=6.5, dark_current=0.010, one_over_f=2.0),
    "MIRI": Instrument(bias=9500.0, read_noise=5.5, reset_noise=9.0, amplifier_drift=0.6, odd_even_drift=0.4,
                       one_over_f=0.0, dark_current=0.08, reset_anomaly=18.0, full_well=46000.0, nonlinearity=1.2,
                       cosmic_ray_rate=4.0, snowball_rate=0.0, first_frame=-40.0, last_frame=-12.0, decay=10.0,
                       dark_growth=0.15),
}  # fmt: skip
"""How the detectors of each instrument behave, where nothing else is asked for."""
