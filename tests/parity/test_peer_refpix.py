"""Reference pixels of near-infrared detectors against jwst 3.0.0: outputs, edges, subarrays, optimal kernels (SIRS)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import asdf
import numpy as np
import pytest
from peer import Peer

from jwpipe.exposure import Header
from jwpipe.stage1.refpix import RefpixParams, reference_levels, refpix, subtract_reference

pytestmark = pytest.mark.peer

# Instrument, detector, subarray, first column and row, columns and rows, fast and slow axis, outputs, parameters.
CASES: dict[str, tuple[Any, ...]] = {
    "corner": ("NIRISS", "NIS", "SUB256", 1793, 1793, 256, 256, -2, -1, 1, {}),
    "strip": ("NIRISS", "NIS", "SUBSTRIP96", 1, 1803, 2048, 96, -2, -1, 1, {}),
    "edgeless": ("NIRSPEC", "NRS1", "SUB512", 897, 913, 512, 32, 2, 1, 1, {}),
    "edgeless square": ("NIRSPEC", "NRS2", "SUB32", 400, 600, 32, 32, -2, -1, 1, {}),
    "edgeless, alike": ("NIRSPEC", "NRS2", "SUB512S", 897, 913, 512, 16, -2, -1, 1, {"odd_even_columns": False}),
    "both ends": ("NIRSPEC", "NRS1", "SUB2048", 1, 1056, 2048, 32, 2, 1, 1, {}),
    "one end": ("NIRSPEC", "NRS2", "SUB1024A", 1025, 1056, 1024, 32, -2, -1, 1, {}),
    "clipped": ("NIRSPEC", "NRS1", "ALLSLITS", 1, 897, 2048, 256, 2, 1, 1, {"siglimit": 2.0}),
    "four outputs": ("NIRCAM", "NRCALONG", "SUBGRISM64", 1, 1, 2048, 64, -1, 2, 4, {}),
    "one output": ("NIRCAM", "NRCALONG", "SUBGRISM64", 1, 1, 2048, 64, -1, 2, 1, {}),
    "four outputs, sides alone": ("NIRCAM", "NRCA3", "SUBGRISM128", 1, 900, 2048, 128, 1, -2, 4, {}),
    "no reference pixels": ("NIRCAM", "NRCB1", "SUB64P", 1000, 1000, 64, 64, 1, -2, 1, {}),
    "guider": ("FGS", "GUIDER1", "SUB128DIAG", 1, 1, 128, 128, 2, -1, 1, {}),
    "guider, three rows": ("FGS", "GUIDER2", "SUB32LL", 1000, 2, 32, 32, -2, 1, 1, {}),
    "optimal kernels": ("NIRSPEC", "NRS1", "FULL", 1, 1, 2048, 2048, 2, 1, 4, {
        "refpix_algorithm": "sirs", "sigreject": 3.0, "gaussmooth": 1.5, "halfwidth": 20}),
}  # fmt: skip

CODE = """
import json, sys
from pathlib import Path
import numpy as np
from stdatamodels.jwst import datamodels
from jwst.refpix import reference_pixels
folder = Path(sys.argv[1])
kernels = datamodels.SIRSKernelModel(folder / "sirskernel.asdf")
for number, case in enumerate(json.loads((folder / "cases.json").read_text())):
    name, detector, subarray, x, y, nx, ny, fast, slow, outputs, given = case
    given = {"odd_even_columns": True, "siglimit": 3.0, "refpix_algorithm": "median", "sigreject": 4.0,
             "gaussmooth": 1.0, "halfwidth": 30, **given}
    columns, limit = given.pop("odd_even_columns"), given.pop("siglimit")
    how = {**given, "sirs_kernel_model": kernels if given["refpix_algorithm"] == "sirs" else None}
    with np.load(folder / f"{number}.npz") as arrays:
        model = datamodels.RampModel(arrays["sci"])
        model.pixeldq = arrays["pixeldq"]
    model.groupdq = np.zeros(model.data.shape, np.uint8)
    model.meta.instrument.name, model.meta.instrument.detector = name, detector
    model.meta.exposure.noutputs, model.meta.exposure.zero_frame = outputs, False
    place = model.meta.subarray
    place.name, place.xstart, place.ystart, place.xsize, place.ysize = subarray, x, y, nx, ny
    place.fastaxis, place.slowaxis = fast, slow
    reference_pixels.correct_model(model, columns, True, 11, 1.0, True, how, limit)
    np.save(folder / f"{number}.npy", model.data)
