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


def test_the_overview_fits_80_columns(capsys):
    overview.main([])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert all(any(line.startswith(f"  {name} ") for line in lines) for name in CLICK)
