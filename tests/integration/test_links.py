"""Links of README and the pages lead to files and sections that there are, where a repository shows them."""

import re

import pytest
from documents import FENCE, PAGES, ROOT, prose, read

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
MARKDOWN = re.compile(r"[^\w\- ]")


def anchors(page):
    """The names of a page's sections, as repositories make them of headings."""
    found = []
    for heading in re.findall(r"^#{1,6} +(.+?) *$", FENCE.sub("", read(page)), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = MARKDOWN.sub("", text.lower()).replace(" ", "-")
        found.append(name if name not in found else f"{name}-{found.count(name)}")
    return found


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    here = (ROOT / page).parent
    for link in LINK.findall(prose(page)):
        if link.startswith("https://"):
            continue
        path, _, section = link.partition("#")
        target = (here / path).resolve() if path else ROOT / page
        assert target.exists(), f"{page}: {link}"
        if section:
            assert section in anchors(target.relative_to(ROOT).as_posix()), f"{page}: {link}"


def test_every_page_is_in_the_contents():
    contents = re.findall(r"^(?:.*<)?([\w/-]+)>?$", read("docs/index.md"), re.MULTILINE)
    pages = {page.removeprefix("docs/").rpartition(".")[0] for page in PAGES if page.startswith("docs/")} - {"index"}
    assert pages <= set(contents)
