"""Help fits a screen and shows how a command is used."""

import importlib
from pathlib import Path

import click
import pytest

from gym_loop import commands
from gym_loop.commands import help as overview

FILES = sorted(Path(commands.__file__).parent.glob("[a-z]*.py"))
CLICK = {
    each.name: each
    for file in FILES
    for each in vars(importlib.import_module(f"gym_loop.commands.{file.stem}")).values()
    if isinstance(each, click.Command) and each.name == file.stem.replace("_", "-")
}


@pytest.mark.parametrize("name", CLICK)
def test_a_commands_help_fits_a_screen_and_shows_an_example(name):
    context = click.Context(CLICK[name], info_name=f"gym-loop {name}", terminal_width=80)
    text = CLICK[name].get_help(context)
    lines = text.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80
    assert f"gym-loop {name} " in text.partition("Example")[2]


def test_every_command_but_help_is_tried():
    assert CLICK.keys() == {file.stem.replace("_", "-") for file in FILES} - {"help"}


def test_the_users_own_options_come_first(tmp_path, monkeypatch):
    (tmp_path / "conf/experiment").mkdir(parents=True)
    (tmp_path / "conf/experiment/zebra.yaml").touch()
    (tmp_path / "conf/experiment/ars_cartpole.yaml").touch()
    monkeypatch.chdir(tmp_path)
    names = overview.groups()["experiment"]
    assert names[:2] == ["ars_cartpole", "zebra"] and names.count("ars_cartpole") == 1


def test_the_overview_fits_a_screen(capsys):
    overview.main([])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 48
    experiment = "".join(lines).partition("experiment=")[2].split()
    assert "..." in experiment[:20]  # of a long group, the first are named
    assert all(any(line.startswith(f"  {name} ") for line in lines) for name in CLICK)
