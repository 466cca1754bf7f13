"""Pictures: labels stay inside and apart, colours differ, images are left as they are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import get_data_path
from PIL import Image

from spnas_detect.drawing import DrawnBox, class_colour, draw_boxes, is_our_picture, save_picture, side_by_side
from spnas_detect.drawing.colours import IGNORED, relative_luminance, text_colour
from spnas_detect.drawing.fonts import Lettering
from spnas_detect.drawing.labels import place_labels
from spnas_detect.drawing.style import Style, enlargement

PICTURE = (200, 150)


@st.composite
def rectangles(draw):
    left, top = draw(st.integers(0, PICTURE[0] - 1)), draw(st.integers(0, PICTURE[1] - 1))
    return left, top, draw(st.integers(left + 1, PICTURE[0])), draw(st.integers(top + 1, PICTURE[1]))


@settings(max_examples=50)
@given(st.lists(st.tuples(rectangles(), st.tuples(st.integers(1, 200), st.integers(1, 40))), max_size=12))
def test_labels_are_inside_the_picture_and_keep_their_size(given_labels):
    boxes, sizes = [box for box, _ in given_labels], [size for _, size in given_labels]
    places = place_labels(boxes, sizes, PICTURE)
    assert len(places) == len(boxes)
    for (left, top, right, bottom), size in zip(places, sizes, strict=True):
        assert (right - left, bottom - top) == size
        assert 0 <= left < right <= PICTURE[0]
        assert 0 <= top < bottom <= PICTURE[1]


def test_a_lone_label_stands_above_its_box_and_inside_one_that_fills_the_picture():
    assert place_labels([(50, 60, 90, 100)], [(30, 10)], PICTURE) == [(50, 50, 80, 60)]
    assert place_labels([(0, 0, *PICTURE)], [(30, 10)], PICTURE) == [(0, 0, 30, 10)]


def test_labels_of_boxes_in_one_place_do_not_cover_each_other():
    places = place_labels([(50, 60, 110, 100)] * 4, [(40, 10)] * 4, PICTURE)
    pixels = np.zeros((PICTURE[1], PICTURE[0]), int)
    for left, top, right, bottom in places:
        pixels[top:bottom, left:right] += 1
    assert pixels.max() == 1


def test_a_label_does_not_hide_a_small_object():
    small = (60, 44, 72, 56)
    place = place_labels([(50, 60, 90, 140), small], [(40, 12), (40, 12)], PICTURE)[0]
    assert min(place[2], small[2]) <= max(place[0], small[0]) or min(place[3], small[3]) <= max(place[1], small[1])


def test_thirty_classes_have_colours_of_their_own_and_text_that_can_be_read():
    colours = [class_colour(label) for label in range(1, 31)]
    assert len({*colours, IGNORED}) == 31
    assert colours == [class_colour(label) for label in range(1, 31)]
    for colour in [*map(class_colour, range(1, 200)), IGNORED]:
        bright, dark = sorted((relative_luminance(colour), relative_luminance(text_colour(colour))), reverse=True)
        assert (bright + 0.05) / (dark + 0.05) >= 4.5


@pytest.mark.parametrize(("width", "height"), [(40, 30), (128, 128), (640, 480), (1920, 1080), (6000, 4000)])
def test_letters_are_large_enough_for_the_picture(width, height):
    factor = enlargement(width, height)
    width, height = width * factor, height * factor
    assert max(width, height) >= 480
    for sides in ([], [3.0] * 40, [height / 2.0]):
        style = Style.of(width, height, sides)
        assert style.text >= 11
        assert style.text >= 0.009 * (width * height) ** 0.5
        assert style.line >= 2


def colour_at(picture, x, y):
    return picture.getpixel((x, y))


def test_a_box_is_drawn_where_it_is_in_its_classes_colour():
    image = np.full((600, 800, 3), 128, np.uint8)
    picture = draw_boxes(image, [DrawnBox((100.2, 200.4, 300.0, 400.0), 2, 0.75)], ["cat", "dog"])
    assert picture.size == (800, 600)
    for x, y in ((100, 300), (299, 300), (200, 200), (200, 399)):
        assert colour_at(picture, x, y) == class_colour(2)
    assert colour_at(picture, 200, 300) == (128, 128, 128)
    assert (image == 128).all()


def test_a_small_image_is_enlarged_with_its_boxes():
    picture = draw_boxes(np.zeros((60, 100, 3), np.uint8), [DrawnBox((20, 20, 60, 40), 1)], ["cat"])
    assert picture.size == (500, 300)
    assert colour_at(picture, 100, 150) == class_colour(1)
    assert colour_at(picture, 200, 199) == class_colour(1)


def test_the_important_box_lies_on_top():
    boxes = [DrawnBox((100, 100, 300, 300), label) for label in (1, 2)]
    assert colour_at(draw_boxes(np.zeros((480, 480, 3), np.uint8), boxes, ["a", "b"]), 300 - 1, 200) == class_colour(1)


@settings(max_examples=25)
@given(st.lists(rectangles(), max_size=5), st.integers(1, 40), st.integers(1, 40))
def test_any_box_can_be_drawn_on_any_image(boxes, width, height):
    drawn = [DrawnBox(tuple(map(float, box)), 1, 0.5, "missed", ignored=True) for box in boxes]
    drawn.append(DrawnBox((-3.0, 0.0, 0.01, 0.001), 1))
    picture = draw_boxes(np.zeros((height, width, 3), np.uint8), drawn, ["a class name that is wider than the picture"])
    assert picture.width % width == 0
    assert picture.height * width == picture.width * height


def test_names_that_the_font_lacks_are_written_plainly_or_by_number():
    lettering = Lettering(["Größe", "人"], files=())
    assert lettering.writable("Größe", "class 1") == "class 1"  # ß is more than an s with an accent
    assert lettering.writable("Café", "class 1") == "Cafe"
    assert lettering.writable("人", "class 2") == "class 2"
    assert lettering.writable("traffic light", "class 3") == "traffic light"


def test_a_font_that_lacks_some_letters_is_better_than_one_that_lacks_more():
    font = f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf"
    lettering = Lettering(["Größe", "\U0010fffe"], [font])
    assert lettering.file == font
    assert lettering.writable("Größe", "class 1") == "Größe"
    assert lettering.writable("\U0010fffe", "class 2") == "class 2"
    assert Lettering(["traffic light"], [font]).file is None


def test_a_name_with_line_ends_or_control_characters_is_written_escaped():
    image = np.zeros((300, 600, 3), np.uint8)
    box = (50, 100, 550, 280)
    for name, escaped in (("two\nlines", r"two\nlines"), ("\x1b[2J", r"\x1b[2J"), ("caf\udce9", r"caf\udce9")):
        drawn, expected = (draw_boxes(image, [DrawnBox(box, 1)], [text]) for text in (name, escaped))
        assert drawn.tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.JPEG"])
def test_our_pictures_are_known_from_others(tmp_path, name):
    picture = Image.new("RGB", (8, 8), (10, 200, 30))
    save_picture(picture, tmp_path / name)
    assert is_our_picture(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    with Image.open(tmp_path / name) as read:
        assert np.abs(np.asarray(read.convert("RGB"), int) - (10, 200, 30)).max() <= 3
    picture.save(tmp_path / name)
    assert not is_our_picture(tmp_path / name)
    (tmp_path / name).write_text("text")
    assert not is_our_picture(tmp_path / name)


def test_pictures_stand_beside_each_other_under_their_headings():
    left, right = Image.new("RGB", (100, 80), (255, 0, 0)), Image.new("RGB", (100, 80), (0, 0, 255))
    joined = side_by_side([left, right], ["ground truth", "a heading that is much wider than its picture"])
    assert joined.width > 200
    assert joined.crop((0, joined.height - 80, 100, joined.height)).tobytes() == left.tobytes()
    assert (
        joined.crop((joined.width - 100, joined.height - 80, joined.width, joined.height)).tobytes() == right.tobytes()
    )
