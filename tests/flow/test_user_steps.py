"""A user's own steps: numpy functions on chunks, put in by name."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import jwpipe
from jwpipe.engine.pipeline import run_steps
from jwpipe.engine.preparing import Settings, prepare
from jwpipe.engine.user_steps import ChunkFunction, insertions
from jwpipe.exposure import ExposureError

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "own_step.py"
OWN = """
import numpy as np

from jwpipe import chunk_step

FACTOR = 2.0


def scaled(values):
    return values * np.float32(FACTOR)


def double(sci, *, factor: float = 1.0):
    return scaled(sci) * np.float32(factor)


@chunk_step(halo=1)
def smooth(sci):
    out = sci.copy()
    out[..., 1:-1, :] = (sci[..., :-2, :] + sci[..., 1:-1, :] + sci[..., 2:, :]) / 3
    return out


@chunk_step(planes={"template": "template.fits"})
def subtract(sci, template):
    return sci - template
"""


def double(sci, *, factor: float = 1.0):
    return sci * np.float32(2 * factor)


def rate(tiny, **keywords):
    return jwpipe.detector1(tiny.uncal[0], refs=tiny.references, **keywords)["sci"].values


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return path


def test_a_function_runs_between_two_steps_with_its_parameters(tiny):
    without = rate(tiny, steps={"jump": {"skip": True}})
    insert = {"after:jump": double}
    doubled = rate(tiny, steps={"jump": {"skip": True}}, insert=insert)
    # The weights of the fit change with the signal, therefore the medians.
    assert np.nanmedian(doubled / without) == pytest.approx(2, rel=1e-3)
    steps = {"jump": {"skip": True}, "double": {"factor": 3.0}}
    sixfold = rate(tiny, steps=steps, insert=insert)
    assert np.nanmedian(sixfold / without) == pytest.approx(6, rel=1e-3)
    steps["double"] = {"skip": True}
    np.testing.assert_array_equal(rate(tiny, steps=steps, insert=insert), without)


def test_it_is_part_of_the_history(tiny):
    exposure = jwpipe.detector1(
        tiny.uncal[0], refs=tiny.references, insert={"before:ramp_fit": double}
    )
    names = [record["step"] for record in exposure.attrs["history"]]
    assert names.index("double") == names.index("ramp_fit") - 1


def test_from_the_command_line_in_a_file(jw, tiny, own, tmp_path):
    words = ("run", "detector1", tiny.uncal[0], "--refs", tiny.references, "--skip", "jump")
    assert jw(*words, "-o", tmp_path / "plain").status == 0
    more = ("--insert", f"after:linearity={own}:double", "--set", "double.factor=2")
    assert jw(*words, *more, "-o", tmp_path / "doubled").status == 0
    plain, doubled = (
        jwpipe.open(next((tmp_path / folder).glob("*_rate.fits")))["sci"].values
        for folder in ("plain", "doubled")
    )
    # Four times the signal: the dark, subtracted afterwards, is small.
    assert np.nanmedian(doubled / plain) == pytest.approx(4, rel=1e-2)


def test_halo_and_templates(tiny, own, monkeypatch):
    shape = (64, 64)
    level = np.arange(64 * 64, dtype=np.float32).reshape(shape)
    keywords = fits.getheader(tiny.uncal[0])
    image = fits.ImageHDU(level, name="SCI")
    primary = fits.PrimaryHDU()
    for key in ("SUBSTRT1", "SUBSTRT2", "SUBSIZE1", "SUBSIZE2", "FASTAXIS", "SLOWAXIS"):
        primary.header[key] = keywords[key]
    path = own.parent / "template.fits"
    fits.HDUList([primary, image]).writeto(path)
    own.write_text(OWN.replace("template.fits", str(path)))
    found = {}
    for name in ("smooth", "subtract"):
        insert = insertions([f"after:linearity={own}:{name}"])
        found[name] = insert[0].step
    assert found["smooth"].halo(found["smooth"].params()) == 1
    linear = jwpipe.run_step("linearity", tiny.uncal[0], refs=tiny.references)
    settings = Settings((tiny.references,))
    monkeypatch.setattr("jwpipe.engine.graph.row_blocks", lambda ny, planes: (20, 20, 24))
    for name, expected in (
        ("subtract", linear["sci"].values - level),
        ("smooth", found["smooth"].kernel(linear["sci"].values)[0]),
    ):
        prepared = prepare("", (found[name],), linear, settings)
        np.testing.assert_array_equal(run_steps(prepared)["sci"].values, expected)


def test_what_comes_back_is_checked():
    def flat(sci):
        return sci[0]

    def written(sci):
        sci[:] = 0
        return sci

    sci = np.ones((1, 2, 3, 4), np.float32)
    with pytest.raises(ExposureError, match=r"flat: sci came back with shape \(2, 3, 4\)"):
        ChunkFunction("flat", flat, ("sci",), ("sci",))(sci)
    with pytest.raises(ValueError, match="read-only"):
        ChunkFunction("written", written, ("sci",), ("sci",))(sci)
    with pytest.raises(ExposureError, match="1 arrays returned, expected 2"):
        ChunkFunction("double", double, ("sci",), ("sci", "groupdq"))(sci)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("after:linearity", "expected after:STEP"),
        ("beside:jump=a.py:f", "before:STEP or after:STEP"),
        ("after:jump=nofile.py:f", "nofile.py"),
        ("after:jump=jwpipe.dq:nothing", "nothing"),
        ("after:jmp=math:floor", "did you mean 'jump'"),
    ],
)
def test_what_cannot_be_meant(jw, tiny, text, message):
    ran = jw("plan", "detector1", tiny.uncal[0], "--refs", tiny.references, "--insert", text)
    assert ran.status == 2
    assert message in ran.output


def test_a_function_travels_with_what_it_needs(own, tmp_path):
    """Its file is not there where it arrives."""
    (found,) = insertions([f"after:jump={own}:double"])
    payload = tmp_path / "kernel.pickle"
    payload.write_bytes(pickle.dumps(found.step))
    own.unlink()
    code = f"""
import pickle, numpy as np
step = pickle.loads(open({str(payload)!r}, "rb").read())
print(step.name, step.kernel(np.ones((1, 1), np.float32), factor=4)[0])
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "double [[8.]]"


def test_the_example_takes_stripes_off(tiny):
    (found,) = insertions([f"after:linearity={EXAMPLE}:destripe"])
    rng = np.random.default_rng(2)
    sky = rng.normal(100, 5, (1, 3, 32, 64)).astype(np.float32)
    stripes = rng.normal(0, 20, (1, 3, 32, 1)).astype(np.float32)
    sci = sky + stripes
    sci[..., 20:24] += 1000
    flags = np.zeros(sci.shape, np.uint8), np.zeros((32, 64), np.uint32)
    (cleaned,) = found.step.kernel(sci, *flags, limit=3.0)
    left = np.median(cleaned, axis=-1)
    assert left.std(axis=-1).max() < 1.5
    assert np.median(cleaned[..., 20:24]) > 1000
