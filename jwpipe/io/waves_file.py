"""Waves of interference found in an exposure, as a reference file of emicorr (ASDF).

The tree is that of the JWST calibration pipeline's: ``frequencies``, each with ``frequency`` (Hz) and
``phase_amplitudes``, and ``subarray_cases``. Unlike what jwst 3.0.0 writes, the case has the names under which it is
looked up, so that the file serves for further exposures.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr

from jwpipe.io.fits_target import FitsTarget
from jwpipe.io.product import Pending, remove, temporary_name, unwritable, writing

KIND = np.dtype(np.float64)
WAVES_PRODUCT = "emi_ref_waves"


@dataclass(frozen=True)
class Waves:
    """What a file of waves says beside their values: frequencies (Hz), the bins of each, and the readout's case."""

    frequencies: tuple[float, ...]
    bins: tuple[int, ...]
    subarray: str
    row: int
    reset: int
    names: dict[str, Any]


@dataclass(frozen=True)
class PendingWaves(Pending):
    """Waves still to be found: a plain array (wave, bin) in a temporary file, then the tree."""

    waves: Waves
    shape: tuple[int, int]

    def finish(self) -> Path:
        """Write the file."""
        import asdf

        values = np.fromfile(self.temporary, KIND.newbyteorder(">")).reshape(self.shape)
        remove(self.temporary)
        try:
            asdf.AsdfFile(_tree(self.waves, values.astype(KIND))).write_to(self.temporary)
            self.temporary.replace(self.path)
        except OSError as error:
            self.discard()
            raise unwritable(self.path, error) from error
        return self.path


def prepare_waves(exposure: xr.Dataset, path: Path) -> PendingWaves:
    """Room for the waves (wave, bin) that are the ``sci`` of ``exposure``, to become the ASDF file ``path``."""
    values, path = exposure["sci"], path.with_suffix(".asdf")
    temporary = temporary_name(path)
    with writing(temporary, path), temporary.open("wb") as file:
        file.truncate(values.size * KIND.itemsize)
    target = FitsTarget(str(temporary.absolute()), 0, KIND, values.shape)
    arrays = (da.asarray(values.data),)
    shape = values.shape[0], values.shape[1]
    return PendingWaves(path, temporary, arrays, (target,), exposure.attrs["waves"], shape)


def _tree(waves: Waves, values: np.ndarray) -> dict[str, Any]:
    names = [repr(frequency) for frequency in waves.frequencies]
    found = zip(names, waves.frequencies, waves.bins, values, strict=True)
    case = {"rowclocks": waves.row, "frameclocks": waves.reset, "freqs": waves.names}
    return {
        "meta": {
            "reftype": "emicorr",
            "telescope": "JWST",
            "instrument": {"name": "MIRI"},
            "author": "jwpipe",
            "pedigree": "GROUND",
            "description": "waves of interference found in an exposure",
            "useafter": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"),
        },
        "frequencies": {
            name: {"frequency": frequency, "phase_amplitudes": row[:count]}
            for name, frequency, count, row in found
        },
        "subarray_cases": {waves.subarray: case},
    }
