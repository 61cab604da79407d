import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from io_examples import DATA, real_data

from jwpipe.exposure import ExposureError
from jwpipe.io import association_of, read_association, write_association
from jwpipe.io.associations import _parsed

NAMES = [f"jw01234001001_02101_0000{n}_nrca1_cal.fits" for n in (1, 2, 3)]


@pytest.fixture
def folder(tmp_path):
    for name in NAMES:
        (tmp_path / name).touch()
    return tmp_path


def association(folder, members, **top):
    content = {
        "asn_id": "o007",
        "products": [{"name": "jw01234-o007_t001_nircam_f200w", "members": members}],
        **top,
    }
    path = folder / "level3_asn.json"
    path.write_text(json.dumps(content, indent=2))
    return path


def member(name, exptype="science", **more):
    return {"expname": name, "exptype": exptype, **more}


def said(path, *words):
    with pytest.raises(ExposureError) as caught:
        read_association(path)
    for word in (str(path), *words):
        assert word in str(caught.value)


def test_a_level_3_association(folder):
    (folder / "stars.ecsv").touch()
    members = [
        member(NAMES[0], group_id="7", tweakreg_catalog="stars.ecsv"),
        member(NAMES[1], "SCIENCE", exposerr="null"),
        member(NAMES[2], "background"),
    ]
    asn = read_association(association(folder, members, asn_type="image3", program="01234"))
    assert (asn.asn_id, asn.asn_type, asn.other) == ("o007", "image3", {"program": "01234"})
    (product,) = asn.products
    assert product.name == "jw01234-o007_t001_nircam_f200w"
    assert [m.path for m in product.science] == [folder / NAMES[0], folder / NAMES[1]]
    assert [m.expname for m in product.of_type("background")] == [NAMES[2]]
    assert product.members[0].tweakreg_catalog == folder / "stars.ecsv"
    assert product.members[0].group_id == "7"


def test_members_in_a_folder_below(folder):
    (folder / "stage2").mkdir()
    (folder / "stage2" / "a_cal.fits").touch()
    asn = read_association(association(folder, [member("stage2/../stage2/a_cal.fits")]))
    assert asn.members[0].path == folder / "stage2" / "a_cal.fits"


def test_a_product_without_a_name_is_named_after_its_first_member(folder):
    path = association(folder, [])
    path.write_text(json.dumps({"products": [{"members": [member(NAMES[0])]}]}))
    assert read_association(path).products[0].name == "jw01234001001_02101_00001_nrca1"


def test_all_missing_members_are_named(folder):
    path = association(
        folder,
        [member(NAMES[0]), member("b_cal.fits"), member("c_cal.fits", tweakreg_catalog="d.ecsv")],
    )
    said(path, "3 of 4 members are missing", "b_cal.fits", "c_cal.fits", "d.ecsv", "take them out")


@pytest.mark.parametrize("name", ["/etc/passwd", "../a_cal.fits", "x/../../a_cal.fits", ".."])
def test_paths_that_lead_out(folder, name):
    said(association(folder, [member(name)]), "product 1, member 1", "leads out")
    said(association(folder, [member(NAMES[0], tweakreg_catalog=name)]), "leads out")


def test_a_product_name_that_is_a_path(folder):
    path = association(folder, [])
    path.write_text(json.dumps({"products": [{"name": "../x", "members": [member(NAMES[0])]}]}))
    said(path, "is a path")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{\n "products": [\n  {"members": [}]\n]}', ("line 3", "not JSON")),
        ("", ("line 1", "not JSON")),
        ("[]", ("no association",)),
        ('{"products": {}}', ("no association",)),
        ('{"products": []}', ("no member of exptype 'science'",)),
        ('{"products": [{"name": "a"}]}', ("product 1", "no list 'members'")),
        ('{"products": [{"members": [{"expname": "a_cal.fits"}]}]}', ("member 1", "exptype None")),
        ('{"products": [{"members": [3]}]}', ("member 1", "expected two texts")),
        ('{"products": [{"members": [{"expname": "a", "exptype": "background"}]}]}', ("science",)),
    ],
)
def test_what_is_no_association(folder, content, words):
    path = folder / "a_asn.json"
    path.write_text(content)
    said(path, *words)


def test_bytes_that_are_no_text(folder):
    (folder / "a_asn.json").write_bytes(b"\xff\xfe\x00\x01")
    said(folder / "a_asn.json", "not text")


def test_no_file(folder):
    said(folder / "none_asn.json", "cannot be read")


@settings(deadline=None, max_examples=50)
@given(
    st.recursive(
        st.none() | st.text() | st.integers(), lambda t: st.lists(t) | st.dictionaries(st.text(), t)
    )
)
def test_a_comma_too_many_is_overlooked_and_texts_are_left_alone(tree):
    text = json.dumps(tree)
    assert _parsed(text, None) == tree
    if text.endswith(("]", "}")) and tree:
        assert _parsed(f"{text[:-1]}, \n{text[-1]}", None) == tree


@real_data
def test_the_flight_association_with_a_comma_too_many():
    path = DATA / "flight/nirspec_mos_prism_2565/manual_calwebb2_asn.json"
    said(
        path,
        "3 of 6 members are missing",
        "00002_nrs2_rate.fits",
        "00003_nrs2_rate.fits",
        "00004_nrs2_rate.fits",
    )


def test_a_list_becomes_a_level_3_association(folder):
    asn = association_of(
        [folder / n for n in NAMES], "jw01234-o001_t001_nircam_f200w", asn_id="o001"
    )
    path = write_association(asn, folder / "l3_asn.json")
    written = json.loads(path.read_text())
    assert written["asn_id"] == "o001"
    assert written["asn_rule"] == "DMS_Level3_Base"
    assert written["program"] == "01234"
    assert written["products"] == [
        {"name": "jw01234-o001_t001_nircam_f200w", "members": [member(n) for n in NAMES]}
    ]
    assert [m.path for m in read_association(path).members] == [m.path for m in asn.members]


def test_a_list_becomes_a_level_2_association(folder):
    asn = association_of([folder / n for n in NAMES], rule="DMSLevel2bBase")
    written = json.loads(write_association(asn, folder / "l2_asn.json").read_text())
    assert [p["name"] for p in written["products"]] == [n.removesuffix("_cal.fits") for n in NAMES]
    assert [p["members"] for p in written["products"]] == [[member(n)] for n in NAMES]


@pytest.mark.parametrize(
    ("files", "name", "words"),
    [
        ([], "x", "0 files"),
        ([NAMES[0], NAMES[0]], "x", "each once"),
        (NAMES, None, "name of its product"),
    ],
)
def test_lists_that_make_no_association(files, name, words):
    with pytest.raises(ExposureError, match=words):
        association_of(files, name)


def test_an_association_away_from_its_members(folder):
    (folder / "away").mkdir()
    with pytest.raises(ExposureError, match="beside its members"):
        write_association(association_of([folder / NAMES[0]], "x"), folder / "away" / "a_asn.json")
    with pytest.raises(ExposureError, match="cannot be written"):
        write_association(
            association_of([folder / "no" / NAMES[0]], "x"), folder / "no" / "a_asn.json"
        )
