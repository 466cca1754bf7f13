"""From a report to the text of its page."""

import base64
import hashlib
from functools import cache
from importlib.resources import files

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from spnas_core.commands.json_text import to_json
from spnas_core.commands.wording import printable
from spnas_core.pages._base import Report


def render_page(report: Report, *, written: str, reload_seconds: float | None = None) -> str:
    """Return a page that is complete in itself: no address in it is asked for anything, and no script but its own runs.

    Its policy says both to the browser: nothing may be loaded, and styles and script are named by their digests, so
    that even a part that escaped nothing could run nothing.

    Args:
        report: to write.
        written: when, for people.
        reload_seconds: after which the page loads itself anew; None for a page that stays.
    """
    styles, script = _resource("page.css"), _resource("page.js")
    points = {key: [printable(line) for line in lines] for key, lines in report.points.items()}
    return _template().render(
        report=report,
        written=written,
        reload_seconds=reload_seconds,
        styles=Markup(styles),  # noqa: S704 - a file of this package
        script=Markup(script),  # noqa: S704 - a file of this package
        style_digest=_digest(styles),
        script_digest=_digest(script),
        # Inside a script element only its end, which needs a "<", would be heeded.
        points=Markup(to_json(points).replace("<", "\\u003c")),  # noqa: S704
        printable=printable,
    )


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_resource("page.html"))


@cache
def _resource(name: str) -> str:
    return (files("spnas_core.pages") / name).read_text(encoding="utf-8").rstrip("\n")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
