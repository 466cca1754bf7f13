"""The official VOCdevkit: years, their union, and which list is which split."""

import itertools

import pytest
from PIL import Image

from spnas_core.errors import DataError
from spnas_detect.data import build_cache, open_data

LISTS = {
    "VOC2007": {"train": [f"{i:06d}" for i in range(6)], "val": [f"{i:06d}" for i in range(6, 10)]},
    "VOC2012": {"train": [f"2008_{i:06d}" for i in range(5)], "val": [f"2008_{i:06d}" for i in range(5, 10)]},
}
TEST = [f"{i:06d}" for i in range(90, 94)]
PERSON = """<annotation><folder>{year}</folder><filename>{stem}.jpg</filename>
<size><width>100</width><height>80</height><depth>3</depth></size><segmented>0</segmented>
<object><name>person</name><pose>Left</pose><truncated>1</truncated><difficult>{difficult}</difficult>
<bndbox><xmin>11</xmin><ymin>21.5</ymin><xmax>50</xmax><ymax>60</ymax></bndbox>
<part><name>head</name><bndbox><xmin>12</xmin><ymin>22</ymin><xmax>20</xmax><ymax>30</ymax></bndbox></part></object>
<object><name>dog</name><difficult>0</difficult>
<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>"""


def add(folder, stem, difficult=0, text=None):
    annotation = PERSON.format(year=folder.name, stem=stem, difficult=difficult) if text is None else text
    (folder / "Annotations" / f"{stem}.xml").write_text(annotation)
    Image.new("RGB", (100, 80), (200, 100, 50)).save(folder / "JPEGImages" / f"{stem}.jpg")


@pytest.fixture
def devkit(tmp_path):
    root = tmp_path / "VOCdevkit"
    for year, lists in LISTS.items():
        for name in ("Annotations", "JPEGImages", "ImageSets/Main", "SegmentationClass"):
            (root / year / name).mkdir(parents=True)
        for name, stems in lists.items():
            (root / year / "ImageSets" / "Main" / f"{name}.txt").write_text("".join(f"{stem}\n" for stem in stems))
            for stem in stems:
                add(root / year, stem)
    for stem in TEST:
        add(root / "VOC2007", stem)
    (root / "VOC2007" / "ImageSets" / "Main" / "test.txt").write_text("\n".join(TEST))
    (root / "VOC2007" / "ImageSets" / "Main" / "dog_train.txt").write_text("000000 -1\n")
    return root


def load(root, seed=0, **options):
    return open_data(f"voc:{root}", seed=seed, **options)


def names(data):
    return {split: [record.name for record in records] for split, records in data.splits.items()}


TRAINVAL = {
    year: [f"{year[3:]}/{stem}" for stem in itertools.chain.from_iterable(LISTS[year].values())] for year in LISTS
}
TEST_NAMES = [f"2007/{stem}" for stem in TEST]


def test_by_default_trainval_of_both_years_trains_and_the_test_of_2007_tests(devkit):
    data = load(devkit)
    found = names(data)
    assert data.classes == ("dog", "person")
    assert sorted(found["train"] + found["validation"]) == sorted(TRAINVAL["VOC2007"] + TRAINVAL["VOC2012"])
    assert len(found["validation"]) == 4
    assert found["test"] == TEST_NAMES
    assert data.notes == (
        "years 2007+2012: trainval images train",
        "validation split carved from training images by seed 0: 4 images",
    )
    drawn = [names(load(devkit, seed=seed))["validation"] for seed in (0, 0, 1, 2)]
    assert drawn[0] == drawn[1]
    assert len({tuple(one) for one in drawn}) == 3


@pytest.mark.parametrize(
    ("given", "years"),
    [
        ("07", ["VOC2007"]),
        ("2007", ["VOC2007"]),
        (7, ["VOC2007"]),
        (12, ["VOC2012"]),
        ("07+12", ["VOC2007", "VOC2012"]),
        ("12+07", ["VOC2007", "VOC2012"]),
        (["07", 2012], ["VOC2007", "VOC2012"]),
    ],
)
def test_years_choose_the_folders(devkit, given, years):
    found = names(load(devkit, years=given))
    images = found["train"] + found["validation"] + ([] if "VOC2007" in years else found["test"])
    assert sorted(images) == sorted(name for year in years for name in TRAINVAL[year])
    if "VOC2007" in years:
        assert found["test"] == TEST_NAMES


def test_a_year_without_public_test_annotations_carves_its_test_images(devkit):
    (devkit / "VOC2012" / "ImageSets" / "Main" / "test.txt").write_text("2008_000090\n")  # as downloaded: no annotation
    data = load(devkit, years="12")
    assert [len(data.splits[split]) for split in ("train", "validation", "test")] == [6, 2, 2]
    assert "test split carved from training images by seed 0: 2 images" in data.notes


def test_official_halves_train_and_validate(devkit):
    found = names(load(devkit, validation="val"))
    for split, part in (("train", "train"), ("validation", "val")):
        assert found[split] == [f"{year[3:]}/{stem}" for year in LISTS for stem in LISTS[year][part]]
    assert found["test"] == TEST_NAMES


def test_the_whole_trainval_trains_where_test_images_are_all_there_is_to_score(devkit):
    data = load(devkit, validation="test")
    found = names(data)
    assert found["train"] == TRAINVAL["VOC2007"] + TRAINVAL["VOC2012"]
    assert found["validation"] == found["test"] == TEST_NAMES
    assert data.tests_on_validation
    assert data.notes[-1].startswith("test = validation: 4 images are both")
    with pytest.raises(DataError, match=r"voc validation is 'test', but .* has no VOC2007/ImageSets/Main/test\.txt"):
        load(devkit, validation="test", years=12)


