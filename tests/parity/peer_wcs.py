"""The WCS of jwst 3.0.0, on a grid of pixels of each slit, slice and order; executed by the peer's own interpreter.

usage: peer_wcs.py CASES.json, where the file holds a list of cases: ``name``, ``primary`` and ``sci`` keywords,
``shape``, ``references`` {type: path}, ``params`` of assign_wcs, ``folder`` of the MSA metadata file, ``output``
(.npz), and where wanted ``sources`` [[x0, y0], ...] of slitless spectra, ``catalog`` and ``cutouts`` {parameter: value}
of extract_2d, and ``measure`` (true): a full frame is evaluated too, and what that costs is noted.
"""

import json
import logging
import resource
import sys
import time
import warnings
from pathlib import Path

import numpy as np

POINTS = (41, 13)
"""Points of the grid along the longer and the shorter side."""


def model_of(case):
    """The exposure as a data model of the peer."""
    from astropy.io import fits
    from stdatamodels.jwst import datamodels

    hdus = fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.zeros(case["shape"], "f4"))])
    hdus[1].name = "SCI"
    for hdu, keywords in zip(hdus, (case["primary"], case["sci"]), strict=True):
        hdu.header.update(keywords)
    kind = case["primary"]["EXP_TYPE"]
    ifu = kind in ("NRS_IFU", "MIR_MRS")
    return (datamodels.IFUImageModel if ifu else datamodels.ImageModel)(hdus)


def solved(case):
    """The exposure with its WCS."""
    from jwst.assign_wcs.assign_wcs import load_wcs

    files = {kind: path or "N/A" for kind, path in case["references"].items()}
    for kind in ("filteroffset", "regions", "wavelengthrange", "specwcs", "distortion"):
        files.setdefault(kind, "N/A")
    if case["primary"].get("MSAMETFL"):
        files["msametafile"] = str(Path(case["folder"]) / case["primary"]["MSAMETFL"])
    params = {"nrs_slit_y_range": [-0.55, 0.55]} | case["params"]
    return load_wcs(model_of(case), files, **params)


def parts(model, case):
    """Each part of the WCS: a label, a function of pixels, its inverse, its bounding box; of an IFU every 7th slice."""
    from jwst.assign_wcs import nirspec

    wcs, kind = model.meta.wcs, case["primary"]["EXP_TYPE"]
    frames = wcs.available_frames
    if "slit_frame" in frames or "slicer" in frames:
        ids = range(0, 30, 1 if case.get("measure") else 7)
        if "gwa" in frames:
            ids = wcs.get_transform("gwa", "slit_frame").slit_ids
        for each in ids:
            one = nirspec.nrs_wcs_set_input(model, each)
            yield str(each), one, backward(one), box_of(one.bounding_box)
    elif frames[0] == "grism_detector":
        for source in case.get("sources") or [[]]:
            for order in orders_of(wcs):
                yield from slitless(wcs, source, order)
    elif kind == "NIS_SOSS":
        for order in (1, 2, 3):
            one = wcs.forward_transform.get_model(order)
            yield f"order {order}", one, None, None
    else:
        yield "", wcs, backward(wcs), wcs.bounding_box and box_of(wcs.bounding_box)


def backward(wcs):
    """The way back, wherever it leads."""
    return lambda *world: wcs.invert(*world, with_bounding_box=False)


def orders_of(wcs):
    """The orders of a grism."""
    first = wcs.pipeline[0].transform
    leaves = first.traverse_postorder() if first.n_submodels > 1 else [first]
    return next([int(order) for order in leaf.orders] for leaf in leaves if hasattr(leaf, "orders"))


def slitless(wcs, source, order):
    """An order of a source."""

    def forward(x, y):
        # NIRCam's transforms take one source for all pixels, those of others one for each.
        values = [np.full(x.size, float(value)) for value in (*source, order)]
        try:
            found = wcs(x.ravel(), y.ravel(), *values)
        except ValueError:
            found = wcs(x.ravel(), y.ravel(), *(float(value) for value in (*source, order)))
        return [np.broadcast_to(value, x.size).reshape(x.shape) for value in found[:3]]

    def back(ra, dec, wavelength):
        flat = [value.ravel() for value in (ra, dec, wavelength)]
        found = wcs.invert(*flat, np.full(ra.size, float(order)))[:2]
        return [np.broadcast_to(value, ra.size).reshape(ra.shape) for value in found]

    yield f"order {order} of {source}", forward, back, None


def box_of(box):
    """A bounding box as numbers, x first."""
    box = box.bounding_box(order="F") if hasattr(box, "bounding_box") else box
    return [[float(edge) for edge in side] for side in box]


