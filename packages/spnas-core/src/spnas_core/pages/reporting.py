"""Who reports on a folder: the plugins, the first that knows its kind; and what others add."""

from dataclasses import replace

from spnas_core.errors import ConfigError
from spnas_core.pages._base import Report, Section
from spnas_core.plugins.events import answers


def report_on(reference: str) -> Report:
    """Return what is known of a folder, with the sections that plugins add.

    A plugin that fails, or answers something else, is reported among the broken ones; everything else stands.

    Args:
        reference: a folder, or whatever else a plugin's ``spnas_report`` knows, such as ``RUN:ID``.

    Raises:
        ConfigError: no plugin knows it.
        SpnasError: a plugin knows it, and it cannot be read.
    """
    report: Report | None = next(
        (found for found in answers("spnas_report", Report, may_refuse=True, reference=reference) if found is not None),
        None,
    )
    if report is None:
        raise ConfigError(
            f"{reference} is nothing to report on: name the folder of a run (RUN, or RUN:ID for one of its "
            "candidates), of a training or of a comparison"
        )
    sections = list(report.sections)
    for added in answers("spnas_report_sections", tuple, list, folder=report.folder):
        sections += [section for section in added or () if isinstance(section, Section)]
    anchors = [section.anchor for section in sections]
    return replace(
        report, sections=tuple(one for place, one in enumerate(sections) if one.anchor not in anchors[:place])
    )
