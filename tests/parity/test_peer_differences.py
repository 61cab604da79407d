"""Where jwpipe differs from jwst 3.0.0 on purpose, since jwst is wrong there: what either does, and the truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from both import Runs, level2_association, references
from compare import keywords, planes
from peer import Peer, task

from jwpipe.runner import run

pytestmark = pytest.mark.peer

IMAGE_STEPS = ("bkg_subtract", "assign_wcs", "flat_field", "photom", "resample")
SIZE = 256


def only(step: str) -> dict[str, dict[str, bool]]:
    """Parameters that leave out all steps but one."""
    return {name: {"skip": True} for name in IMAGE_STEPS if name != step}


def shifted_background(folder: Path, runs: Runs) -> Path:
    """An exposure of 10 DN/s, and a background of 3 DN/s on a subarray of 100 x 80 pixels inside it."""
    science, background = (f"{name}_rate.fits" for name in runs.names[:3:2])
    path = level2_association(
        runs.theirs, [(science, "science"), (background, "background")], folder
    )
    fill(folder / science, 10.0)
    with fits.open(folder / background) as hdus:
        for hdu in hdus:
            if hdu.name in ("SCI", "ERR", "DQ", "VAR_POISSON", "VAR_RNOISE"):
                hdu.data = np.full((80, 100), 3.0 if hdu.name == "SCI" else 0, hdu.data.dtype)
        words = hdus[0].header
        words.update(
            SUBSTRT1=words["SUBSTRT1"] + 60,
            SUBSTRT2=words["SUBSTRT2"] + 40,
            SUBSIZE1=100,
            SUBSIZE2=80,
        )
        hdus.writeto(folder / background, overwrite=True)
    return path


def void_background(folder: Path, runs: Runs) -> Path:
    """An exposure of 10 DN/s, a background of 4 DN/s, and another that is NaN in one pixel of all integrations."""
    science, *backgrounds = (f"{name}_rateints.fits" for name in runs.names[::2])
    members = [(science, "science"), *((name, "background") for name in backgrounds)]
    path = level2_association(runs.theirs, members, folder)
    fill(folder / science, 10.0)
    for name in backgrounds:
        fill(folder / name, 4.0)
    with fits.open(folder / backgrounds[0], mode="update") as hdus:
        hdus["SCI"].data[:, 50, 70] = np.nan
    return path


def fill(path: Path, value: float) -> None:
    """Set all pixels to one rate, none of them flagged."""
    with fits.open(path, mode="update") as hdus:
        hdus["SCI"].data[:] = value
        hdus["DQ"].data[:] = 0


def cut_area(area: Path, science: Path, path: Path) -> Path:
    """The pixel area map cut to the subarray of an exposure, with the keywords that say so."""
    names = ("SUBSTRT1", "SUBSTRT2", "SUBSIZE1", "SUBSIZE2")
    place = {name: fits.getval(science, name) for name in names}
    x, y = place["SUBSTRT1"] - 1, place["SUBSTRT2"] - 1
    with fits.open(area) as hdus:
        hdus["SCI"].data = hdus["SCI"].data[y : y + SIZE, x : x + SIZE].copy()
        hdus[0].header.update(place)
        hdus.writeto(path)
    return path


def dark_of_each_pixel(dark: Path, path: Path) -> Path:
    """The dark with its average in each pixel, 0.5 in the left half and 0.1 in the right one."""
    with fits.open(dark) as hdus:
        average = np.full((SIZE, SIZE), 0.5, np.float32)
        average[:, SIZE // 2 :] = 0.1
        hdus.append(fits.ImageHDU(average, name="AVDRKCUR"))
        hdus.writeto(path)
    return path


@pytest.fixture(scope="module")
def folders(peer: Peer, runs: Runs, tmp_path_factory) -> dict[str, Path]:
    """Products of both, ``ours`` and ``theirs``, of each difference."""
    found = {name: tmp_path_factory.mktemp(name) for name in ("shifted", "void", "area", "dark")}
    first, second = runs.observation.uncal[:2]
    files, others = (references(runs.observation, path) for path in (first, second))
    # The second detector's subarray does not begin at the corner of the frame.
    rate = runs.theirs / f"{runs.names[1]}_rate.fits"
    cut = {**others, "area": cut_area(others["area"], rate, found["area"] / "area.fits")}
    dark = {**files, "dark": dark_of_each_pixel(files["dark"], found["dark"] / "dark.fits")}
    work = {
        "shifted": (
            "image2",
            shifted_background(found["shifted"], runs),
            files,
            only("bkg_subtract"),
        ),
        "void": ("image2", void_background(found["void"], runs), files, only("bkg_subtract")),
        "area": ("image2", rate, cut, {"resample": {"skip": True}}),
        "dark": ("detector1", first, dark, {}),
    }
    tasks = [
        task(f"{pipeline.capitalize()}Pipeline", source, found[name] / "theirs", used, steps=steps)
        for name, (pipeline, source, used, steps) in work.items()
    ]
    job = peer.start("differences", tasks)
    for name, (pipeline, source, used, steps) in work.items():
        overrides = {kind: str(path) for kind, path in used.items()}
        for who, like_peer in (("ours", False), ("alike", True)):
            (outcome,) = run(
                pipeline,
                source,
                found[name] / who,
                overrides=overrides,
                steps=steps,
                like_peer=like_peer,
            )
            assert not outcome.error
    job.wait()
    return found


def both(folder: Path, suffix: str = "cal*") -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The planes of our product and of theirs."""
    ours, theirs = (next((folder / who).glob(f"*_{suffix}.fits")) for who in ("ours", "theirs"))
    return planes(ours), planes(theirs)


