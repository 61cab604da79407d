"""Views of arrays as kernels take them."""

import numpy as np


def read_only(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """C-contiguous read-only views, so that a kernel compiles once whatever the arrays allow, and cannot write."""
    views = tuple(np.ascontiguousarray(array).view() for array in arrays)
    for view in views:
        view.flags.writeable = False
    return views
