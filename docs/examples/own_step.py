"""A step of one's own on chunks of pixels: stripes along the rows of each group are taken off before the fit.

    jwpipe run detector1 jw*_uncal.fits --refs refs --insert after:linearity=own_step.py:destripe

Each group's rows lose the median, over their unflagged pixels, of what they have more than the median row. The
function gets whole rows (``whole_rows``) and each integration by itself (``apart``). Its keyword-only arguments are
parameters: ``--set destripe.limit=5``. To subtract a template, name its file: ``chunk_step(planes={"wisp":
"wisp_nrcb4.fits"})`` gives the function an argument ``wisp``, cut to the chunk.
"""

import numpy as np

from jwpipe import chunk_step


@chunk_step(whole_rows=True, apart=True)
def destripe(sci, groupdq, pixeldq, *, limit: float = 3.0):
    """``sci`` (i, g, y, x) less the level of each row, which bright pixels do not bear on."""
    usable = (groupdq == 0) & (pixeldq == 0)
    sky = np.nanmedian(np.where(usable, sci, np.nan), axis=-1, keepdims=True)
    rest = np.where(usable, sci - sky, np.nan)
    scatter = 1.4826 * np.nanmedian(np.abs(rest), axis=-1, keepdims=True)
    faint = np.where(np.abs(rest) < limit * scatter, sci, np.nan)
    levels = np.nanmedian(faint, axis=-1, keepdims=True)
    return sci - np.nan_to_num(levels - np.nanmedian(levels, axis=-2, keepdims=True))


if __name__ == "__main__":
    import sys

    import jwpipe

    ramps, references, output = sys.argv[1:4]
    rate = jwpipe.detector1(ramps, refs=references, insert={"after:linearity": destripe})
    print(jwpipe.save(rate, output))
