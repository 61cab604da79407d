"""Start the flags of an exposure from the mask of bad pixels of its detector."""

from typing import Any

import numpy as np
from pydantic import Field

from jwpipe.dq import Group
from jwpipe.exposure import ExposureError, Header
from jwpipe.refs import RefArray, References
from jwpipe.step import Params, Step

UNUSABLE = np.uint32(Group.DO_NOT_USE)


class DqInitParams(Params):
    """Parameters of the dq_init step."""

    user_supplied_dq: str | None = Field(
        None, description="FITS file with further flags (y, x) in standard bits, of the data's size"
    )


def start_flags(
    groupdq: np.ndarray, pixeldq: np.ndarray, mask: np.ndarray, user_dq: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Add the mask to the flags; its DO_NOT_USE pixels are unusable in every group.

    Parameters
    ----------
    groupdq, pixeldq
        Flags (i, g, y, x) and (y, x).
    mask, user_dq
        Flags (y, x) of the reference and of the user.
    """
    flags = mask if user_dq is None else mask | user_dq
    return groupdq | (flags & UNUSABLE).astype(np.uint8), pixeldq | flags


def masks(references: References, header: Header, params: DqInitParams) -> tuple[Any, ...]:
    """The mask of the reference and that of the user, ``None`` where there is none."""
    file = references["mask"]
    mask = None if file is None else file.array("dq")
    if params.user_supplied_dq is None or mask is None:
        return mask, None
    return mask, _user_flags(params.user_supplied_dq, mask.shape, header.filename)


def _user_flags(path: str, shape: tuple[int, ...], filename: str) -> RefArray:
    from astropy.io import fits

    try:
        flags = np.asarray(fits.getdata(path))
    except (OSError, IndexError, TypeError) as error:
        raise ExposureError(
            f"{filename}: dq_init: user_supplied_dq {path}: no image can be read ({error}); "
            "give a FITS file with one image of flags"
        ) from error
    if flags.shape != shape or flags.dtype.kind not in "iu":
        raise ExposureError(
            f"{filename}: dq_init: user_supplied_dq {path}: {flags.dtype} of shape {flags.shape} "
            f"found, integer flags of shape {shape} expected; give flags of the data's size"
        )
    return RefArray.from_numpy(flags.astype(np.uint32))


dq_init = Step(
    "dq_init",
    start_flags,
    reads=("groupdq", "pixeldq"),
    writes=("groupdq", "pixeldq"),
    refs=("mask.dq",),
    params=DqInitParams,
    prepare=masks,
    apart=True,
)
