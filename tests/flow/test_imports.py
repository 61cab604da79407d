"""Imports point one way, and the command line answers without loading the array stack."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_imports_point_one_way():
    code = "import sys; from importlinter.cli import lint_imports_command; lint_imports_command()"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


def test_help_loads_no_array_library():
    code = (
        "import sys; from jwpipe.cli import main; main(['--help'], standalone_mode=False); "
        "print([m for m in ('dask', 'xarray', 'astropy', 'numba', 'numpy') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"
