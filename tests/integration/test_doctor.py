"""``spnas doctor``: every part of the machine, and what to do about it."""

import json
import os
import shutil

from click.testing import CliRunner

from spnas_search.cli.main import commands


def spnas(*arguments):
    return CliRunner().invoke(commands, list(map(str, arguments)))


def lines(*arguments):
    return [json.loads(line) for line in spnas(*arguments, "--json").stdout.splitlines()]


def test_the_doctor_names_every_part_and_what_to_do(monkeypatch, tmp_path, install):
    found = lines("doctor", "--out", tmp_path)
    parts = [one["part"] for one in found]
    assert list(dict.fromkeys(parts)) == [
        "python", "torch", "torchvision", "spnas", "kernels", "devices", "memory", "plugins", "space",
    ]  # fmt: skip
    assert not [one for one in found if one["state"] == "error"]
    assert all(one["remedy"] for one in found if one["state"] != "ok")
    install("half", "import a_module_that_is_not_there\n")
    monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    out = tmp_path / "runs"
    out.mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode, **_: str(path) != str(out) or mode != os.W_OK)
    told = {(one["part"], one["state"]): one for one in lines("doctor", "--out", out)}
    assert "uninstall spnas-half" in told["plugins", "warning"]["remedy"]
    assert told["space", "error"]["remedy"] == "choose another --out"
    assert "make room" in told["space", "warning"]["remedy"]
    assert spnas("doctor", "--out", out).exit_code == 1


def test_the_doctor_tells_of_each_native_library(monkeypatch):
    from spnas_kernels import _library

    problem = "it has no matching module (fatal error: Python.h: No such file or directory)"
    monkeypatch.setattr(_library, "problems", {"_matching": problem})
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    told = {one["found"].partition(":")[0]: one for one in lines("doctor") if one["part"] == "kernels"}
    assert {name: one["state"] for name, one in told.items()} == {
        "operators on the CPU": "ok", "matching for metrics": "warning", "operators on CUDA": "ok",
    }  # fmt: skip
    assert problem in told["matching for metrics"]["found"]
    assert told["matching for metrics"]["remedy"] == _library.BUILD_COMMAND


def test_a_part_that_breaks_hides_no_other(monkeypatch):
    def broken():
        raise RuntimeError("no licence")

    monkeypatch.setattr("spnas_search.diagnosis._torch", broken)
    told = {one["part"]: one for one in lines("doctor")}
    assert (told["torch"]["state"], told["torch"]["found"]) == ("error", "RuntimeError: no licence")
    assert told["space"]["state"] == "ok"
