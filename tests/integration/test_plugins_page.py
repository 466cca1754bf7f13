"""The page of plugins has every hook, with its signature and a module that works."""

import ast
import inspect
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from spnas_core import Architecture, build_backbone, hookspecs
from spnas_core.errors import ConfigError
from spnas_core.morphisms import identity
from spnas_core.plugins import broken_plugins, notify, plugin_manager, registry
from spnas_core.testing import check_plugin
from spnas_detect.detectors import DetectorSettings
from spnas_search.archive import RunLock

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### (spnas_\w+)\n(.*?)(?=^##|\Z)", PAGE, re.DOTALL | re.MULTILINE))
HOOKS = {node.name: node for node in ast.parse(inspect.getsource(hookspecs)).body if isinstance(node, ast.FunctionDef)}


def modules(section):
    return re.findall(r"```python\n(.*?)```", SECTIONS[section], re.DOTALL)


def test_every_hook_has_a_section_and_no_other():
    assert list(SECTIONS) != []
    assert set(SECTIONS) == set(HOOKS)


@pytest.mark.parametrize("hook", HOOKS)
def test_signatures_are_those_of_the_hooks(hook):
    node = HOOKS[hook]
    signature = f"{hook}({ast.unparse(node.args)}) -> {ast.unparse(node.returns)}"
    assert f"```text\n{signature}\n```" in SECTIONS[hook]


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_is_implemented_by_a_module_of_its_section_or_of_the_next(hook):
    following = "".join(PAGE.partition(f"### {hook}\n")[2])
    module = re.search(r"```python\n(.*?)```", following, re.DOTALL)
    assert f"def {hook}(" in module[1]


@pytest.fixture
def plugin(install, tmp_path):
    """Install the module of a hook's section."""

    def installed(hook):
        (module,) = modules(hook)
        install("page", module)
        return module

    (tmp_path / "my_package" / "presets").mkdir(parents=True)
    (tmp_path / "my_package" / "__init__.py").touch()
    (tmp_path / "my_package" / "slow.py").write_text("import click\n\n\n@click.command()\ndef command():\n    pass\n")
    preset = 'summary = "what it is for"\nmachine = "any"\n[search]\nwarm_start_epochs = 3\n'
    (tmp_path / "my_package" / "presets" / "lab.toml").write_text(preset)
    return installed


SUITES = sorted(registry("contracts").items)


@pytest.mark.parametrize("noun", SUITES)
def test_what_has_a_suite_keeps_it(plugin, noun):
    plugin(f"spnas_register_{noun}")
    (checked,) = check_plugin("page")
    assert (checked.noun, checked.broken, checked.untested) == (noun, (), "")
    assert checked.kept >= 3


def test_the_stem_begins_networks(plugin):
    plugin("spnas_register_stems")
    backbone = build_backbone(Architecture.parse("b@8+wide_1-1"))
    assert [level.shape[-1] for level in backbone(torch.zeros(1, 3, 64, 64)).values()] == [16, 8]


def test_the_screen_is_taken_by_a_search(plugin, tmp_path):
    import spnas_search

    plugin("spnas_register_screens")
    settings = {"task": "null", "executor": {"name": "inline"}, "budget": 4, "screen": {"name": "cheap", "draws": 3}}
    with spnas_search.search(**settings, out=tmp_path / "run") as run:
        assert all(child.preference < 0 for child in run.archive.of_kind("child"))


@pytest.mark.parametrize(("noun", "setting"), [("necks", "neck"), ("detectors", "detector")])
def test_neck_and_detector_are_built_and_compute(plugin, noun, setting):
    from spnas_detect.data import pad_targets
    from spnas_detect.detectors import build_detector

    plugin(f"spnas_register_{noun}")
    name = next(name for name, owner in registry(noun).plugins.items() if owner == "page")
    settings = DetectorSettings(**{setting: name})
    rewrite, generator = identity(Architecture.parse("b@8_1-1")), torch.Generator().manual_seed(0)
    detector = build_detector(rewrite, 2, settings, {}, generator=generator)[0]
    targets = pad_targets([{"boxes": torch.tensor([[4.0, 4, 20, 20]]), "labels": torch.tensor([1])}], [(64, 64)])
    losses = detector.train().losses(torch.rand(1, 3, 64, 64), targets)
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_the_metric_counts(plugin):
    plugin("spnas_register_metrics")
    metric = registry("metrics").get("missed").build(["dot"])
    found = {"boxes": torch.tensor([[0.0, 0, 9, 9]]), "scores": torch.tensor([0.9]), "labels": torch.tensor([1])}
    objects = torch.tensor([[0.0, 0, 9, 10], [20, 20, 30, 30], [50, 50, 60, 60], [0, 0, 9, 9]])
    wanted = {"boxes": objects, "labels": torch.ones(4, dtype=torch.int64), "ignore": torch.tensor([0, 0, 0, 1]).bool()}
    metric.process([found], [wanted])
    assert metric.evaluate() == {"missed": pytest.approx(2 / 3)}


