"""The demo: a simulated field through all three stages, compared with the truth, as a table and a picture."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

from jwpipe import simulate
from jwpipe.simulate.picture import draw
from jwpipe.simulate.recovery import (
    RateRecovery,
    StarRecovery,
    alignment,
    rate_recovery,
    spread,
    star_recovery,
)

if TYPE_CHECKING:
    import xarray as xr

SIZES: Mapping[str, dict[str, Any]] = {
    "small": {"subarray": "SUB640", "readpatt": "SHALLOW4", "ngroups": 6},
    "full": {"subarray": "FULL", "readpatt": "BRIGHT2", "ngroups": 6},
}
"""What is simulated: a subarray that two detectors read side by side, or both in full."""

STEPS: Mapping[str, dict[str, Any]] = {"tweakreg": {"tolerance": 0.15, "separation": 0.3}}
"""The field is crowded: within the default tolerance of 0.7 arcsec stars match the rings of their neighbours."""

PICTURE = "jwpipe-demo.png"


@dataclass(frozen=True, eq=False)
class Recovery:
    """What the pipeline made of the observation: rates, stars, and how well exposures align (mas, n x 2)."""

    rates: RateRecovery
    stars: StarRecovery
    offsets: np.ndarray


def run_demo(
    folder: str | Path,
    *,
    size: str = "small",
    scheduler: str = "threads",
    workers: int | None = None,
    seed: int = 1,
) -> int:
    """Simulate, run the pipeline, compare and draw into ``folder``; returns the exit status, 0 if all went well.

    ``folder`` gets ``data/`` (raw files, references, truth), ``products/`` and the picture.
    """
    from jwpipe.report import Reporter
    from jwpipe.runner import run

    root, console = Path(folder), Console()
    spent: dict[str, float] = {}
    with _timed(spent, "simulation"), console.status("simulating 2 detectors × 4 dithers"):
        made = simulate.observation(root / "data", seed=seed, **SIZES[size])
    with _timed(spent, "pipeline"), Reporter() as reporter:
        outcomes = run(
            "detector1,image2,image3",
            list(made.uncal),
            root / "products",
            refs=[made.references],
            steps=STEPS,
            save=("detector1",),
            scheduler=scheduler,
            workers=workers,
            watcher=reporter,
        )
    failed = [outcome for outcome in outcomes if outcome.error]
    if failed:
        for outcome in failed:
            console.print(f"{outcome.name} failed: {outcome.error}", style="red", markup=False)
        return 1
    with _timed(spent, "comparison"), console.status("comparing with the truth"):
        products = Products.of(root / "products", made)
        recovery = recover(made, products)
        picture = _draw(root / PICTURE, made, products, recovery.stars)
    console.print(table(recovery))
    console.print("   ".join(f"{what} {seconds:.0f} s" for what, seconds in spent.items()))
    for path in (products.mosaic_file, products.catalog_file, picture):
        console.print(f"wrote {path}", markup=False, highlight=False, soft_wrap=True)
    return 0


@contextmanager
def _timed(spent: dict[str, float], what: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    spent[what] = time.perf_counter() - start


@dataclass(frozen=True, eq=False)
class Products:
    """The products of an observation, read back: by exposure name ``rates`` and aligned ``exposures``."""

    mosaic_file: Path
    catalog_file: Path
    rates: dict[str, xr.Dataset]
    exposures: dict[str, xr.Dataset]
    mosaic: xr.Dataset
    catalog: Any

    @classmethod
    def of(cls, folder: Path, made: simulate.Observation) -> Products:
        """Open the products of ``made`` in ``folder``."""
        from astropy.table import QTable

        from jwpipe.io import open as open_exposure

        mosaic, catalog = (next(folder.glob(f"*_t*_{end}")) for end in ("i2d.fits", "cat.ecsv"))
        rates, exposures = (
            {name: open_exposure(next(folder.glob(f"{name}_*{end}.fits"))) for name in made.names}
            for end in ("rate", "crf")
        )
        return cls(mosaic, catalog, rates, exposures, open_exposure(mosaic), QTable.read(catalog))


def recover(made: simulate.Observation, products: Products) -> Recovery:
    """Compare products with the truth."""
    return Recovery(
        rate_recovery(made, products.rates),
        star_recovery(made, products.mosaic, products.catalog),
        alignment(made, products.exposures),
    )


def _draw(path: Path, made: simulate.Observation, products: Products, stars: StarRecovery) -> Path:
    from jwpipe.io import open as open_exposure

    name = _best_view(made)
    raw = open_exposure(made.uncal[made.names.index(name)])
    return draw(
        path, made, products.mosaic, products.catalog, stars, raw, products.rates[name], name
    )


def _best_view(made: simulate.Observation) -> str:
    """The exposure that has the first source, the field's middle piece, most in its middle."""

    def off_middle(name: str) -> float:
        """How far the first source lies from the middle, in sizes of the frame."""
        truth = made.truth(name)
        ny, nx = truth.rate.shape
        return max(abs(truth.x[0] - nx / 2) / nx, abs(truth.y[0] - ny / 2) / ny)

    return min(made.names, key=off_middle)


def table(recovery: Recovery) -> Table:
    """The comparison for a reader: what, how well, and what would be perfect."""
    rows = Table("", "recovered", "perfect", title="jwpipe demo: products against the truth")
    for name, value, ideal in (*_rate_rows(recovery.rates), *_mosaic_rows(recovery)):
        rows.add_row(name, value, ideal)
    return rows


def _rate_rows(rates: RateRecovery) -> Iterator[tuple[str, str, str]]:
    pull = f"{rates.pull_median:+.2f} ± {rates.pull_width:.2f}"
    yield "count rates: (measured − true) / error", pull, "0 ± 1"
    yield "light of pixels above 3 DN/s", f"{rates.bright_bias:+.2%}", "0"
    yield f"cosmic rays: flagged of {rates.hits:,} struck pixels", f"{rates.found:.2%}", "100 %"
    yield "cosmic rays: flagged of unstruck pixels", f"{rates.false:.2%}", "0"


def _mosaic_rows(recovery: Recovery) -> Iterator[tuple[str, str, str]]:
    stars, offsets = recovery.stars, recovery.offsets
    apart = offsets - offsets.mean(axis=0)
    common = float(np.hypot(*stars.pointing))
    yield "alignment of exposures, rms", f"{apart.std():.1f} mas", "0"
    yield "pointing of the first exposure, left as it is", f"{common:.1f} mas", "0"
    yield "places of stars in the mosaic, scatter", f"{stars.scatter_mas:.1f} mas", "0"
    flux = f"{stars.bias:+.2%} ± {spread(stars.ratio):.2%}"
    yield f"fluxes of {stars.ratio.size} single stars", flux, "0"
    for faint in (22.0, 23.0, 24.0):
        count = int(np.sum(stars.expected < faint))
        name = f"completeness: {count} stars brighter than {faint:.0f} mag"
        yield name, f"{stars.completeness(faint):.1%}", "100 %"
    yield f"catalogue: at no source, of {stars.entries}", f"{stars.spurious}", "0"
