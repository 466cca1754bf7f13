"""Exported backbones compute what the module computes; what a format cannot express is named."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from spnas_core import Architecture, build_backbone
from spnas_core.errors import ExportError, PluginError
from spnas_core.exporting import Exportable, export_network, exportable_backbone, exporter_plugin, largest_difference
from spnas_core.exporting.onnx import run_onnx
from spnas_core.exporting.source import plain_tensors
from spnas_core.testing import random_architecture, uneven_backbone

SIZE = (64, 48)
SEED = 13
ROWS = ("b@8_11-21-21_0-1-2", "r@4+deep_1-21-1_1-0-2s", "x32x4d@16_1-2_2-1s")
KINDS = ("d@8_11-2", "m6k5s@8_11-21-1_1-0-1s", "m1k3@8+deep_1-2", "g8s@16_11-21_0-2")


def codes(count):
    rng = np.random.default_rng(SEED)
    drawn = [random_architecture(rng) for _ in range(count - len(ROWS) - len(KINDS))]
    return [*ROWS, *KINDS, *map(str, drawn)]


def export(form, code, folder, batch=2):
    backbone = uneven_backbone(Architecture.parse(code), SEED)
    network = exportable_backbone(backbone, SIZE, batch)
    return network, export_network(form, network, folder, "net")


def test_twenty_codes_as_source(tmp_path):
    for code in codes(20):
        network, (source, weights) = export("source", code, tmp_path)
        text = source.read_text()
        assert "spnas" not in text.replace("spnas_export", "")
        compile(text, str(source), "exec")
        expected = network.expected()
        assert any(level.abs().max() > 0 for level in expected)
        assert set(load_file(weights)) == set(plain_tensors(network.module.backbone))


def test_the_source_runs_where_there_is_no_spnas(tmp_path):
    network, _ = export("source", ROWS[1], tmp_path)
    torch.save(network.images, tmp_path / "images.pt")
    code = (
        "import sys\nfor name in list(sys.modules):\n    assert not name.startswith('spnas')\n"
        "sys.meta_path.insert(0, type('No', (), {'find_spec': staticmethod(lambda name, *_: "
        "(_ for _ in ()).throw(ImportError(name)) if name.startswith('spnas') else None)}))\n"
        "import torch, net\nfound = net.load('net.safetensors')(torch.load('images.pt'))\n"
        "torch.save(list(found.values()), 'found.pt')\nprint(list(found), net.LEVELS)"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    for here, there in zip(network.expected(), torch.load(tmp_path / "found.pt"), strict=True):
        assert (here - there).abs().max() <= 1e-4 * here.abs().max()
    assert ended.stdout.startswith(str(list(network.outputs)))


@pytest.mark.parametrize("form", ["onnx", "torch-export"])
@pytest.mark.parametrize("code", [*ROWS[:2], KINDS[1]])
def test_other_frameworks_compute_the_same_for_any_number_of_images(tmp_path, form, code):
    network, (file,) = export(form, code, tmp_path, batch=1)
    images = torch.randn(3, 3, SIZE[1], SIZE[0], generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = network.module(images)
        found = run_onnx(file, images) if form == "onnx" else torch.export.load(file).module()(images)
    for here, there in zip(expected, found, strict=True):
        assert (here - there).abs().max() <= 1e-4 * here.abs().max()


@pytest.mark.slow
@pytest.mark.parametrize("code", codes(20))
def test_twenty_codes_as_onnx(tmp_path, code):
    export("onnx", code, tmp_path)


def test_a_file_that_computes_something_else_is_seen(tmp_path, monkeypatch):
    backbone = uneven_backbone(Architecture.parse("b@8_1-1"), SEED)
    network = exportable_backbone(backbone, SIZE)

    def spoilt(tensors, file):
        name = "blocks.0.conv1.weight"
        save_file({**tensors, name: tensors[name] * 1.01}, file)

    monkeypatch.setattr("safetensors.torch.save_file", spoilt)
    with pytest.raises(ExportError, match=r"the outputs of net.py differ by .*, more than 0.0001"):
        exporter_plugin("source").export(network, tmp_path, "net")


def test_a_norm_that_the_source_has_not_is_named(tmp_path):
    backbone = build_backbone("b@8_1-1")
    backbone.blocks[0].bn1 = torch.nn.GroupNorm(2, 8)
    with pytest.raises(ExportError, match=r"blocks.0.bn1 is a GroupNorm, and the source has batch norm: export it to"):
        exporter_plugin("source").export(exportable_backbone(backbone, SIZE), tmp_path, "net")


class Plain(torch.nn.Module):
    """A block of a plugin's own."""

    def forward(self, x):
        return x


def test_a_block_of_other_code_is_named(tmp_path):
    backbone = build_backbone("b@8_1-1")
    backbone.blocks[0] = Plain()
    with pytest.raises(ExportError, match="the block type 'b' has code of its plugin's own: export it to onnx"):
        exporter_plugin("source").export(exportable_backbone(backbone, SIZE), tmp_path, "net")


class Odd(torch.nn.Module):
    """Computes what no ONNX operator does."""

    def forward(self, x):
        return torch.special.airy_ai(x)


def test_an_operator_that_onnx_has_not_is_named(tmp_path):
    backbone = build_backbone("b@8_1-1")
    backbone.blocks[0] = Odd()
    with pytest.raises(ExportError, match=r"backbone b@8_1-1 cannot be written as ONNX: .*airy_ai"):
        exporter_plugin("onnx").export(exportable_backbone(backbone, SIZE), tmp_path, "net")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime", "onnxscript"])