def test_no_page_tells_to_import_what_is_private():
    for page in (*ROOT.glob("docs/**/*.md"), ROOT / "README.md", *ROOT.glob("packages/*/README.md")):
        imported = re.findall(r"^\s*(?:from|import) (spnas_[\w.]+)(?: import (.*))?$", page.read_text(), re.MULTILINE)
        private = [(module, names) for module, names in imported if re.search(r"(^|[. ,])_", f"{module} {names}")]
        assert not private, page


def test_the_exporter_writes_what_computes_the_same(plugin, tmp_path):
    from spnas_core.exporting import export_network, exportable_backbone

    plugin("spnas_register_exporters")
    network = exportable_backbone(build_backbone("b@8_1-1"), (64, 64))
    (file,) = export_network("pickle", network, tmp_path, "net")
    assert file.name == "net.pt"


def test_the_preset_is_a_runs(plugin):
    plugin("spnas_register_presets")
    assert registry("presets").get("lab").table("search") == {"warm_start_epochs": 3}


def test_the_commands_are_listed_and_run(plugin):
    from click.testing import CliRunner

    from spnas_search.cli.main import commands

    plugin("spnas_register_commands")
    listed = CliRunner().invoke(commands, ["--help"]).output
    assert "Say hello." in listed
    assert "What takes long to import." in listed
    assert CliRunner().invoke(commands, ["hello"]).output == "hello\n"
    assert CliRunner().invoke(commands, ["slow"]).exit_code == 0


def test_a_suite_for_a_kind_that_has_none_is_run(plugin, install, tmp_path):
    plugin("spnas_register_contracts")
    preset = tmp_path / "my_package" / "presets" / "lab.toml"
    install(
        "lab",
        f"""
        from pathlib import Path
        from spnas_core import hookimpl
        from spnas_core.presets import Preset

        @hookimpl
        def spnas_register_presets(register):
            register("lab", Preset("lab", Path({str(preset)!r})))
    """,
    )
    assert [(one.noun, one.name, one.kept, one.broken) for one in check_plugin("lab")] == [("presets", "lab", 1, ())]
    preset.write_text('summary = "what it is for"\n[search]\nwarm_start_epochs = 3\n')
    (checked,) = check_plugin("lab")
    assert [(one.test, one.expected) for one in checked.broken] == [
        ("test_it_says_what_machine_it_wants", "Listings show it.")
    ]


def test_the_reference_is_resolved(plugin):
    plugin("spnas_resolve_candidate")
    hook = plugin_manager().hook.spnas_resolve_candidate
    assert hook(reference="ours:best").architecture == "b@8_11-21-21-21"
    assert hook(reference="nowhere") is None


def test_the_folder_is_reported_on(plugin, tmp_path):
    from spnas_core.pages import render_page, report_on

    plugin("spnas_report")
    (tmp_path / "dots.csv").write_text("<one>,1,2\ntwo,3,4\n")
    found = report_on(str(tmp_path))
    assert found.status == "2 dots."
    assert "&lt;one&gt;</th>" in render_page(found, written="now")


def test_the_sections_are_added(plugin, tmp_path):
    from spnas_core.pages import report_on

    plugin("spnas_report_sections")
    with pytest.raises(ConfigError, match="nothing to report on"):
        report_on(str(tmp_path))
    (tmp_path / "run.toml").touch()
    with RunLock(tmp_path):  # a run whose data is being read
        assert [one.anchor for one in report_on(str(tmp_path)).sections] == []
        (tmp_path / "notes.txt").write_text("mind the <gap>")
        (notes,) = report_on(str(tmp_path)).sections
    assert notes.body == '<p class="">mind the &lt;gap&gt;</p>'


def test_the_listener_hears_a_run(plugin, capsys):
    plugin("spnas_run_finished")
    run = SimpleNamespace(folder=SimpleNamespace(path="runs/x"), archive=[1, 2])
    notify("spnas_run_started", run=run)
    notify("spnas_candidate_finished", run=run, candidate=SimpleNamespace(architecture="b_1-1", status="done"))
    notify("spnas_run_finished", run=run)
    assert capsys.readouterr().out.splitlines() == ["a search in runs/x", "b_1-1: done", "2 evaluations"]
    assert not broken_plugins()
