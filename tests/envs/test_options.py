"""The options of `conf/env`."""

import pkgutil
from pathlib import Path

import pytest
import yaml

OPTIONS = {
    path.stem: yaml.safe_load(path.read_text())
    for path in sorted((Path(__file__).parents[2] / "conf" / "env").glob("*.yaml"))
}
VECTOR = {"gym_vector", "gymnasium_vector", "envpool"}
OPEN = {"gym", "gymnasium", *VECTOR}  # their id is for the user to give


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_has_the_same_keys(name):
    keys = ["_target_", "id", "kwargs", "imports"]
    assert [key for key in OPTIONS[name] if name not in VECTOR or key in keys] == keys
    assert OPTIONS[name]["kwargs"] == {}
    assert OPTIONS[name]["imports"] == []


@pytest.mark.parametrize("name", sorted(set(OPTIONS) - OPEN))
def test_every_option_makes_the_environment_it_names(name):
    option = dict(OPTIONS[name])
    make, id = pkgutil.resolve_name(option.pop("_target_")), option["id"]
    env = make(**option)
    assert env.spec.id == id
    assert name.replace("_", "") == id.partition("-v")[0].lower()


@pytest.mark.parametrize("name", sorted(OPEN))
def test_the_open_options_leave_the_id_to_the_user(name):
    assert OPTIONS[name]["id"] == "???"
    assert pkgutil.resolve_name(OPTIONS[name]["_target_"]).__name__ == f"make_{name}"
