"""Settings mean the same in every folder."""

import pytest

from spnas_core.configuration import validate
from spnas_detect.jobs import TrainSettings
from spnas_detect.settings import DetectionSettings


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "voc [1]").mkdir()
    (tmp_path / "here" / "w.safetensors").touch()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("typed", ["../voc [1]", "~/voc [1]", "./../here/../voc [1]/"])
def test_the_path_of_data_that_exists_is_stored_absolute(here, typed):
    assert DetectionSettings(data=f"voc:{typed}").data == f"voc:{here / 'voc [1]'}"
    assert validate(TrainSettings, {"architecture": "b_11", "data": f"voc:{typed}"}).data == f"voc:{here / 'voc [1]'}"


@pytest.mark.parametrize(
    "typed", ["shapes", "voc:nowhere", "voc:", "voc:~nobody/x", f"voc:{'x' * 300}", "voc:a\0b", "voc:~/nowhere"]
)
def test_what_does_not_exist_stays_as_typed(here, typed):
    assert DetectionSettings(data=typed).data == typed


def test_a_link_stays_a_link(here):
    (here / "link").symlink_to(here / "voc [1]")
    assert DetectionSettings(data=f"voc:{here}/link").data == f"voc:{here}/link"


@pytest.mark.parametrize("prefix", ["", "torchvision:"])
def test_weights_to_start_from_are_stored_absolute(here, prefix):
    def init(file):
        return TrainSettings(architecture="b_11", init=file).init

    assert init(f"{prefix}w.safetensors") == f"{prefix}{here}/here/w.safetensors"
    assert init(f"{prefix}~/here/w.safetensors") == f"{prefix}{here}/here/w.safetensors"
    assert init(f"{prefix}none.pth") == f"{prefix}none.pth"
    assert TrainSettings(architecture="b_11").init is None


def test_the_configuration_has_the_absolute_path(here):
    settings = TrainSettings(architecture="b_11", data="voc:../voc [1]", init="w.safetensors")
    assert settings.as_dict()["data"] == f"voc:{here / 'voc [1]'}"
    assert TrainSettings.model_validate(settings.as_dict()) == settings
