"""Pages in a real browser: Chromium without a window and without a network, driven by scripts of a page around them."""

import json
import shutil
import subprocess
from dataclasses import dataclass

import pytest
from pages import parse_page

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="needs a browser: Debian's package chromium")

AROUND = """<!doctype html><meta charset="utf-8"><pre id="found"></pre><script>
const until = async (happened) => {
  for (let turn = 0; turn < 200 && !happened(); turn++) await new Promise((on) => setTimeout(on, 20));
};
const visits = %s;
const scripts = [%s];
(async () => {
  const found = [];
  for (const [place, visit] of visits.entries()) {
    const frame = document.createElement("iframe");
    frame.width = visit.width;
    frame.height = visit.height;
    if (visit.without_scripts) frame.sandbox = "allow-same-origin";
    const loaded = new Promise((on) => { frame.addEventListener("load", on, { once: true }); });
    frame.src = visit.page;
    document.body.append(frame);
    await loaded;
    try {
      found.push(await scripts[place](frame.contentWindow, frame.contentDocument, frame));
    } catch (error) {
      found.push({ error: String(error) });
    }
    frame.remove();
  }
  document.getElementById("found").textContent = JSON.stringify(found);
})();
</script>"""


@dataclass(frozen=True)
class Visit:
    """A page in a frame of so many pixels, and a script that returns what it finds there.

    The script is the body of an asynchronous function of the page's ``view`` (its window), ``page`` (its document) and
    ``frame``; ``await until(() => …)`` waits.
    """

    page: str
    script: str
    width: int = 1200
    height: int = 800
    without_scripts: bool = False


def browse(folder, *visits: Visit):
    """What each visit has found, and what the browser's console said."""
    plain = [{key: getattr(one, key) for key in ("page", "width", "height", "without_scripts")} for one in visits]
    scripts = ",".join(f"async (view, page, frame) => {{ {one.script} }}" for one in visits)
    around = folder / "around.html"
    around.write_text(AROUND % (json.dumps(plain), scripts), encoding="utf-8")
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--allow-file-access-from-files",
        "--enable-logging=stderr",
    ]
    options += [f"--user-data-dir={folder / 'profile'}", "--proxy-server=127.0.0.1:9", "--virtual-time-budget=60000"]
    ended = subprocess.run(
        [BROWSER, *options, "--dump-dom", around.as_uri()], capture_output=True, text=True, check=True, timeout=300
    )
    found = parse_page(ended.stdout).one("pre", id="found").text
    return json.loads(found), [line for line in ended.stderr.splitlines() if "CONSOLE" in line]
