"""The columns of a source catalogue: names in order, descriptions and number formats.

They are part of the product's format, which users' programs and the slitless modes read.
"""

from __future__ import annotations

KINDS = {
    "flux": ("Flux", "flux"),
    "abmag": ("AB magnitude", "AB magnitude"),
    "vegamag": ("Vega magnitude", "Vega magnitude"),
}

SOURCE = {
    "label": "Unique source identification label number",
    "xcentroid": "X pixel value of the source centroid (0 indexed)",
    "ycentroid": "Y pixel value of the source centroid (0 indexed)",
    "sky_centroid": "ICRS Sky coordinate of the source centroid",
    "aper_bkg_flux": "The local background value calculated as the sigma-clipped median value in "
    "the background annulus aperture",
    "aper_bkg_flux_err": "The standard error of the sigma-clipped median background value",
}

NATURE = {
    "is_extended": "Flag indicating whether the source is extended",
    "sharpness": "The DAOFind source sharpness statistic",
    "roundness": "The DAOFind source roundness statistic",
    "nn_label": "The label number of the nearest neighbor",
    "nn_dist": "The distance in pixels to the nearest neighbor",
    "isophotal_flux": "Isophotal flux",
    "isophotal_flux_err": "Isophotal flux error",
    "isophotal_abmag": "Isophotal AB magnitude",
    "isophotal_abmag_err": "Isophotal AB magnitude error",
    "isophotal_vegamag": "Isophotal Vega magnitude",
    "isophotal_vegamag_err": "Isophotal Vega magnitude error",
    "isophotal_area": "Isophotal area",
    **{
        f"{axis}_sigma": f"1-sigma standard deviation along the {axis} axis of the 2D Gaussian "
        "function that has the same second-order central moments as the source"
        for axis in ("semimajor", "semiminor")
    },
    "ellipticity": "1 minus the ratio of the 1-sigma lengths of the semimajor and semiminor axes",
    "orientation": "The angle (degrees) between the positive X axis and the major axis (increases "
    "counter-clockwise)",
    "sky_orientation": "The position angle (degrees) from North of the major axis",
    **{
        f"sky_bbox_{key}": f"Sky coordinate of the {corner} vertex of the minimal bounding box of "
        "the source"
        for key, corner in {
            "ll": "lower-left",
            "ul": "upper-left",
            "lr": "lower-right",
            "ur": "upper-right",
        }.items()
    },
}


def descriptions(energies: tuple[int, int, int]) -> dict[str, str]:
    """The description of each column, in order, for apertures of these encircled energies (percent)."""
    columns = dict(SOURCE)
    for kind in KINDS:
        columns |= _aperture_columns(kind, energies)
    small, middle, large = energies
    for low, high in ((small, middle), (middle, large), (small, large)):
        columns[f"CI_{high}_{low}"] = (
            f"Concentration index calculated as (aper{high}_flux / aper{low}_flux)"
        )
    return columns | NATURE


def _aperture_columns(kind: str, energies: tuple[int, int, int]) -> dict[str, str]:
    title, name = KINDS[kind]
    columns = {}
    for energy in energies:
        where = f"within the {energy}% encircled energy circular aperture"
        columns[f"aper{energy}_{kind}"] = f"{title} {where}"
        columns[f"aper{energy}_{kind}_err"] = f"{title} error {where}"
    basis = (
        f"based on the {energies[-1]}% encircled energy circular aperture; should be used only for "
        "unresolved sources."
    )
    columns[f"aper_total_{kind}"] = f"Total aperture-corrected {name} {basis}"
    columns[f"aper_total_{kind}_err"] = f"Total aperture-corrected {name} error {basis}"
    return columns


def number_format(name: str) -> str | None:
    """How the numbers of a column are written."""
    if name in ("xcentroid", "ycentroid") or name.startswith("CI_"):
        return ".4f"
    if "flux" in name:
        return ".6e"
    shapes = ("sharpness", "roundness", "nn_dist", "ellipticity", "orientation", "sky_orientation")
    if "mag" in name or name.endswith("_sigma") or name in shapes:
        return ".6f"
    return None
