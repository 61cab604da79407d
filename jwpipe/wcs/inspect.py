"""Where a pixel looks, and where light falls, through the WCS of any mode.

Spectra need more than a pixel: which slit, slice, order or source its light is from. ``part_of`` takes that from a
``Choice``, and gives the ``Part`` of the WCS in which a pixel has one place on the sky and one wavelength. Pixels are
counted from 0, positions are in degrees (ICRS), wavelengths in micron.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from jwpipe.exposure import ExposureError, Header, header
from jwpipe.wcs import nirspec, soss

if TYPE_CHECKING:
    from gwcs import WCS

Box = tuple[tuple[float, float], tuple[float, float]]
World = tuple[np.ndarray, np.ndarray, np.ndarray | None]


@dataclass(frozen=True)
class Choice:
    """Of which slit (a name, or a slitlet's number), slice (0 to 29), order, source (its pixel) or stripe the light is.

    A stripe is asked for on the way back only: pixels tell theirs.
    """

    slit: str | None = None
    slice: int | None = None
    order: int | None = None
    source: tuple[float, float] | None = None
    stripe: int | None = None


@dataclass(frozen=True)
class Place:
    """A pixel (x, y, counted from 0), its position (deg, ICRS), and its wavelength (micron) where there is one."""

    x: float
    y: float
    ra: float
    dec: float
    wavelength: float | None = None
    part: str = ""


@dataclass(frozen=True, eq=False)
class Part:
    """What of a WCS goes from pixels to one sky: an image, a slit, a slice, or an order of a source.

    ``beside`` is what the WCS takes after the pixel, ``after`` what its inverse takes after the wavelength; ``label``
    says which part it is, empty where there is only one.
    """

    label: str
    wcs: WCS
    beside: tuple[float, ...] = ()
    after: tuple[float, ...] = ()
    file: str = ""

    @property
    def box(self) -> Box | None:
        """The bounding box, (x, y) each from and to."""
        box = self.wcs.bounding_box
        if box is None:
            return None
        x, y = (tuple(float(edge) for edge in box.intervals[axis]) for axis in (0, 1))
        return x, y  # type: ignore[return-value]

    @property
    def spectral(self) -> bool:
        """Whether pixels have a wavelength."""
        return len(self.wcs.output_frame.unit) > 2

    def world(self, x: np.ndarray, y: np.ndarray) -> World:
        """Right ascension and declination (deg) and wavelength (micron) of pixels; NaN where there are none."""
        with warnings.catch_warnings():
            # Pixels between slices are no surprise here: they have no coordinates.
            warnings.simplefilter("ignore", UserWarning)
            # Transforms of grisms take lists of pixels, not images of them.
            flat = [np.ravel(axis) for axis in (x, y)]
            found = self.wcs(*flat, *(np.full_like(flat[0], value) for value in self.beside))
        values = [np.broadcast_to(value, flat[0].shape).reshape(np.shape(x)) for value in found]
        ra, dec = (np.asarray(value, float) for value in values[:2])
        wavelength = np.asarray(values[2], float) * self._microns() if self.spectral else None
        return ra % 360, dec, wavelength

    def place(self, x: float, y: float) -> Place:
        """Where a pixel looks.

        Raises
        ------
        ExposureError
            Outside the bounding box, and where no light falls.
        """
        self._check_inside(x, y, f"pixel ({x:g}, {y:g})")
        ras, decs, waves = self.world(np.array([x], float), np.array([y], float))
        ra, dec = float(ras[0]), float(decs[0])
        wavelength = None if waves is None else float(waves[0])
        if not np.isfinite([ra, dec, wavelength or 0.0]).all():
            raise ExposureError(
                f"{self._where()}: pixel ({x:g}, {y:g}) has no coordinates: no light of the sky falls on it; "
                f"{self._hint()}"
            )
        return Place(x, y, ra, dec, wavelength, self.label)

    def pixel(self, ra: float, dec: float, wavelength: float | None = None) -> Place:
        """Where light falls.

        Raises
        ------
        ExposureError
            Without a wavelength for spectra or with one for images, for a WCS without a way back, and for light that
            falls outside the bounding box.
        """
        self._check_wavelength(wavelength)
        light = () if wavelength is None else (wavelength / self._microns(),)
        asked = f"({ra:g}, {dec:g})" + ("" if wavelength is None else f" at {wavelength:g} micron")
        try:
            found = self.wcs.invert(ra, dec, *light, *self.after, with_bounding_box=False)
        except NotImplementedError as error:
            raise ExposureError(
                f"{self._where()}: this WCS has no way back from the sky to a pixel; ask for pixels instead"
            ) from error
        x, y = (float(np.ravel(value)[0]) for value in found[:2])
        if not np.isfinite([x, y]).all():
            raise ExposureError(
                f"{self._where()}: light of {asked} falls on no pixel; {self._hint()}"
            )
        self._check_inside(x, y, f"light of {asked} falls on ({x:.3f}, {y:.3f})")
        return Place(x, y, ra, dec, wavelength, self.label)

    def _microns(self) -> float:
        from astropy import units

        return float(units.Unit(self.wcs.output_frame.unit[2]).to(units.micron))

    def _where(self) -> str:
        return f"{self.file}: {self.label}" if self.label else self.file

    def _hint(self) -> str:
        box = self.box
        if box is None:
            return "try a place within the spectra"
        (left, right), (low, high) = box
        return (
            f"expected x from {left:g} to {right:g} and y from {low:g} to {high:g}, counted from 0"
        )

    def _check_inside(self, x: float, y: float, what: str) -> None:
        box = self.box
        if box is None or all(
            low <= value <= high for value, (low, high) in zip((x, y), box, strict=True)
        ):
            return
        raise ExposureError(f"{self._where()}: {what}, outside the bounding box; {self._hint()}")

    def _check_wavelength(self, wavelength: float | None) -> None:
        if self.spectral and wavelength is None:
            raise ExposureError(
                f"{self._where()}: a spectrum needs RA, DEC and WAVELENGTH (micron); no wavelength was given"
            )
        if not self.spectral and wavelength is not None:
            raise ExposureError(
                f"{self._where()}: an image has no wavelengths; give RA and DEC alone"
            )


def described(place: Place) -> str:
    """Write a place, a quantity a line."""
    from astropy.coordinates import SkyCoord

    sky = SkyCoord(place.ra, place.dec, unit="deg")
    ra, dec = sky.to_string("hmsdms", precision=4).split()
    lines = [
        f"pixel       {place.x:.4f} {place.y:.4f}  (counted from 0)",
        f"RA          {place.ra:.9f} deg  {ra}",
        f"Dec         {place.dec:.9f} deg  {dec}",
    ]
    if place.part:
        lines.insert(0, place.part)
    if place.wavelength is not None:
        lines.append(f"wavelength  {place.wavelength:.9g} micron")
    return "\n".join(lines)


def wcs_of(exposure: xr.Dataset, *, internal: bool = False) -> WCS:
    """The WCS of an exposure; ``internal``: that of lamps, which does not reach the sky, too.

    Raises
    ------
    ExposureError
        Where it has none, or one that does not reach the sky.
    """
    keywords = header(exposure)
    wcs = exposure.attrs.get("wcs")
    if wcs is None:
        raise ExposureError(
            f"{keywords.filename}: no WCS in this {exposure.attrs.get('product') or 'exposure'}; expected a product "
            "after assign_wcs, such as cal or i2d: run image2 or spec2 on it"
        )
    if not internal and "pos.eq.ra" not in (wcs.output_frame.axis_physical_types or ()):
        raise ExposureError(
            f"{keywords.filename}: its WCS ends in the frame {wcs.output_frame.name}, expected the sky; "
            "light of internal lamps comes from nowhere on it"
        )
    return wcs


def part_of(
    exposure: xr.Dataset, choice: Choice, *, inverse: bool = False, internal: bool = False
) -> Part:
    """The part of an exposure's WCS that is chosen; ``inverse``: for the way back, which needs no source.

    ``internal``: of the light of lamps too, which ends at the slits.

    Raises
    ------
    ExposureError
        Where there is no WCS or no such part (with the nearest), a choice is needed, or one is given in vain.
    """
    keywords = header(exposure)
    wcs = wcs_of(exposure, internal=internal)
    kind, chosen = _kind(wcs, keywords)
    _refuse_others(choice, chosen, keywords)
    return kind(wcs, choice, keywords, inverse)


def parts_of(exposure: xr.Dataset, *, internal: bool = False) -> Iterator[Part]:
    """All parts of an exposure's WCS that need no source: the image, each slit, slice or order.

    ``internal``: of the light of lamps too, which ends at the slits.
    """
    keywords = header(exposure)
    wcs = wcs_of(exposure, internal=internal)
    kind, chosen = _kind(wcs, keywords)
    if "slit" in chosen:
        choices = [Choice(slit=str(name)) for name in nirspec.slit_names(wcs)]
    elif "slice" in chosen:
        choices = [Choice(slice=number) for number in _slices(wcs)]
    elif "source" in chosen:
        choices = []
    elif "order" in chosen:
        choices = [Choice(order=order) for order in _orders(wcs)]
    else:
        choices = [Choice()]
    for choice in choices:
        yield kind(wcs, choice, keywords, False)


Kind = Callable[["WCS", Choice, Header, bool], Part]


def _kind(wcs: WCS, header: Header) -> tuple[Kind, tuple[str, ...]]:
    """How a part is taken out of a WCS, and by which fields of a choice."""
    frames, pixel_alone = wcs.available_frames, wcs.forward_transform.n_inputs == 2
    if "slit_frame" in frames and not pixel_alone:
        by_slice = "slicer" in frames
        return (_slice_by_number, ("slice",)) if by_slice else (_slit, ("slit",))
    if "coordinates" in frames and "slicer" in frames:
        return _slice, ("slice",)
    if frames[0] == "grism_detector":
        wide = wcs.forward_transform.n_inputs == 5
        return _trace, ("order", *("source",) * wide, *("stripe",) * _striped(wcs))
    if header.get("EXP_TYPE") == "NIS_SOSS" and wcs.forward_transform.n_inputs == 3:
        return _order, ("order",)
    if not pixel_alone:
        raise ExposureError(
            f"{header.filename}: its WCS takes {', '.join(wcs.forward_transform.inputs)}, expected a pixel (x, y); "
            "give a product before the pixels were put into a cube"
        )
    return _whole, ()


def _refuse_others(choice: Choice, chosen: Sequence[str], header: Header) -> None:
    for name in ("slit", "slice", "order", "source", "stripe"):
        if getattr(choice, name) is not None and name not in chosen:
            takes = " and ".join(f"--{each}" for each in chosen) or "the pixel alone"
            raise ExposureError(
                f"{header.filename}: --{name} has no meaning for its WCS, which takes {takes}"
            )


def _whole(wcs: WCS, choice: Choice, header: Header, inverse: bool) -> Part:
    return Part("", wcs, file=header.filename)


def _slit(wcs: WCS, choice: Choice, header: Header, inverse: bool) -> Part:
    names = {str(name): name for name in nirspec.slit_names(wcs)}
    asked = None if choice.slit is None else choice.slit.upper()
    name = _one_of("slit", asked, list(names), header)
    return Part(f"slit {name}", nirspec.one_slit(wcs, names[name]), file=header.filename)


def _slice_by_number(wcs: WCS, choice: Choice, header: Header, inverse: bool) -> Part:
    number = _one_of("slice", choice.slice, nirspec.slit_names(wcs), header)
    return Part(f"slice {number}", nirspec.one_slit(wcs, number), file=header.filename)


def _slice(wcs: WCS, choice: Choice, header: Header, inverse: bool) -> Part:
    """Take a slice out, or the whole: that WCS finds the slice of a pixel by itself."""
    if choice.slice is None:
        return _whole(wcs, choice, header, inverse)
    number = _one_of("slice", choice.slice, _slices(wcs), header)
    return Part(f"slice {number}", nirspec.one_slit(wcs, number), file=header.filename)


def _order(wcs: WCS, choice: Choice, header: Header, inverse: bool) -> Part:
    order = _one_of("order", choice.order, soss.ORDERS, header)
    return Part(f"order {order}", soss.one_order(wcs, order), file=header.filename)


def _trace(wcs: WCS, choice: Choice, header: Header, inverse: bool) -> Part:
    """Take an order of a trace; where it must be told, that of a source, and on the way back of a stripe."""
    order = _one_of("order", choice.order, _orders(wcs), header)
    wide = wcs.forward_transform.n_inputs == 5
    if wide and choice.source is None and not inverse:
        raise ExposureError(
            f"{header.filename}: a pixel of slitless spectra has light of many sources; say of which with "
            "--source X0 Y0, its pixel in the direct image, counted from 0"
        )
    source = choice.source or ()
    of = " of the source at ({:g}, {:g})".format(*source) if source else ""
    after = [order]
    if inverse and _striped(wcs):
        stripes = sorted(map(int, wcs.pipeline[0].transform.selector))
        after.append(_one_of("stripe", choice.stripe, stripes, header))
        of = f" of stripe {after[-1]}"
    return Part(f"order {order}{of}", wcs, (*source, order), tuple(after), header.filename)


def _striped(wcs: WCS) -> bool:
    """Whether each stripe of the frame has a trace of its own, as with the DHS of NIRCam."""
    return hasattr(wcs.pipeline[0].transform, "label_mapper")


def _slices(wcs: WCS) -> list[int]:
    """The slices that light falls on."""
    if "slit_frame" in wcs.available_frames:
        return [int(name) for name in nirspec.slit_names(wcs)]
    return sorted(label - 1 for label in wcs.pipeline[1].transform.selector)


def _orders(wcs: WCS) -> list[int]:
    """The orders of a grism, or of SOSS."""
    transform = wcs.pipeline[0].transform
    if wcs.available_frames[0] == "grism_detector" and _striped(wcs):
        transform = next(iter(transform.selector.values()))
    leaves = transform.traverse_postorder() if transform.n_submodels > 1 else [transform]
    found = [leaf.orders for leaf in leaves if hasattr(leaf, "orders")]
    return [int(order) for order in found[0]] if found else list(soss.ORDERS)


def _one_of(what: str, asked: Any, known: Sequence[Any], header: Header) -> Any:
    """Take what was asked for, or the only one there is."""
    if asked in known:
        return asked
    listed = ", ".join(str(name) for name in known)
    if asked is None:
        if len(known) == 1:
            return known[0]
        raise ExposureError(f"{header.filename}: say which {what} with --{what}; it has {listed}")
    close = _nearest(asked, known)
    raise ExposureError(
        f"{header.filename}: no {what} {asked} in its WCS; the nearest is {close}, it has {listed}"
    )


def _nearest(asked: Any, known: Sequence[Any]) -> Any:
    """The closest in value of numbers, else in writing."""
    numbers = {int(name): name for name in known if str(name).lstrip("-").isdigit()}
    if numbers and str(asked).lstrip("-").isdigit():
        return numbers[min(numbers, key=lambda number: abs(number - int(asked)))]
    return get_close_matches(str(asked), [str(name) for name in known], 1, 0.0)[0]
