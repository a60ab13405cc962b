"""Composing a config that lies in a file or in a run's directory, with overrides."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from gym_loop import launch
from gym_loop.mistake import Mistake, nearest
from gym_loop.runs import manifest, yaml_files

GROUPS = ("agent", "env", "loop")
NAME = "run"  # of the config in memory
loaded: list[Path] = []  # the run config file, if any: where values come from


def load_file(path: Path) -> dict[str, Any]:
    """Return the run config in a YAML file, read as Hydra reads those in conf/.

    Raises:
        Mistake: it cannot be read, or is not a run config.
    """
    try:
        content: Any = OmegaConf.to_container(OmegaConf.load(path)) or None
    except Exception as error:
        if not isinstance(error, OSError) or error.strerror is None:
            raise Mistake(yaml_files.problem(error, path)) from None
        near = nearest(str(path), (str(file) for file in path.parent.glob("*.y*ml")))
        raise Mistake(f"cannot read {path}: {error.strerror}{near}") from None
    check_groups(content, str(path))
    loop = content["loop"]
    if loop.get("max_steps") or loop.get("max_time"):  # of limits, those that are listed hold
        loop.setdefault("max_episodes", None)
    loaded[:] = [path]
    return dict(content)


def check_groups(content: Any, where: str) -> None:
    """Check that `content` has an agent, an env and a loop, each with its class.

    Raises:
        Mistake: it has not; the line begins with `where`.
    """
    if not isinstance(content, dict):
        kind = "nothing" if content is None else f"a {type(content).__name__}"
        raise Mistake(f"{where} holds {kind}; expected a mapping with agent, env and loop")
    for group in GROUPS:
        section = content.get(group)
        if section is None:
            near = nearest(group, map(str, content))
            raise Mistake(f"{where} has no {group!r}{near or '; expected agent, env and loop'}")
        target = section.get("_target_") if isinstance(section, dict) else None
        if target is None:
            old = isinstance(section, dict) and ("class" in section or "name" in section)
            hint = "a run config of an older version; " if old else ""
            raise Mistake(
                f"{where}: {group} has no _target_: {hint}expected `_target_: "
                f"package.module.Class` and its parameters beside it "
                f"(`gym-loop create-default --run-config FILE` writes one)"
            )
        if not isinstance(target, str):
            raise Mistake(f"{where}: {group}._target_ is {target!r}; expected a class's name")


def load_run(directory: Path) -> dict[str, Any]:
    """Return the content of a run's run.json.

    Raises:
        Mistake: there is no run in `directory`.
    """
    known = manifest.read(directory)
    if known is None or not isinstance(known.get("config"), dict):
        where = "no such directory" if not directory.exists() else f"no readable {manifest.NAME}"
        raise Mistake(
            f"{directory} is not a run: {where} in it"
            if directory.exists()
            else f"{directory} is not a run: {where}"
        )
    check_groups(known["config"], f"config in {directory / manifest.NAME}")
    return known


def compose_with(config: dict[str, Any], overrides: list[str]) -> str:
    """Make `config` a primary config to launch with `overrides`, and return its name.

    `agent=`, `env=` and `loop=` among the overrides take the place of the config's own.
    """
    from gym_loop.sweeps.sources import default_parameters, in_memory, load_class

    base = OmegaConf.to_container(OmegaConf.load(launch.CONF / "config.yaml"))
    assert isinstance(base, dict)
    given = {word.split("=")[0] for word in overrides}
    content: dict[str, Any] = {"seed": base["seed"], "hydra": base["hydra"]}
    for name, section in config.items():
        if name in GROUPS and name not in given:
            known = default_parameters(load_class(section["_target_"], name))
            section = {**known, **section}
        if name not in given or name not in (*GROUPS, "observers"):
            content[name] = section
    # What the config itself says stands in for the option that conf/ would choose.
    others = (default for default in base["defaults"] if default != "_self_")
    defaults: list[Any] = ["_self_"]
    for default in others:
        chosen = isinstance(default, dict)
        defaults.append(
            {k: None if k in content else v for k, v in default.items()} if chosen else default
        )
    in_memory[NAME] = content | {"defaults": defaults}
    return NAME


def quoted(path: Path) -> str:
    """Return an absolute path as a value that Hydra's grammar takes whole."""
    return "'" + str(path.absolute()).replace("\\", "\\\\").replace("'", "\\'") + "'"


@contextlib.contextmanager
def preparations(*changed: Callable[[Any], None]) -> Iterator[None]:
    """Have the launcher prepare a run with `changed` within the block."""
    before = launch.prepare[:]
    launch.prepare[:] = changed
    try:
        yield
    finally:
        launch.prepare[:] = before
