"""What only a browser can show of a report: that it works, fits a phone, asks for nothing, and runs nobody's script."""

import pytest
from browser import Visit, browse, needs_browser
from commands import NULL, budget, done, invoke, rows
from markupsafe import Markup

from spnas_core.pages import Section, render_page, report_on
from spnas_detect.jobs import TrainFolder, TrainSettings
from spnas_search.testing import NullTask

pytestmark = needs_browser
EVIL = '<img src="http://x.example/" onerror="window.hacked = 1"><script>window.hacked = 1</script>'

FITS = """
const root = page.documentElement;
return [root.scrollWidth, root.clientWidth, page.querySelectorAll("section").length];
"""
HOVER = """
const chart = page.querySelector("#front svg.chart");
const dot = chart.querySelector("circle[data-key]");
const at = (event, x, y) => chart.dispatchEvent(new view.PointerEvent(event, { clientX: x, clientY: y }));
const box = dot.getBoundingClientRect();
const tip = page.getElementById("tip");
const before = tip.hidden;
at("pointermove", box.x + box.width / 2 + 2, box.y + box.height / 2);
const hot = [...page.querySelectorAll(".hot")];
const found = { before, shown: !tip.hidden, text: tip.innerText, key: dot.dataset.key,
  keys: hot.map((one) => one.dataset.key),
  kinds: [...new Set(hot.map((one) => one.closest("section").id + " " + one.tagName.toLowerCase()))],
  inside: tip.getBoundingClientRect().right <= page.documentElement.clientWidth };
at("pointerleave", 0, 0);
return { ...found, after: tip.hidden, left: page.querySelectorAll(".hot").length };
"""
FILTER = """
const words = page.getElementById("words");
const rows = [...page.querySelectorAll("#candidates tbody tr")];
const left = () => rows.filter((one) => one.offsetParent).map((one) => one.dataset.key);
const type = (text) => { words.value = text; words.dispatchEvent(new view.Event("input")); };
const all = left();
type("swap"); const swaps = left(); const said = page.getElementById("count").textContent;
const faded = page.querySelectorAll("#front circle.off").length;
type("-swap"); const others = left();
type(""); const again = left();
const button = page.querySelector("#filter button"); button.click();
const front = left(), pressed = button.getAttribute("aria-pressed");
button.click();
return { all, swaps, said, faded, others, again, front, pressed, released: button.getAttribute("aria-pressed") };
"""
THEME = """
const colour = () => view.getComputedStyle(page.body).backgroundColor;
const button = page.getElementById("theme"), before = [colour(), button.textContent];
button.click();
return [before, [colour(), button.textContent]];
"""
LABELS = """
const button = page.getElementById("theme"), before = button.getAttribute("aria-label");
button.click();
const frames = [...page.querySelectorAll(".wide, pre")];
return { buttons: [before, button.getAttribute("aria-label")],
  tables: [...page.querySelectorAll("table")].map((one) => one.getAttribute("aria-label")),
  scrolling: frames.filter((one) => one.scrollWidth > one.clientWidth).length,
  named: frames.map((one) => [one.scrollWidth > one.clientWidth,
    one.tabIndex === 0 && one.getAttribute("role") === "region" && one.getAttribute("aria-label").length > 0]) };
"""
KEYS = """
const chart = page.querySelector("#front svg.chart"), tip = page.getElementById("tip");
const press = (key) => {
  chart.dispatchEvent(new view.KeyboardEvent("keydown", { key, cancelable: true }));
  return tip.hidden ? "" : page.querySelector("#front circle.hot").cx.baseVal.value;
};
chart.focus();
const focused = page.activeElement === chart, label = chart.getAttribute("aria-label");
const found = ["ArrowRight", "ArrowRight", "ArrowRight", "ArrowLeft", "Escape"].map(press);
const again = press("ArrowRight"); chart.blur();
return { focused, label, found, again, after: tip.hidden };
"""
PRINT = """
for (const rule of [...page.styleSheets].flatMap((one) => [...one.cssRules])) {
  const media = rule.media?.mediaText ?? "";
  if (media === "print") rule.media.mediaText = "all";
  if (media.startsWith("screen")) rule.media.mediaText = "not all";
}
page.documentElement.dataset.theme = "dark";
const style = view.getComputedStyle(page.body);
const folds = [...page.querySelectorAll("details:not([open])")];
const seen = folds.map((one) => one.getBoundingClientRect().height > 3 * one.firstElementChild.offsetHeight);
const wide = [...page.querySelectorAll(".wide, pre")].filter((one) => one.scrollWidth > one.clientWidth);
view.dispatchEvent(new view.Event("beforeprint"));
const opened = folds.every((one) => one.open);
view.dispatchEvent(new view.Event("afterprint"));
return { colours: [style.color, style.backgroundColor], wide: wide.map((one) => one.closest("section").id), seen,
  opened, closed: folds.every((one) => !one.open), needed: page.documentElement.scrollWidth };
"""
NOTES = """
const chart = page.querySelector("#curves svg.chart");
const notes = [...chart.querySelectorAll("text.note")].map((one) => one.getBoundingClientRect());
const size = parseFloat(view.getComputedStyle(chart.querySelector("text.note")).fontSize) * chart.getScreenCTM().a;
const tops = notes.map((one) => one.top).sort((a, b) => a - b);
const right = chart.getBoundingClientRect().right;
return { size, apart: Math.min(...tops.slice(1).map((one, place) => one - tops[place])),
  inside: notes.every((one) => one.right <= right), count: notes.length };
"""
RELOAD = """
const words = page.getElementById("words");
words.value = "swap"; words.dispatchEvent(new view.Event("input"));
page.querySelector("details").open = true;
view.scrollTo(0, 400);
const first = view.scrollY;
await new Promise((on) => frame.addEventListener("load", on, { once: true }));
await until(() => frame.contentWindow.scrollY === first);
const now = frame.contentDocument;
return { first, again: frame.contentWindow.scrollY, words: now.getElementById("words").value,
  open: now.querySelector("details").open, off: now.querySelectorAll("#candidates tr.off").length,
  is_new: now !== page };
"""
PLAIN = """
const seen = (one) => one.getClientRects().length > 0;
const count = (what) => [...page.querySelectorAll(what)].filter(seen).length;
return { sections: count("section"), filter: seen(page.getElementById("filter")),
  rows: count("#candidates tbody tr"), dots: count("#front circle") };
"""
HACKED = (
    "await new Promise((on) => setTimeout(on, 300)); return [view.hacked ?? null, page.querySelectorAll('img').length];"
)
ASKED = "return view.performance.getEntriesByType('resource').map((one) => one.name);"