def test_what_onnx_needs_is_named_with_the_line_to_type(tmp_path, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    network = exportable_backbone(build_backbone("b@8_1-1"), SIZE)
    with pytest.raises(ExportError, match=f"needs {missing}: python3 -m pip install onnx onnxruntime onnxscript"):
        exporter_plugin("onnx").export(network, tmp_path, "net")


def test_what_source_needs_is_named_with_the_line_to_type(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    network = exportable_backbone(build_backbone("b@8_1-1"), SIZE)
    with pytest.raises(ExportError, match=r"needs safetensors.torch: python3 -m pip install 'spnas-core\[export\]'"):
        exporter_plugin("source").export(network, tmp_path, "net")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_format_suggests_the_nearest():
    with pytest.raises(PluginError, match="'onx' is not among the registered exporters; did you mean 'onnx'"):
        exporter_plugin("onx")


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_what_is_finite_on_one_side_alone_differs_infinitely(odd):
    plain, spoilt = torch.ones(3), torch.tensor([1.0, odd, 1.0])
    assert largest_difference([plain], [spoilt]) == np.inf
    assert largest_difference([spoilt], [plain]) == np.inf
    assert largest_difference([plain, plain], [spoilt, plain]) == np.inf
    assert largest_difference([spoilt], [-spoilt]) > 1e-4
    assert largest_difference([spoilt], [spoilt]) == 0.0
    assert largest_difference([spoilt], [spoilt * torch.tensor([1.0, 1.0, 1.5])]) == pytest.approx(0.5)


def test_differences_are_relative_to_the_largest_of_each_output():
    outputs = [torch.tensor([2.0, -4.0]), torch.zeros(0), torch.tensor([3, 5])]
    assert largest_difference(outputs, [torch.tensor([2.0, -5.0]), torch.zeros(0), torch.tensor([3, 6])]) == 0.25
    assert largest_difference([], []) == 0.0


class Scaled(torch.nn.Module):
    """Gives its images, and their sum, times a weight."""

    def __init__(self, weight=1.0):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(weight))

    def forward(self, images):
        return images * self.weight, (images * self.weight).sum((1, 2, 3))


def scaled(weight=1.0, image=1.0):
    return Exportable(Scaled(weight), torch.full((1, 3, 4, 4), image), ("images", "sum"), "a scale")


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (None, "it gives no tuple of tensors: it must give images, sum"),
        (torch.ones(2, 3), "it gives no tuple of tensors"),
        ((np.ones(3), np.ones(1)), "it gives no tuple of tensors"),
        ((torch.ones(1, 3, 4, 4),), "it gives 1 output and not 2: images, sum"),
        ([torch.ones(1)] * 3, "it gives 3 outputs and not 2"),
        ((torch.ones(1, 3, 4, 4), torch.ones(2)), r"it gives sum of \(2,\) and not \(1,\)"),
        ((torch.ones(1, 3, 4, 4), torch.tensor([np.nan])), "the outputs of it differ by inf"),
    ],
)
def test_what_an_exported_network_gives_is_compared_whatever_it_is(found, message):
    with pytest.raises(ExportError, match=message):
        scaled().check(found, "it")
    assert scaled().check((torch.ones(1, 3, 4, 4), torch.tensor([48.0])), "it") == 0.0


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (scaled(weight=float("nan")), "a scale has NaN or infinity in weight: its training has diverged"),
        (scaled(image=3e38), "a scale has NaN or infinity in sum"),
    ],
)
def test_a_network_that_is_not_finite_itself_is_refused_and_nothing_is_written(tmp_path, network, message):
    with pytest.raises(ExportError, match=message):
        export_network("torch-export", network, tmp_path, "net")
    assert list(tmp_path.iterdir()) == []


GIVES = """
    from pathlib import Path

    from spnas_core import hookimpl
    from spnas_core.exporting import ExporterPlugin

    def export(network, folder, name):
        Path(folder, "net.txt").touch()
        {statement}

    @hookimpl
    def spnas_register_exporters(register):
        register("odd", ExporterPlugin("gives what it is told to", export))
"""


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("pass", "returned None from export: it must return the files in "),
        ("return ()", r"returned \(\) from export"),
        ("return folder / 'net.txt'", "returned PosixPath"),
        ("return (str(folder / 'net.txt'),)", r"returned \('"),
        ("return (folder / 'other.txt',)", r"returned \(PosixPath"),
        ("return (folder,)", r"returned \(PosixPath"),
        ("return (folder.parent,)", r"returned \(PosixPath"),
        ("raise SystemExit(3)", "raised SystemExit: 3 in export"),
        ("network.check(network.expected()[:1], name)", "net gives 1 output and not 2"),
    ],
)
def test_what_a_plugins_exporter_gives_is_held_to_the_contract(install, tmp_path, statement, message):
    install("odd", GIVES.format(statement=statement))
    with pytest.raises((PluginError, ExportError), match=message) as refused:
        export_network("odd", scaled(), tmp_path, "net")
    named = "exporter 'odd' of plugin 'odd' (spnas-odd)"
    assert isinstance(refused.value, ExportError) or str(refused.value).startswith(named)


def test_the_files_of_a_plugins_exporter_may_be_a_list(install, tmp_path):
    install("odd", GIVES.format(statement="return [folder / 'net.txt']"))
    assert export_network("odd", scaled(), tmp_path, "net") == (tmp_path / "net.txt",)
