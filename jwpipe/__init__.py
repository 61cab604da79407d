"""jwpipe: the JWST calibration pipeline as lazy, distributed array computing.

``open`` gives a lazy exposure; ``detector1``, ``image2`` and ``image3`` take and return lazy exposures; ``save``
writes them. Names are imported when first used, so that ``import jwpipe`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

_HOMES = {
    "open": "jwpipe.io",
    "open_slits": "jwpipe.io.slits",
    "save_slits": "jwpipe.io.slits",
    "save": "jwpipe.api",
    "detector1": "jwpipe.api",
    "dark": "jwpipe.api",
    "guider": "jwpipe.api",
    "image2": "jwpipe.api",
    "image3": "jwpipe.api",
    "source_catalog": "jwpipe.api",
    "run_step": "jwpipe.api",
    "run": "jwpipe.runner",
    "show": "jwpipe.quicklook",
    "chunk_step": "jwpipe.engine.user_steps",
    "Step": "jwpipe.step",
    "Params": "jwpipe.step",
    "ExposureError": "jwpipe.exposure",
}

__all__ = sorted(["__version__", *_HOMES])

if TYPE_CHECKING:
    from jwpipe.api import (
        dark,
        detector1,
        guider,
        image2,
        image3,
        run_step,
        save,
        source_catalog,
    )
    from jwpipe.engine.user_steps import chunk_step
    from jwpipe.exposure import ExposureError
    from jwpipe.io import open
    from jwpipe.io.slits import open_slits, save_slits
    from jwpipe.quicklook import show
    from jwpipe.runner import run
    from jwpipe.step import Params, Step


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'jwpipe' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
