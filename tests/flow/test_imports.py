"""Imports point one way, and the command line answers without loading the array stack."""

import ast
import subprocess
import sys
from pathlib import Path

import jwpipe

ROOT = Path(jwpipe.__file__).parent
# Each layer may import from itself and from the layers before it.
LAYERS = [
    {"dq", "exposure", "numerics", "chunks"},
    {"io"},
    {"refs"},
    {"step"},
    {"wcs", "exptypes"},
    {"stage3"},
    {"stage1", "stage2"},
    {"chain"},
    {"graph", "params", "provenance"},
    {"pipeline"},
    {"pipelines"},
    {"mosaic", "inputs", "request"},
    {"api", "cluster", "plan"},
    {"runner", "report", "show"},
    {"simulate", "demo"},
    {"cli"},
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}


def imported(path):
    """Modules of jwpipe that a file imports when it runs (names used by type checkers alone are free)."""
    tree = ast.parse(path.read_text())
    skipped = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.unparse(branch.test)
        for node in ast.walk(branch)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and id(node) not in skipped:
            parts = (node.module or "").split(".")
            if parts[0] == "jwpipe" and len(parts) > 1:
                yield parts[1]


def test_every_module_has_its_place():
    names = {path.stem if path.is_file() else path.name for path in ROOT.iterdir()}
    assert names - set(RANK) - {"__init__", "__pycache__", "py"} == set()


def test_imports_point_one_way():
    wrong = []
    for path in ROOT.rglob("*.py"):
        home = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if home == "__init__":
            continue
        wrong += [
            f"{path.relative_to(ROOT)} imports jwpipe.{module}"
            for module in imported(path)
            if RANK.get(module, 0) > RANK[home]
        ]
    assert not wrong, "\n".join(wrong)


def test_help_loads_no_array_library():
    code = (
        "import sys; from jwpipe.cli import main; main(['--help'], standalone_mode=False); "
        "print([m for m in ('dask', 'xarray', 'astropy', 'numba', 'numpy') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"