def alike(folder: Path, suffix: str = "cal*") -> dict[str, np.ndarray]:
    """The planes of our product where it shall be like theirs."""
    return planes(next((folder / "alike").glob(f"*_{suffix}.fits")))


@pytest.mark.parametrize("name", ["shifted", "void"])
def test_backgrounds_like_theirs_where_asked_for(folders, name):
    """Misplaced, and with a pixel that counts as zero."""
    theirs = both(folders[name])[1]["SCI"]
    assert np.array_equal(alike(folders[name])["SCI"], theirs)


def test_variance_like_theirs_where_asked_for(folders):
    """The dark of each pixel does not count."""
    ours, theirs = alike(folders["dark"], "rate"), both(folders["dark"], "rate")[1]
    whole = (ours["DQ"] == 0) & (theirs["VAR_POISSON"] > 0)
    assert np.allclose(ours["VAR_POISSON"][whole], theirs["VAR_POISSON"][whole], rtol=1e-5)


def test_background_subarray_lies_where_the_detector_has_it(folders):
    """The subarray begins at pixel (60, 40) of the exposure; the peer subtracts it at (0, 0)."""
    ours, theirs = (image["SCI"] for image in both(folders["shifted"]))
    truth, misplaced = np.full((2, SIZE, SIZE), 10.0)
    truth[40:120, 60:160] = 7.0
    misplaced[:80, :100] = 7.0
    assert np.array_equal(ours, truth)
    assert np.array_equal(theirs, misplaced)


def test_background_without_a_value_does_not_count(folders):
    """Where one background has no value the mean is the other's 4 DN/s; the peer takes 0 for the one and gets 2."""
    ours, theirs = (image["SCI"] for image in both(folders["void"]))
    assert np.all(ours == 6.0)
    assert np.all(theirs[:, 50, 70] == 8.0)
    assert np.sum(theirs != 6.0) == len(theirs)


def test_area_map_of_the_subarray(folders):
    """A map that is already cut is taken as it is; the peer cuts it once more, and nothing is left."""
    ours, theirs = both(folders["area"])
    assert np.array_equal(ours["AREA"], fits.getdata(folders["area"] / "area.fits", "SCI"))
    assert theirs.get("AREA", np.empty(0)).size == 0


def test_dark_of_each_pixel_counts(folders, runs: Runs):
    """The Poisson variance of a whole ramp is (rate + dark) / (gain t), t from first to last group; theirs has no dark.

    (The peer finds that the average dark's shape is not that of the exposure, which has none yet, and takes zero.)
    """
    files = references(runs.observation, runs.observation.uncal[0])
    (ours, theirs), gain = both(folders["dark"], "rate"), planes(files["gain"])["SCI"]
    words = keywords(runs.observation.uncal[0])
    seconds = words["TGROUP"] * (words["NGROUPS"] - 1) * words["NINTS"]
    whole = (ours["DQ"] == 0) & (theirs["VAR_POISSON"] > 0)
    dark = (ours["VAR_POISSON"] - theirs["VAR_POISSON"]) * gain * seconds
    true = fits.getdata(folders["dark"] / "dark.fits", "AVDRKCUR")
    assert whole.mean() > 0.3
    assert np.allclose(dark[whole], true[whole], rtol=1e-3)


def test_inverse_distortion_keywords_are_whole(runs: Runs):
    """The inverse SIP polynomials have linear terms, which the peer's files lack: pixels come back where they were."""
    errors = [round_trip(fits.getheader(path, "SCI")) for path in next(runs.pairs("cal"))]
    assert errors[0] < errors[1]


def round_trip(header: fits.Header) -> float:
    """The largest error, in pixels, of distortion and its inverse by the SIP keywords (Shupe et al. 2005)."""
    u = np.linspace(0, SIZE - 1, 9)[:, np.newaxis] - header["CRPIX1"] + 1
    v = np.linspace(0, SIZE - 1, 9) - header["CRPIX2"] + 1
    x, y = u + polynomial(header, "A", u, v), v + polynomial(header, "B", u, v)
    back = x + polynomial(header, "AP", x, y) - u, y + polynomial(header, "BP", x, y) - v
    return float(np.abs(back).max())


def polynomial(header: fits.Header, name: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The sum of ``name``_i_j u^i v^j."""
    order = header[f"{name}_ORDER"]
    powers = [(i, j) for i in range(order + 1) for j in range(order + 1 - i)]
    return sum(header.get(f"{name}_{i}_{j}", 0.0) * u**i * v**j for i, j in powers)
