"""Pascal VOC data of Windows tools and of flat folders: encodings of XML, and images that lie elsewhere below."""

import pytest
from voc_files import CORNERS, folder, load, picture, thing, write

from spnas_core.errors import DataError
from spnas_detect.data import open_data


def records(data):
    return {record.name: record for split in data.splits.values() for record in split}


def repairs(data):
    return {repair.what: (repair.count, repair.places) for repair in data.repairs}


def boxes(data, name="a"):
    record = records(data)[name]
    return [(data.classes[label - 1], *box) for label, box in zip(record.labels, record.boxes.tolist(), strict=True)]


def named(data, split):
    return [record.name for record in data.splits[split]]


@pytest.mark.parametrize("encoding", ["gb2312", "gbk", "big5", "shift_jis", "iso-8859-1", "utf-16", "utf-8"])
def test_xml_is_read_in_the_encoding_that_it_declares(tmp_path, encoding):
    label = "chaîne" if encoding == "iso-8859-1" else "中文"
    root = folder(tmp_path)
    for name in "abcdef":
        head = f'<?xml version="1.0" encoding="{encoding}"?>\n'
        write(root / "Annotations" / f"{name}.xml", thing(label), head=head, encoding=encoding)
    assert boxes(load(root)) == [(label, *CORNERS)]


@pytest.mark.parametrize(
    ("declared", "encoding"),
    [("gb2312", "utf-8-sig"), ("utf-8", "utf-16"), ("gbk", "utf-16"), ("UTF-16", "utf-16-le"), ("utf-8", "utf-16-be")],
)
def test_what_the_first_bytes_tell_counts_more_than_the_declaration(tmp_path, declared, encoding):
    root = folder(tmp_path)
    for name in "abcdef":
        head = f'<?xml version="1.0" encoding="{declared}"?>\n'
        write(root / "Annotations" / f"{name}.xml", thing("中文"), head=head, encoding=encoding)
    assert load(root).classes == ("中文",)


@pytest.mark.parametrize(
    ("declared", "encoding"),
    [
        *((declared, "gb18030") for declared in ("windows-936", "x-gbk", "CP936", "MS936")),
        ("windows-950", "big5"),
        ("windows-932", "shift_jis"),
        ("x-sjis", "shift_jis"),
        ("windows-1251", "cp1251"),
    ],
)
def test_code_pages_are_known_by_the_names_of_windows(tmp_path, declared, encoding):
    label = "кот" if encoding == "cp1251" else "中文"
    root = folder(tmp_path)
    for name in "abcdef":
        head = f'<?xml version="1.0" encoding="{declared}"?>\n'
        write(root / "Annotations" / f"{name}.xml", thing(label), head=head, encoding=encoding)
    assert load(root).classes == (label,)


def test_characters_beyond_gb2312_are_read_and_an_unknown_encoding_is_refused(tmp_path):
    root = folder(tmp_path)
    for name in "abcdef":
        head = '<?xml version="1.0" encoding="GB2312"?>'
        write(root / "Annotations" / f"{name}.xml", thing("镕"), head=head, encoding="gbk")
    assert load(root).classes == ("镕",)
    write(root / "Annotations" / "a.xml", head='<?xml version="1.0" encoding="klingon"?>')
    with pytest.raises(DataError, match=r"a\.xml cannot be read: unknown encoding: klingon: save it as UTF-8"):
        load(root)


def flat_annotations(root, names=("train/a", "train/b", "train/c", "val/d", "val/e")):
    for name in names:
        write(root / "annots" / f"{name.rpartition('/')[2]}.xml")
        picture(root / "images" / f"{name}.jpg")
    return root


def test_flat_annotations_find_their_images_in_the_folders_of_the_splits(tmp_path):
    root = flat_annotations(tmp_path)
    for spec in (f"voc:{root}", f"folder:{root}"):
        data = open_data(spec, seed=0)
        assert named(data, "validation") == ["d", "e"]
        assert sorted(named(data, "train") + named(data, "test")) == ["a", "b", "c"]
        assert all(record.read().shape and len(record.boxes) for record in records(data).values())
    assert data.layout == "Pascal VOC, annots and images, images in a folder per split"


def test_flat_annotations_find_images_in_other_folders_too(tmp_path):
    data = load(flat_annotations(tmp_path, [f"street/{name}" for name in "abcd"]))
    assert sorted(records(data)) == list("abcd")


def test_an_image_of_flat_annotations_that_two_folders_hold_is_not_guessed(tmp_path):
    root = flat_annotations(tmp_path)
    picture(root / "images" / "val" / "a.jpg")
    data = load(root)
    assert "a" not in records(data)
    assert repairs(data)["annotation files without an image, left out"] == (1, ("annots/a.xml",))


def test_images_outside_the_folders_of_the_splits_are_left_out_and_counted(tmp_path):
    data = load(flat_annotations(tmp_path, ["train/a", "train/b", "val/c", "more/d"]))
    assert "d" not in records(data)
    assert repairs(data)["images outside the folders of the splits, left out"] == (1, ("d",))
