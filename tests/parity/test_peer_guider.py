"""Guide-star and dark exposures against jwst 3.0.0."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from both import references
from compare import planes
from peer import Peer, task
from stdatamodels.jwst.datamodels import GuiderRawModel

from jwpipe import simulate
from jwpipe.runner import run

pytestmark = pytest.mark.peer

TALL = 2304
SIZE, CORNER = 24, (5, 9)
SHAPES = {
    "FGS_ID-IMAGE": (2, 2, SIZE, SIZE),
    "FGS_ID-STACK": (2, 2, TALL, 12),
    "FGS_ACQ1": (3, 2, SIZE, SIZE),
    "FGS_ACQ2": (5, 2, SIZE, SIZE),
    "FGS_TRACK": (7, 2, SIZE, SIZE),
    "FGS_FINEGUIDE": (6, 8, 8, 8),
}
NAMES = {
    "FGS_ID-IMAGE": "jw00729011001_gs-id_1_image_uncal.fits",
    "FGS_ID-STACK": "jw00729011001_gs-id_1_stacked_uncal.fits",
    "FGS_ACQ1": "jw00729011001_gs-acq1_2022115163923_uncal.fits",
    "FGS_ACQ2": "jw00729011001_gs-acq2_2022115163930_uncal.fits",
    "FGS_TRACK": "jw00729011001_gs-track_2022115163940_uncal.fits",
    "FGS_FINEGUIDE": "jw00729011001_gs-fg_2022115163950_uncal.fits",
}
COMMON = {"TELESCOP": "JWST", "INSTRUME": "FGS", "DETECTOR": "GUIDER1", "DATE-OBS": "2022-04-25"}


def guide_star_file(kind: str, path: Path) -> None:
    """A raw exposure of random counts with all tables that a guide-star exposure may have."""
    draw = np.random.default_rng(len(kind))
    shape = SHAPES[kind]
    slope = draw.uniform(-5, 900, (shape[0], 1, *shape[2:]))
    counts = 1000 + slope * np.arange(1, shape[1] + 1)[:, None, None] + draw.normal(0, 8, shape)
    words = COMMON | {
        "DATAMODL": "GuiderRawModel",
        "EXP_TYPE": kind,
        "TIME-OBS": "16:39:23.000",
        "NINTS": shape[0],
        "NGROUPS": shape[1],
        "TGROUP": 0.3,
        "TFRAME": 0.3,
        "GDSTARID": "S2CT000123",
        "SUBARRAY": "SUB32CNTR",
        "SUBSTRT1": CORNER[1] if shape[2] == SIZE else 1,
        "SUBSTRT2": CORNER[0] if shape[2] == SIZE else 1,
        "SUBSIZE1": shape[3],
        "SUBSIZE2": shape[2],
    }
    hdus = fits.HDUList(
        [fits.PrimaryHDU(), fits.ImageHDU(np.rint(counts).astype(np.float32), name="SCI")]
    )
    hdus[0].header.update(words)
    for name, columns in TABLES.items():
        kinds = [(column, kind_of(values)) for column, values in columns.items()]
        table = np.array(list(zip(*columns.values(), strict=True)), kinds)
        hdus.append(fits.BinTableHDU(table, name=name))
        hdus[-1].header["EXTNAME"] = name
    hdus["Pointing"].header["RA_V1"] = 12.5
    hdus["FGS Centroid Packet"].header["GUIDESTA"] = "FINE_GUIDE"
    hdus.writeto(path)
    # Their files have a tree of metadata beside the keywords.
    with GuiderRawModel(str(path)) as model:
        model.save(str(path))


def kind_of(values: list[Any]) -> str:
    """The type of a column."""
    return {str: "S12", int: "i4", float: "f8"}[type(values[0])]


TABLES: dict[str, dict[str, list[Any]]] = {
    "Planned Reference Stars": {
        "guide_star_order": [1, 2],
        "reference_order": [0, 1],
        "reference_star_id": ["S2CT000123", "S2CT000124"],
        **{
            name: [1.25, 2.5]
            for name in ("ra", "dec", "id_x", "id_y", "fgs_mag", "fgs_mag_uncert", "count_rate", "count_rate_uncert")
        },
    },
    "Flight Reference Stars": {
        "reference_star_id": ["01", "02", "03"],
        "id_x": [1.0, 2.0, 3.0],
        "id_y": [4.0, 5.0, 6.0],
        "count_rate": [7e5, 8e4, 9e3],
    },
    "Pointing": {
        **{
            name: [0.5]
            for name in ("time", "jitter", "delta_ddc_ra", "delta_ddc_dec", "delta_aperture_pa", "delta_v1_ra",
                         "delta_v1_dec", "delta_v3_pa", "delta_j1_ra", "delta_j1_dec", "delta_j3_pa")
        },
        "HGA_motion": ["F"],
    },
    "FGS Centroid Packet": {
        "observatory_time": ["2022-04-25"],
        "centroid_time": ["2022-04-25"],
        **{
            name: [3.5]
            for name in ("guide_star_position_x", "guide_star_position_y", "guide_star_instrument_counts_per_sec",
                         "signal_to_noise_current_frame", "delta_signal", "delta_noise")
        },
        **{name: [2] for name in ("psf_width_x", "psf_width_y", "data_quality")},
        **{
            name: ["OK"]
            for name in ("bad_pixel_flag", "bad_centroid_dq_flag", "cosmic_ray_hit_flag",
                         "sw_subwindow_loc_change_flag", "guide_star_at_detector_subwindow_boundary_flag",
                         "subwindow_out_of_FOV_flag")
        },
    },
    "Track subarray table": {
        "observatory_time": ["2022-04-25"],
        "x_corner": [100.5],
        "y_corner": [200.5],
        "x_size": [32],
        "y_size": [32],
    },
}  # fmt: skip


def reference_files(folder: Path) -> dict[str, Path]:
    """Gain, read noise, mask and flat of 64 x 64 pixels, with pixels of no use in them."""
    draw = np.random.default_rng(3)
    y, x = np.mgrid[:64, :64]
    gain = 2 + 0.01 * x + 0.002 * y
    gain[20:23, 30:40], gain[25, 15:20] = 0, np.nan
    noise = 10 + draw.uniform(0, 3, (64, 64))
    flat, error = draw.normal(1, 0.05, (64, 64)), draw.uniform(0.001, 0.01, (64, 64))
    flat[10:12, 12:16], flat[14, 10:14], error[18, 12] = np.nan, 0, np.nan
    flags = np.zeros((64, 64), np.uint32)
    flags[8, 10:14], flags[9, 11] = 1, 2
    content = {
        "gain": {"SCI": gain},
        "readnoise": {"SCI": noise},
        "mask": {"DQ": flags * 3},
        "flat": {"SCI": flat, "ERR": error, "DQ": flags},
    }
    return {
        kind: reference_file(kind, arrays, folder / f"{kind}.fits")
        for kind, arrays in content.items()
    }


def reference_file(kind: str, arrays: dict[str, np.ndarray], path: Path) -> Path:
    """A reference file of the detector's corner."""
    rows, columns = next(iter(arrays.values())).shape
    hdus = fits.HDUList([fits.PrimaryHDU()])
    words = {"REFTYPE": kind.upper(), "SUBARRAY": "GENERIC", "SUBSTRT1": 1, "SUBSTRT2": 1, "SUBSIZE1": columns,
             "SUBSIZE2": rows, "AUTHOR": "test", "PEDIGREE": "DUMMY", "DESCRIP": kind, "HISTORY": "test",
             "USEAFTER": "2022-01-01T00:00:00", "FASTAXIS": 1, "SLOWAXIS": 2}  # fmt: skip
    hdus[0].header.update(COMMON | words)
    for name, array in arrays.items():
        hdus.append(
            fits.ImageHDU(array.astype(np.uint32 if name == "DQ" else np.float32), name=name)
        )
    if "DQ" in arrays:
        rows = [
            (0, 1, "DO_NOT_USE", "bad"),
            (1, 2, "NO_FLAT_FIELD" if kind == "flat" else "DEAD", "none"),
        ]
        kinds = [("BIT", "i4"), ("VALUE", "i4"), ("NAME", "S20"), ("DESCRIPTION", "S10")]
        hdus.append(fits.BinTableHDU(np.array(rows, kinds), name="DQ_DEF"))
    hdus.writeto(path)
    return path


