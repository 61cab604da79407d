"""Bad input: each error names the file, what was found, what was expected and what to do."""

import numpy as np
import pytest
from astropy.io import fits
from io_examples import rate, uncal

import jwpipe.io as jio
from jwpipe.exposure import ExposureError


def said(path, *words):
    with pytest.raises(ExposureError) as caught:
        jio.open(path)
    message = str(caught.value)
    assert str(path) in message
    for word in words:
        assert word in message
    return message


@pytest.fixture
def ramp(tmp_path):
    uncal(tmp_path / "a_uncal.fits")
    return tmp_path / "a_uncal.fits"


def test_no_file(tmp_path):
    said(tmp_path / "none_uncal.fits", "no such file", "check the name")


def test_no_file_of_a_pattern(tmp_path):
    said(tmp_path / "none*_uncal.fits", "no file matches")


def test_an_empty_file(tmp_path):
    (tmp_path / "a_uncal.fits").touch()
    said(tmp_path / "a_uncal.fits", "empty", "fetch it again")


@pytest.mark.parametrize(
    "content", [b"SIMPLE", b"<html>not found</html>", bytes(5000), b"\x89PNG" * 3000]
)
def test_not_fits(tmp_path, content):
    (tmp_path / "a_uncal.fits").write_bytes(content)
    said(tmp_path / "a_uncal.fits", "not a FITS file", "SIMPLE")


def test_a_folder(tmp_path):
    said(tmp_path, "a folder, expected a file")


def test_no_permission(ramp, monkeypatch):
    def forbidden(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(ramp), "open", forbidden)
    said(ramp, "no permission to read it")


@pytest.mark.parametrize("share", [0.1, 0.4, 0.7, 0.95])
def test_cut_short(ramp, share):
    content = ramp.read_bytes()
    ramp.write_bytes(content[: int(share * len(content))])
    said(ramp, "cut short", "bytes found", "fetch it again")


def test_cut_between_extensions_without_sci(ramp):
    with fits.open(ramp) as hdus:
        start = hdus.fileinfo(1)["hdrLoc"]
    ramp.write_bytes(ramp.read_bytes()[:start])
    said(ramp, "no SCI image", "PRIMARY")


def test_a_header_that_never_ends(ramp):
    ramp.write_bytes(ramp.read_bytes().replace(b"END" + b" " * 77, b" " * 80))
    said(ramp, "fetch it again")


def test_a_header_with_a_word_for_a_number(ramp):
    content = ramp.read_bytes()
    ramp.write_bytes(
        content.replace(b"NAXIS1  =                   16", b"NAXIS1  = 'sixteen'           ")
    )
    said(ramp, "does not describe its data")


def test_a_damaged_gzip_file(ramp, tmp_path):
    import gzip

    packed = tmp_path / "b_uncal.fits.gz"
    packed.write_bytes(gzip.compress(ramp.read_bytes())[:500])
    said(packed, "gzip file is damaged", "fetch it again")


def test_no_sci(tmp_path):
    path = tmp_path / "a_rate.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.zeros((4, 4)), name="ERR")]).writeto(path)
    said(path, "no SCI image", "found PRIMARY, ERR")


def test_several_sci(tmp_path):
    path = tmp_path / "a_cal.fits"
    rate(path)
    fits.append(path, np.zeros((4, 4), "f4"), fits.Header({"EXTNAME": "SCI", "EXTVER": 2}))
    said(path, "2 SCI extensions", "open_slits")


def test_sci_of_one_dimension(tmp_path):
    path = tmp_path / "a_cal.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.zeros(4), name="SCI")]).writeto(path)
    said(path, "1 dimensions", "expected 2, 3 or 4")


def test_a_rate_called_uncal(tmp_path):
    rate(tmp_path / "a_uncal.fits")
    said(tmp_path / "a_uncal.fits", "SCI of a uncal has 2 dimensions (20, 16), expected 4")


