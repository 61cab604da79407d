"""Commands that repair the pointing of products: by hand, or from what their headers say."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import xarray as xr

Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]


class Angle(click.ParamType):
    """An angle in degrees, or with its unit: 0.2arcsec."""

    name = "angle"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """Degrees."""
        from astropy.units import Quantity, deg

        try:
            return float(Quantity(value, deg if _plain(value) else None).to_value(deg))
        except (TypeError, ValueError):
            self.fail(
                f"{value!r} is no angle; expected degrees, or an angle with its unit: 0.2arcsec"
            )


def _plain(value: Any) -> bool:
    try:
        return isfinite(float(value))
    except ValueError:
        return False


def add_commands(main: click.Group, plain_errors: Wrap) -> None:
    """Add the commands to the command line."""
    for name, command in (
        ("adjust-wcs", adjust_wcs),
        ("set-velocity-aberration", set_velocity_aberration),
        ("set-s-region", set_s_region),
    ):
        decorated = files_and_folder(plain_errors(command))
        main.command(name, help=command.__doc__)(decorated)


def files_and_folder(command: Callable[..., Any]) -> Callable[..., Any]:
    """Files in, products of the same names in another folder out."""
    command = click.option(
        "--output", required=True, metavar="DIR", help="Folder for the new products."
    )(command)
    return click.argument("files", nargs=-1, required=True, metavar="FILE...")(command)


def rewrite(
    files: tuple[str, ...], output: str, change: Callable[[xr.Dataset], xr.Dataset]
) -> None:
    """Write each file, changed, to a folder."""
    from jwpipe.io import open as open_exposure
    from jwpipe.io import save

    for file in files:
        target = Path(output) / Path(file).name
        if target.resolve() == Path(file).resolve():
            raise click.UsageError(f"{file} would be overwritten: give another folder to --output")
        click.echo(save(change(open_exposure(file)), target))


@click.option("-r", "--ra-delta", type=Angle(), default=0.0, help="To add to right ascension.")
@click.option("-d", "--dec-delta", type=Angle(), default=0.0, help="To add to declination.")
@click.option("-o", "--roll-delta", type=Angle(), default=0.0, help="To add to the roll.")
@click.option(
    "-s",
    "--scale-factor",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    help="To multiply the scale by.",
)
def adjust_wcs(files: tuple[str, ...], output: str, **by: float) -> None:
    """Move, turn or scale the WCS of images by hand; the adjusted FILEs are written to another folder.

    Angles are degrees, or carry their unit (0.2arcsec).
    """
    from jwpipe.wcs.adjust import Adjustment, adjusted

    change = Adjustment(by["ra_delta"], by["dec_delta"], by["roll_delta"], by["scale_factor"])
    rewrite(files, output, lambda exposure: adjusted(exposure, change))


def set_velocity_aberration(files: tuple[str, ...], output: str) -> None:
    """Write VA_SCALE, VA_RA and VA_DEC of FILEs from the telescope's velocity and pointing in their headers.

    Velocities are JWST_DX, JWST_DY and JWST_DZ (km/s), the pointing is RA_REF and DEC_REF.
    """
    from jwpipe.wcs.repair import with_velocity_aberration

    rewrite(files, output, with_velocity_aberration)


def set_s_region(files: tuple[str, ...], output: str) -> None:
    """Write S_REGION, the outline on the sky, of FILEs from their WCS."""
    from jwpipe.wcs.repair import with_s_region

    rewrite(files, output, with_s_region)