@pytest.fixture(scope="module")
def dark(tmp_path_factory) -> tuple[Path, dict[str, Path]]:
    """A raw dark exposure and its references."""
    observation = simulate.observation(
        tmp_path_factory.mktemp("dark"),
        detectors=("NRCB1",),
        dithers=1,
        subarray="SUB160",
        size=48,
        ngroups=5,
        nints=2,
    )
    (source,) = observation.uncal
    fits.setval(source, "EXP_TYPE", value="NRC_DARK")
    return source, references(observation, source)


@pytest.fixture(scope="module")
def results(peer: Peer, dark, tmp_path_factory) -> tuple[Path, Path]:
    """Folders of our products and theirs of all modes; the stack of strips has a mask of its own."""
    root = tmp_path_factory.mktemp("guides")
    files = reference_files(root)
    tall = np.zeros((TALL, 12), np.uint32)
    tall[::7, 3] = 1
    stacked = {**files, "mask": reference_file("mask", {"DQ": tall}, root / "tall.fits")}
    ours, theirs = root / "ours", root / "theirs"
    jobs: list[tuple[str, Path, dict[str, Any], dict[str, Any]]] = [("dark", *dark, {})]
    for kind, name in NAMES.items():
        guide_star_file(kind, root / name)
        given: dict[str, Any] = stacked if kind == "FGS_ID-STACK" else files
        if kind == "FGS_ACQ2":
            given = {**files, "flat": "N/A"}
        steps = {"flat_field": {"inverse": True}} if kind == "FGS_TRACK" else {}
        jobs.append(("guider", root / name, given, steps))
    job = peer.start(
        "guider",
        [
            task(f"{name.title()}Pipeline", path, theirs, given, steps=steps)
            for name, path, given, steps in jobs
        ],
    )
    for name, path, given, steps in jobs:
        overrides = {kind: str(file) for kind, file in given.items()}
        (outcome,) = run(f"calwebb_{name}", path, ours, overrides=overrides, steps=steps)
        assert not outcome.error, outcome.error
    job.wait()
    return ours, theirs