def test_flags_of_another_size(tmp_path):
    rate(tmp_path / "a_rate.fits")
    with fits.open(tmp_path / "a_rate.fits", "update") as hdus:
        hdus["DQ"].data = hdus["DQ"].data[:10]
    said(tmp_path / "a_rate.fits", "DQ is (10, 16), expected (20, 16)")


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"NGROUPS": 7}, ("NGROUPS is 7", "SCI has 4 groups")),
        ({"NINTS": 3}, ("NINTS is 3", "SCI has 2 integrations")),
        (
            {"NINTS": 5, "EXSEGTOT": 3, "INTEND": 9},
            ("INTEND - INTSTART + 1 is 9", "2 integrations"),
        ),
        ({"INSTRUME": "WFC3"}, ("INSTRUME is 'WFC3'", "expected NIRCAM, NIRISS")),
        ({"DETECTOR": "NRCX1"}, ("DETECTOR is 'NRCX1'", "NRCA1", "correct the keyword")),
        ({"DETECTOR": "MIRIMAGE"}, ("DETECTOR is 'MIRIMAGE'", "one of NIRCAM")),
        ({"EXP_TYPE": "NRC_HOLIDAY"}, ("EXP_TYPE is 'NRC_HOLIDAY'", "NRC_IMAGE")),
        ({"EXP_TYPE": "MIR_IMAGE"}, ("EXP_TYPE is 'MIR_IMAGE'", "one of NIRCAM")),
    ],
)
def test_keywords_that_cannot_be(tmp_path, keywords, words):
    uncal(tmp_path / "a_uncal.fits", **keywords)
    said(tmp_path / "a_uncal.fits", *words)


def test_missing_keywords_show_when_asked_for(tmp_path):
    from jwpipe.exposure import header

    uncal(tmp_path / "a_uncal.fits", EXP_TYPE=None, NGROUPS=None)
    exposure = jio.open(tmp_path / "a_uncal.fits")
    with pytest.raises(ExposureError, match=r"a_uncal\.fits: keyword EXP_TYPE is missing"):
        header(exposure)["EXP_TYPE"]


def test_scaled_pixels(tmp_path):
    path = tmp_path / "a_rate.fits"
    image = fits.ImageHDU(np.arange(16.0).reshape(4, 4), name="SCI")
    image.scale("int16", bscale=0.5)
    fits.HDUList([fits.PrimaryHDU(), image]).writeto(path)
    said(path, "[SCI]", "BSCALE=0.5")


def test_compressed_pixels(tmp_path):
    path = tmp_path / "a_rate.fits"
    rate(path)
    fits.append(path, np.zeros((4, 4), "f4"), fits.Header({"EXTNAME": "EXTRA"}))
    with fits.open(path) as hdus:
        packed = fits.CompImageHDU(np.zeros((40, 40), "f4"), name="PACKED")
        fits.HDUList([*hdus[:2], packed]).writeto(tmp_path / "b_rate.fits")
    said(tmp_path / "b_rate.fits", "[PACKED]", "funpack")


def test_a_table_with_columns_of_any_length(tmp_path):
    path = tmp_path / "a_rate.fits"
    rate(path)
    column = fits.Column("events", "PJ()", array=np.array([[1], [2, 3]], dtype=object))
    with fits.open(path) as hdus:
        table = fits.BinTableHDU.from_columns([column], name="EVENTS")
        fits.HDUList([*hdus, table]).writeto(tmp_path / "b_rate.fits")
    said(tmp_path / "b_rate.fits", "[EVENTS]", "column events", "fixed length")


def test_a_damaged_tree(tmp_path):
    path = tmp_path / "a_cal.fits"
    rate(path)
    content = np.frombuffer(b"#ASDF 1.0.0\n--- !<tag:stsci.edu:gwcs/wcs-1.0.0>\n{: [", "u1")
    with fits.open(path) as hdus:
        column = fits.Column("ASDF_METADATA", f"{content.size}B", array=content[None])
        hdus = fits.HDUList([*hdus, fits.BinTableHDU.from_columns([column], name="ASDF")])
        hdus.writeto(tmp_path / "b_cal.fits")
    said(tmp_path / "b_cal.fits", "ASDF extension cannot be read")


def test_a_file_cut_after_it_was_opened(ramp):
    exposure = jio.open(ramp)
    ramp.write_bytes(ramp.read_bytes()[:6000])
    with pytest.raises(ExposureError, match="has changed since it was opened; open it again"):
        exposure["sci"].compute(scheduler="sync")


def test_a_file_gone_after_it_was_opened(ramp):
    exposure = jio.open(ramp)
    ramp.unlink()
    with pytest.raises(ExposureError, match="every worker must see it"):
        exposure["sci"].compute(scheduler="sync")