def grid(box, shape):
    """Whole pixels over a bounding box, or over the frame."""
    sides = box or [[-0.5, shape[1] - 0.5], [-0.5, shape[0] - 0.5]]
    lengths = [high - low for low, high in sides]
    counts = POINTS if lengths[0] >= lengths[1] else POINTS[::-1]
    axes = [
        np.unique(np.round(np.linspace(max(low + 0.5, 0), min(high - 0.5, size - 1), count)))
        for (low, high), count, size in zip(sides, counts, shape[::-1], strict=True)
    ]
    return np.meshgrid(*axes)


def evaluated(model, case):
    """Bounding boxes, coordinates and the way back of all parts, as arrays to be kept."""
    found, labels = {}, []
    for n, (label, forward, back, box) in enumerate(parts(model, case)):
        labels.append(label)
        x, y = grid(box, case["shape"])
        with np.errstate(all="ignore"):
            world = np.array(forward(x, y), float)
        found |= {f"x{n}": x, f"y{n}": y, f"world{n}": world}
        if box is not None:
            found[f"box{n}"] = np.array(box)
        if back is not None:
            found[f"back{n}"] = returned(back, world, x.shape)
    if case["primary"]["EXP_TYPE"] == "NRS_IFU":
        found["regions"] = np.asarray(model.regions)
    return found | {"labels": np.array(labels)}


def returned(back, world, shape):
    """The pixels to which the coordinates that there are lead back; NaN elsewhere, and where there is no way."""
    pixels = np.full((2, *shape), np.nan)
    seen = np.isfinite(world).all(axis=0)
    if seen.any():
        try:
            with np.errstate(all="ignore"):
                pixels[:, seen] = back(*(value[seen] for value in world))[:2]
        except (NotImplementedError, ValueError):
            pass
    return pixels


def slits_of(model):
    """What is said of each slit."""
    if "slit_frame" not in model.meta.wcs.available_frames:
        return []
    slits = model.meta.wcs.get_transform("gwa", "slit_frame").slits
    return [list(slit) if hasattr(slit, "_fields") else slit for slit in slits]


def cutouts(model, case):
    """The cut-outs of extract_2d: name, source, order, corner from 1, size, and the source's pixel."""
    from jwst.extract_2d.extract_2d import extract2d

    for name in ("err", "dq", "var_poisson", "var_rnoise"):
        setattr(model, name, np.zeros_like(model.data, dtype="u4" if name == "dq" else "f4"))
    if case.get("catalog"):
        model.meta.source_catalog = case["catalog"]
    given = dict(case["cutouts"])
    files = {"wavelengthrange": case["references"].get("wavelengthrange")}
    result = extract2d(model, reference_files=files, **given)
    slits = result.slits if hasattr(result, "slits") else [result]
    return [
        [
            str(slit.name),
            slit.source_id,
            slit.meta.wcsinfo.spectral_order,
            [slit.xstart, slit.ystart, slit.xsize, slit.ysize],
            [slit.source_xpos, slit.source_ypos],
        ]
        for slit in slits
    ]


def whole_frame(model, case):
    """Evaluate every pixel of the frame, as the steps of the peer do."""
    from gwcs.wcstools import grid_from_bounding_box

    for _, forward, _, box in parts(model, case):
        shape = case["shape"]
        sides = box or ((-0.5, shape[1] - 0.5), (-0.5, shape[0] - 0.5))
        with np.errstate(all="ignore"):
            forward(*grid_from_bounding_box(tuple(tuple(side) for side in sides)))


def run(case):
    """Solve a case and keep what was found; what it cost."""
    began = time.process_time()
    model = solved(case)
    cost = {"name": case["name"], "build_s": time.process_time() - began}
    if case.get("measure"):
        Path("/proc/self/clear_refs").write_text("5")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        began = time.process_time()
        whole_frame(model, case)
        cost["frame_s"] = time.process_time() - began
        cost["peak_mib"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, before)
        return cost
    found = evaluated(model, case)
    info = model.meta.wcsinfo
    said = {"s_region": info.s_region, "slits": slits_of(model)}
    if "cutouts" in case:
        said["cutouts"] = cutouts(model, case)
    frames = model.meta.wcs.available_frames
    units = [str(unit) for unit in model.meta.wcs.output_frame.unit]
    text = json.dumps(said | {"frames": frames, "units": units}, default=float)
    np.savez(case["output"], **found, said=np.array(text))
    return cost


def main():
    """Run the cases of the file named on the command line."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    for case in json.loads(Path(sys.argv[1]).read_text()):
        print(json.dumps(run(case)), flush=True)


if __name__ == "__main__":
    main()