@pytest.mark.parametrize("kind", SHAPES)
def test_guide_stars(results, kind):
    name = NAMES[kind].replace("_uncal", "_cal")
    ours, theirs = (folder / name for folder in results)
    mine, others = planes(ours), planes(theirs)
    assert list(mine) == ["SCI", "ERR", "DQ"]
    for key, values in mine.items():
        assert values.dtype == others[key].dtype
        np.testing.assert_allclose(values, others[key], rtol=3e-7, err_msg=key)
    with fits.open(ours) as hdus, fits.open(theirs) as reference:
        assert [each.name for each in hdus if each.name in map(str.upper, TABLES)] == [
            each.name for each in reference if each.name in map(str.upper, TABLES)
        ]
        for key in TABLES:
            assert hdus[key].header["EXTNAME"] == reference[key].header["EXTNAME"]
            assert hdus[key].data.dtype.names == reference[key].data.dtype.names
            for column in hdus[key].data.dtype.names:
                np.testing.assert_array_equal(hdus[key].data[column], reference[key].data[column])
        for key in ("DATAMODL", "EXP_TYPE", "GDSTARID", "S_GUICDS", "S_FLAT", "S_DQINIT"):
            assert hdus[0].header.get(key) == reference[0].header.get(key), key
        assert hdus["SCI"].header["BUNIT"] == reference["SCI"].header["BUNIT"] == "DN/s"
        assert hdus["Pointing"].header["RA_V1"] == reference["Pointing"].header["RA_V1"]
        assert hdus["FGS Centroid Packet"].header["GUIDESTA"] == "FINE_GUIDE"


def test_their_tools_open_ours(results):
    from stdatamodels.jwst import datamodels

    with datamodels.open(results[0] / NAMES["FGS_FINEGUIDE"].replace("_uncal", "_cal")) as model:
        assert type(model).__name__ == "GuiderCalModel"
        assert model.centroid_table["psf_width_x"][0] == 2
        assert model.meta.guide_star_state == "FINE_GUIDE"
        assert model.data.shape == (6, 8, 8)


def test_darks(results):
    """A dark exposure's ramp, up to the linearity correction."""
    (ours,) = results[0].glob("*nrcb1_dark.fits")
    (theirs,) = results[1].glob("*nrcb1_*.fits")
    mine, others = planes(ours), planes(theirs)
    for name in ("SCI", "PIXELDQ", "GROUPDQ"):
        np.testing.assert_allclose(mine[name], others[name], rtol=1e-6, atol=2e-3, err_msg=name)
    with fits.open(ours) as hdus, fits.open(theirs) as reference:
        done = [
            {
                key
                for key, value in file[0].header.items()
                if key[:2] == "S_" and value == "COMPLETE"
            }
            for file in (hdus, reference)
        ]
        assert done[0] == done[1]
        assert {"S_SATURA", "S_REFPIX", "S_LINEAR"} <= done[0]
        assert hdus[0].header["DATAMODL"] == reference[0].header["DATAMODL"]
