"""Annotations in Pascal VOC's XML, and six images with them: all that is not said is as it should be."""

from PIL import Image

from spnas_detect.data import open_data

BOX, CORNERS = (11, 21, 50, 60), [10, 20, 50, 60]
SIZE = "<size><width>100</width><height>80</height><depth>3</depth></size>"


def picture(path, size=(100, 80)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (10, 200, 30)).save(path)


def thing(label="cat", corners=BOX, extra="<difficult>0</difficult>"):
    names = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
    written = "".join(f"<{name}>{value}</{name}>" for name, value in names)
    return f"<object><name>{label}</name>{extra}<bndbox>{written}</bndbox></object>"


def write(file, *objects, size=SIZE, filename=None, head="", root="<annotation>", encoding="utf-8"):
    file.parent.mkdir(parents=True, exist_ok=True)
    body = "".join(objects or [thing()])
    text = f"{head}{root}<folder/><filename>{filename or file.stem + '.jpg'}</filename>{size}{body}</annotation>"
    file.write_bytes(text.encode(encoding))


def folder(root, names="abcdef", annotations="Annotations", images="JPEGImages"):
    """Six images without lists: all that is not said is as it should be."""
    for name in names:
        write(root / annotations / f"{name}.xml")
        picture(root / images / f"{name}.jpg")
    return root


def load(root, **options):
    return open_data(f"voc:{root}", seed=0, **options)