"""


class Kernels:
    """The optimal kernels of one detector."""

    def __init__(self) -> None:
        frequency, output = np.arange(1025) / 1024, np.arange(4)[:, np.newaxis]
        left = (0.3 + 0.1 * output) * np.exp(-((frequency * 20) ** 2) + 3j * frequency)
        right = (0.4 - 0.1 * output) * np.exp(-((frequency * 30) ** 2) - 2j * frequency)
        self.content = {"nrs1": {"gamma": left, "zeta": right}}

    def tree(self) -> dict[str, Any]:
        return self.content

    def write(self, path: Path) -> None:
        meta = {"reftype": "sirskernel", "telescope": "JWST", "instrument": {"name": "NIRSPEC"}}
        asdf.AsdfFile({"meta": meta, **self.content}).write_to(path)


def arrays_of(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Counts and flags: noise with outliers and drifts, reference pixels, and some pixels that are bad."""
    x, y, nx, ny = CASES[name][3:7]
    rng = np.random.default_rng(len(name))
    sci = rng.normal(100, 8, (1, 1 if nx == ny == 2048 else 2, ny, nx)).astype(np.float32)
    sci += np.cumsum(rng.normal(0, 0.3, nx)).astype(np.float32)
    sci[:, :, ::7, ::5] += 60
    inside = np.zeros((2048, 2048), bool)
    inside[4:-4, 4:-4] = True
    part = inside[y - 1 : y - 1 + ny, x - 1 : x - 1 + nx]
    pixeldq = np.where(part, np.uint32(0), np.uint32(1 << 31))
    pixeldq[rng.random(pixeldq.shape) < 0.05] |= np.uint32(1)
    return sci, pixeldq


@pytest.fixture(scope="module")
def theirs(peer: Peer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """What jwst makes of each case."""
    folder = tmp_path_factory.mktemp("refpix")
    Kernels().write(folder / "sirskernel.asdf")
    for number, name in enumerate(CASES):
        sci, pixeldq = arrays_of(name)
        np.savez(folder / f"{number}.npz", sci=sci, pixeldq=pixeldq)
    (folder / "cases.json").write_text(json.dumps(list(CASES.values())))
    peer.execute("refpix", CODE, folder)
    return {name: np.load(folder / f"{number}.npy") for number, name in enumerate(CASES)}


@pytest.mark.parametrize("name", CASES)
def test_corrected(theirs: dict[str, np.ndarray], name: str):
    sci, pixeldq = arrays_of(name)
    np.testing.assert_allclose(corrected(name, sci, pixeldq), theirs[name], atol=5e-5)


def corrected(name: str, sci: np.ndarray, pixeldq: np.ndarray) -> np.ndarray:
    """What our step makes of a case."""
    instrument, detector, subarray, x, y, nx, ny, fast, slow, outputs, given = CASES[name]
    place = {"SUBSTRT1": x, "SUBSTRT2": y, "SUBSIZE1": nx, "SUBSIZE2": ny, "SUBARRAY": subarray}
    readout = {"FASTAXIS": fast, "SLOWAXIS": slow, "NOUTPUTS": outputs}
    header = Header({"primary": {**place, **readout, "INSTRUME": instrument, "DETECTOR": detector}})
    params = RefpixParams(**given)
    if refpix.applies(header, params):
        return sci
    assert refpix.prepare is not None
    (kernels,) = refpix.prepare({"sirskernel": Kernels()}, header, params)
    keywords = refpix.keywords(header, params)
    edges = {
        "bottom": (slice(0, 4), slice(None)),
        "top": (slice(-4, None), slice(None)),
        "left": (slice(None), slice(0, 4)),
        "right": (slice(None), slice(-4, None)),
    }
    sides = {
        side: {"sci": np.ascontiguousarray(sci[(..., *cut)]), "pixeldq": pixeldq[cut]}
        for side, cut in edges.items()
    }
    levels = reference_levels(sides, kernels, **keywords)
    return subtract_reference(sci, pixeldq, None, kernels, *levels, **keywords)[0]