@pytest.fixture(scope="module")
def visited(tmp_path_factory):
    """Everything that is looked at, in one start of the browser."""
    folder = tmp_path_factory.mktemp("pages")
    out, evaluate = folder / "run", NullTask.evaluate

    def fails(self, request, report):
        if request.candidate in {6, 8}:
            raise ValueError(EVIL)
        return evaluate(self, request, report)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NullTask, "evaluate", fails)
        result = invoke("run", "serial", *NULL, *budget(10, 2), "--out", out)
        assert result.exit_code == 0, result.output
    done("report", out)
    report = report_on(str(out))
    raw = Section("raw", "Raw", Markup(EVIL))
    for name, found, reload_seconds in (
        ("watched", report, 1.0),
        ("hacked", type(report)(**{**vars(report), "sections": (*report.sections, raw)}), None),
    ):
        (folder / f"{name}.html").write_text(render_page(found, written="now", reload_seconds=reload_seconds))
    training = TrainFolder(folder / "training")
    training.write_settings(TrainSettings(architecture="r_111-2111-211111-211_1-1-1-1", image_size=(1216, 800)))
    (training.path / "scalars.jsonl").write_text(
        '{"step": 1, "loss": 1.0}\n'
        '{"step": 2, "loss": 0.5, "loss_box": 0.25, "loss_rpn_box_reg": 0.25, "loss_objectness": 0.24}\n'
    )
    done("report", training.path)
    page, of_training = "run/report.html", "training/report.html"
    visits = {
        **{f"width {width}": Visit(page, FITS, width) for width in (360, 390, 1400)},
        "training": Visit(of_training, FITS, 360),
        "hover": Visit(page, HOVER),
        "hover on a phone": Visit(page, HOVER, 360),
        "filter": Visit(page, FILTER),
        "named": Visit(f"{page}#filter=expand", "return page.getElementById('words').value;"),
        "theme": Visit(page, THEME),
        "labels": Visit(page, LABELS),
        "labels on a phone": Visit(page, LABELS, 360),
        "keys": Visit(page, KEYS),
        "print": Visit(page, PRINT, 760),
        "print of a training": Visit(of_training, PRINT, 760),
        "notes": Visit(of_training, NOTES, 360),
        "reload": Visit("watched.html", RELOAD),
        "plain": Visit(page, PLAIN, without_scripts=True),
        "text": Visit(page, HACKED),
        "asked": Visit(page, ASKED),
        "raw": Visit("hacked.html", HACKED),
    }
    found, console = browse(folder, *visits.values())
    return dict(zip(visits, found, strict=True)), console, rows(out)


