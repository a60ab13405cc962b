"""Which parser reads a config file, and that both read the same."""

from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf, _utils

from gym_loop import launch
from gym_loop.compat import hydra
from gym_loop.compat.omegaconf import parsing_in_c

if not hasattr(_utils, "get_yaml_loader"):
    pytest.skip("this OmegaConf has a parser in C itself", allow_module_level=True)

FOLDERS = (launch.CONF, hydra.CONF)
FILES = sorted(file for folder in FOLDERS for file in folder.rglob("*.yaml"))


@pytest.fixture
def scanned(monkeypatch):
    """What the parser in Python has begun to read."""
    found = []
    scan = yaml.scanner.Scanner.__init__
    monkeypatch.setattr(
        yaml.scanner.Scanner, "__init__", lambda self: (found.append(self.name), scan(self))[1]
    )
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_the_parser_in_c_reads_a_packages_file_as_the_one_in_python_does(file, scanned):
    in_python = OmegaConf.to_container(OmegaConf.load(file))
    assert scanned == [str(file)]
    with parsing_in_c(FOLDERS):
        assert OmegaConf.to_container(OmegaConf.load(file)) == in_python
    assert scanned == [str(file)]


def test_the_parser_in_python_reads_a_users_file(tmp_path, scanned):
    file = Path(tmp_path, "mine.yaml")
    file.write_text("a: 1e-3\n")
    with parsing_in_c(FOLDERS):
        assert OmegaConf.load(file) == {"a": 0.001}
    assert scanned == [str(file)]
