"""The tables of frames in the docstrings are those of the WCS that is made."""

from importlib import import_module

import nirspec_examples
import pytest
from wcs_modes import modes

import jwpipe.wcs
from jwpipe.stage2.assign_wcs import AssignWcsParams, tie_to_sky
from jwpipe.wcs.modes import FAMILIES

needs_references = pytest.mark.skipif(
    not nirspec_examples.REFERENCES.exists(), reason=f"{nirspec_examples.REFERENCES} is absent"
)


@pytest.mark.parametrize("name", sorted({family.name for family in FAMILIES}))
def test_every_family_is_in_the_table(name):
    assert f"\n``{name}`` " in jwpipe.wcs.__doc__


@needs_references
@pytest.mark.parametrize(
    ("mode", "module"),
    [
        ("nircam image", "imaging"),
        ("niriss wfss r", "grism"),
        ("nircam tsgrism", "dhs"),
        ("niriss soss", "soss"),
        ("miri lrs slit", "miri_lrs"),
        ("miri mrs long", "miri_mrs"),
        ("miri wfss", "miri_wfss"),
        ("nirspec bright object", "nirspec"),
        ("nirspec image", "nirspec_imaging"),
    ],
)
def test_frames_are_those_of_the_docstring(tmp_path, mode, module):
    (made,) = modes(tmp_path, mode)
    wcs = tie_to_sky(made.exposure(tmp_path), made.files(), AssignWcsParams()).attrs["wcs"]
    table = import_module(f"jwpipe.wcs.{module}").__doc__.split("===\n")[2]
    named = table.split("v2v3, ...")[0]
    frames = [
        frame for frame in wcs.available_frames if "v2v3, ..." not in table or "v2" not in frame
    ]
    for frame in frames:
        assert any(line.startswith((frame, "v2v3, ")) for line in (named + table).splitlines()), (
            frame
        )
