"""References are read once for all exposures: building a WCS leaves their trees as they were."""

import io
from pathlib import Path

import asdf
import nirspec_examples
import numpy as np
import pytest
from astropy.modeling.models import Tabular2D
from wcs_modes import Mode, modes

from jwpipe.stage2.assign_wcs import AssignWcsParams, tie_to_sky
from jwpipe.wcs.direct import direct


def written(mode: Mode) -> dict[str, bytes]:
    """The trees of a mode's ASDF references, as files hold them."""
    found = {}
    for kind, path in mode.references.items():
        if path is not None and path.suffix == ".asdf":
            stream = io.BytesIO()
            asdf.AsdfFile(mode.files()[kind].tree()).write_to(stream)
            found[kind] = stream.getvalue()
    return found


@pytest.mark.skipif(
    not nirspec_examples.REFERENCES.exists(), reason=f"{nirspec_examples.REFERENCES} is absent"
)
@pytest.mark.parametrize(
    "name",
    [
        "nircam image", "niriss ami", "nircam wfss a r", "niriss wfss r", "miri wfss", "nircam tsgrism", "niriss soss",
        "miri lrs slit", "nirspec fixed slit prism", "nirspec image",
    ],
)  # fmt: skip
def test_trees_stay_as_they_are(tmp_path: Path, name: str) -> None:
    """Building twice changes no reference, and nothing of what comes out."""
    (mode,) = modes(tmp_path, name)
    before = written(mode)
    first, second = (
        tie_to_sky(mode.exposure(tmp_path), mode.files(), AssignWcsParams(**mode.params))
        for _ in range(2)
    )
    assert written(mode) == before
    assert first.attrs["sci"] == second.attrs["sci"]
    boxes = [repr(each.attrs["wcs"].bounding_box) for each in (first, second)]
    assert boxes[0] == boxes[1]


def test_a_tree_is_its_own_for_each_who_asks(tmp_path: Path) -> None:
    """What one puts into a tree, others do not find."""
    (mode,) = modes(tmp_path, "niriss soss")
    mode.files()["specwcs"].tree()["more"] = 1
    assert "more" not in mode.files()["specwcs"].tree()


def test_tables_are_looked_up_by_rows_and_columns() -> None:
    """The values are those of scipy, bit by bit: between nodes, at the ends, outside, and beside NaN."""
    rng = np.random.default_rng(4)
    values = rng.normal(size=(5, 7))
    values[2, 3] = np.nan
    points = np.array([0.0, 1, 3, 4, 8]), np.linspace(-1, 5, 7)
    table = Tabular2D(points, values, bounds_error=False, fill_value=np.nan)
    rows, columns = (
        np.concatenate([rng.uniform(low, high, 40), each, [np.nan]])
        for low, high, each in zip((-1, -2), (9, 6), points, strict=True)
    )
    (found,) = direct(table)(rows[:, None], columns[None, :])
    expected = table.evaluate(*np.broadcast_arrays(rows[:, None], columns[None, :]))
    np.testing.assert_array_equal(found, expected)
    assert np.isfinite(found).sum() > 500