def test_equal_file_names_of_two_years_do_not_clash(devkit):
    """The same stem in both years: different pixels, different names."""
    add(devkit / "VOC2012", "000003")
    Image.new("RGB", (100, 80), (0, 0, 255)).save(devkit / "VOC2012" / "JPEGImages" / "000003.jpg")
    with (devkit / "VOC2012" / "ImageSets" / "Main" / "train.txt").open("a") as stream:
        stream.write("000003\n")
    records = {record.name: record for record in load(devkit, validation="val").splits["train"]}
    assert len(records) == 12
    assert records["2007/000003"].read()[0, 0, 0] > 150
    assert records["2012/000003"].read()[0, 0, 2] > 150


def test_parts_of_a_person_are_no_objects_and_fractions_of_pixels_are_read(devkit):
    record = load(devkit).splits["test"][0]
    assert record.boxes.tolist() == [[10, 20.5, 50, 60], [0, 0, 9, 9]]
    assert record.labels.tolist() == [2, 1]


def test_difficult_objects_are_ignored_and_on_request_learnt(devkit):
    for stem in (*LISTS["VOC2007"]["train"], *LISTS["VOC2007"]["val"], *TEST):
        add(devkit / "VOC2007", stem, difficult=1)
    flags = {
        option: {
            split: {tuple(record.ignore.tolist()) for record in records}
            for split, records in load(devkit, years="07", difficult=option).splits.items()
        }
        for option in ("ignore", "train")
    }
    assert flags["ignore"] == {split: {(True, False)} for split in ("train", "validation", "test")}
    assert flags["train"] == {**flags["ignore"], "train": {(False, False)}}
    prints = {load(devkit, years="07", difficult=option).fingerprint for option in ("ignore", "train")}
    assert len(prints) == 2


def test_fingerprint_follows_years_and_validation(devkit):
    options = [{}, {"years": "07"}, {"years": "12"}, {"validation": "val"}, {"validation": "test"}]
    assert len({load(devkit, **option).fingerprint for option in options}) == 5
    assert load(devkit).fingerprint == load(devkit, years="12+07", validation="carved").fingerprint


def test_one_year_of_a_devkit_is_a_plain_folder(devkit):
    data = load(devkit / "VOC2007")
    assert names(data)["test"] == TEST
    assert names(data)["train"] == LISTS["VOC2007"]["train"]


def test_cache_takes_a_devkit(devkit, tmp_path):
    cache = build_cache(load(devkit), tmp_path / "cache", image_size=(50, 40))
    assert cache.split("test").names == tuple(TEST_NAMES)


def test_degenerate_boxes_are_named_with_their_year(devkit):
    text = PERSON.format(year="VOC2007", stem="000091", difficult=0).replace("<xmax>50<", "<xmax>5<")
    add(devkit / "VOC2007", "000091", text=text)
    data = load(devkit, validation="test")  # in two splits, but one box
    assert data.dropped == ("2007/000091.xml",)
    assert data.notes[0] == "1 degenerate box dropped: 2007/000091.xml"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"years": "08"}, r"voc years is '08', but .*VOCdevkit has no folder VOC2008; it has VOC2007, VOC2012"),
        ({"years": "seven"}, r"voc years is 'seven': it must name different years, such as 07, 12 or 07\+12"),
        ({"years": "07+07"}, r"voc years is '07\+07': it must name different years"),
        ({"years": ""}, r"voc years is '': it must name"),
        ({"years": "07+"}, r"voc years is '07\+': it must name"),
        ({"years": []}, r"voc years is \[\]: it must name"),
        ({"validation": "vall"}, r"voc has no validation 'vall'; did you mean 'val'\?"),
        ({"difficult": "drop"}, r"voc difficult is 'drop': it must be 'ignore' or 'train'"),
        ({"year": "07"}, r"voc data has no option 'year'; did you mean 'years'\?"),
    ],
)
def test_unusable_options_are_refused(devkit, options, message):
    with pytest.raises(DataError, match=message):
        load(devkit, **options)


def test_options_of_a_devkit_are_refused_for_a_plain_folder(devkit):
    with pytest.raises(DataError, match=r"voc years is an option of a VOCdevkit, and .* holds no folder such as"):
        load(devkit / "VOC2012", years="12")


def test_a_year_without_lists_and_the_folder_above_are_explained(devkit):
    with pytest.raises(DataError, match=r"Annotations is not a folder: .*; did you mean .*VOCdevkit\?"):
        load(devkit.parent)
    for name in ("train", "val"):
        (devkit / "VOC2012" / "ImageSets" / "Main" / f"{name}.txt").unlink()
    with pytest.raises(DataError, match=r"train\.txt and val\.txt of .*VOC2012.* are missing, or list no image"):
        load(devkit)
    with pytest.raises(DataError, match=r"train\.txt of .*VOC2012"):
        load(devkit, validation="val")
    (devkit / "VOC2012" / "Annotations").rename(devkit / "gone")
    with pytest.raises(DataError, match=r"VOC2012/Annotations is not a folder"):
        load(devkit)


def test_all_boxes_degenerate_is_refused_with_their_number(devkit):
    for year, lists in LISTS.items():
        for stem in (*itertools.chain.from_iterable(lists.values()), *(TEST if year == "VOC2007" else ())):
            text = PERSON.format(year=year, stem=stem, difficult=0)
            add(devkit / year, stem, text=text.replace("<xmax>50<", "<xmax>5<").replace("<xmax>9<", "<xmax>0<"))
    with pytest.raises(DataError, match=r"has no usable box: all 48 have no area inside their image, first in 20"):
        load(devkit)