@pytest.mark.parametrize("visit", ["width 360", "width 390", "width 1400", "training"])
def test_no_page_is_wider_than_its_window(visited, visit):
    needed, there, sections = visited[0][visit]
    assert needed <= there
    assert sections == (4 if visit == "training" else 11)


@pytest.mark.parametrize("visit", ["hover", "hover on a phone"])
def test_what_a_point_is_is_shown_and_it_lights_up_everywhere(visited, visit):
    found = visited[0][visit]
    assert found["before"]
    assert found["shown"]
    assert found["inside"]
    candidate = visited[2][int(found["key"])]
    assert found["text"].startswith(f"{candidate['id']} {candidate['architecture']}\n")
    assert set(found["keys"]) == {found["key"]}
    assert {"front circle", "descent circle", "curves circle", "candidates tr"} <= set(found["kinds"])
    assert found["after"]
    assert found["left"] == 0


def test_the_filter_leaves_what_has_its_words(visited):
    found, known = visited[0]["filter"], {str(one["id"]): one for one in visited[2]}
    swaps = {key for key in found["all"] if any(step["name"] == "swap" for step in known[key]["morphisms"])}
    assert set(found["all"]) == {key for key, one in known.items() if one["kind"] in {"start", "child"}}
    assert 0 < len(swaps) < len(found["all"])
    assert set(found["swaps"]) == swaps
    assert set(found["others"]) == set(found["all"]) - swaps
    assert found["said"] == f"{len(swaps)} of {len(found['all'])}"
    assert found["faded"] > 0
    assert found["again"] == found["all"]
    assert 0 < len(found["front"]) < len(found["all"])
    assert (found["pressed"], found["released"]) == ("true", "false")


def test_an_address_names_a_filter(visited):
    assert visited[0]["named"] == "expand"


def test_light_and_dark(visited):
    (light, offers_dark), (dark, offers_light) = visited[0]["theme"]
    assert (light, dark) == ("rgb(255, 255, 255)", "rgb(20, 22, 26)")
    assert (offers_dark, offers_light) == ("dark", "light")


@pytest.mark.parametrize("visit", ["labels", "labels on a phone"])
def test_what_scrolls_is_reached_by_keys_and_has_a_name(visited, visit):
    found = visited[0][visit]
    assert found["buttons"] in (["dark colours", "light colours"], ["light colours", "dark colours"])
    assert found["tables"]
    assert all(found["tables"])
    assert all(scrolls == is_named for scrolls, is_named in found["named"])
    assert found["scrolling"] > 0 or visit == "labels"


def test_points_are_reached_by_keys(visited):
    found = visited[0]["keys"]
    first, second, third, back, gone = found["found"]
    assert found["focused"]
    assert "arrow keys" in found["label"]
    assert 0 < first <= second <= third
    assert (back, gone) == (second, "")
    assert found["again"] == third
    assert found["after"]


@pytest.mark.parametrize("visit", ["print", "print of a training"])
def test_on_paper_everything_is_there_dark_on_white(visited, visit):
    found = visited[0][visit]
    assert found["colours"] == ["rgb(27, 29, 33)", "rgb(255, 255, 255)"]
    assert found["wide"] == []
    assert found["needed"] <= 760
    assert found["seen"]
    assert all(found["seen"])
    assert found["opened"]
    assert found["closed"]


def test_notes_of_a_chart_can_be_read_on_a_phone(visited):
    found = visited[0]["notes"]
    assert found["count"] == 4
    assert found["size"] >= 9
    assert found["apart"] >= found["size"]
    assert found["inside"]


def test_a_page_that_loads_itself_anew_stays_as_it_was(visited):
    found = visited[0]["reload"]
    assert found["is_new"]
    assert found["first"] == found["again"] == 400
    assert (found["words"], found["open"]) == ("swap", True)
    assert found["off"] > 0


def test_without_scripts_everything_is_there_but_the_filter(visited):
    found = visited[0]["plain"]
    assert (found["sections"], found["filter"]) == (11, False)
    assert found["rows"] == 11
    assert found["dots"] >= 9


def test_text_of_others_runs_nothing(visited):
    assert any(EVIL in one["reason"] for one in visited[2])
    assert visited[0]["text"] == [None, 0]
    assert visited[0]["asked"] == []


def test_even_unescaped_nothing_runs_and_nothing_is_loaded(visited):
    assert visited[0]["raw"] == [None, 1]
    console = visited[1]
    assert any("Loading the image" in line and "Content Security Policy" in line for line in console)
    assert any("inline script" in line for line in console)
    others = [line for line in console if not ("Content Security Policy" in line and "hacked.html" in line)]
    assert all("Blocked script execution" in line for line in others)  # where the test has turned scripts off
