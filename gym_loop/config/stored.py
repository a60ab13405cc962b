"""Composing a config that lies in a file or in a run's directory, with overrides."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import OmegaConf

import gym_loop_files
from gym_loop import launch
from gym_loop.config import kept, locate, yaml_files
from gym_loop.literal import literal
from gym_loop.mistake import Mistake, nearest

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
        near = nearest(str(path), (str(f) for f in path.parent.glob("*.y*ml") if f.is_file()))
        raise Mistake(f"cannot read {path}: {error.strerror}{near}") from None
    yaml_files.check_keys(path)
    check_groups(content, str(path))
    if "defaults" in content:  # they would be ignored
        raise Mistake(
            f"{path} has 'defaults', and a run config holds everything itself: expected its keys "
            "written out, wrappers as env.wrappers, or options on the command line"
        )
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
    for group in kept.GROUPS:
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


def compose_with(content: dict[str, Any], overrides: list[str]) -> str:
    """Make `content` a primary config to launch with `overrides`, and return its name.

    A group among the overrides (`agent=`) takes the place of the config's own.
    """
    from gym_loop.config.options import in_memory

    base = OmegaConf.to_container(OmegaConf.load(launch.CONF / "config.yaml"))
    assert isinstance(base, dict)
    given = {_package(word.lstrip("+").split("=")[0]) for word in overrides}
    check_files(content, given)
    words = (word.lstrip("+").partition("=") for word in overrides)
    load_renamed(content, {key: value.strip("'\"") for key, _, value in words})
    chosen = [default for default in base["defaults"] if isinstance(default, dict)]
    groups = {_package(name) for default in chosen for name in default}
    own = {k: v for k, v in kept.completed(content).items() if k not in given & groups}
    if "wrap" in given and isinstance(own.get("env"), dict):
        own["env"].pop("wrappers", None)
    # The config's own sections replace the options that conf/ would choose.
    options = (
        {k: None if _package(k) in own else v for k, v in default.items()}
        if isinstance(default, dict)
        else default
        for default in base["defaults"]
        if default != "_self_"
    )
    in_memory[NAME] = {
        **{"seed": base["seed"], "hydra": base["hydra"], **own},
        "defaults": ["_self_", *options],
    }
    return NAME


def _package(name: str) -> str:
    """Return where an override or a default of that name puts what it chooses."""
    group, _, package = name.partition("@")
    return package or group


def check_files(content: dict[str, Any], given: set[str] | None) -> None:
    """Check that the files of a config's classes exist, except those that an override names.

    Args:
        content: the config.
        given: the keys of the overrides; None for a command that takes none.

    Raises:
        Mistake: one is not; the line says what to do.
    """
    for path, section in kept.sections(content):
        file, _, name = section["_target_"].rpartition(":")
        key = kept.dotted(path)
        if (
            file.endswith(".py")
            and not Path(file).is_file()
            and not {key, f"{key}._target_"} & (given or set())
        ):
            advice = f"say where it is now: {key}._target_=path/to/{Path(file).name}:{name}"
            if given is None:
                advice = "it is looked for where the run was launched, then in the current folder"
            raise Mistake(f"{key}: no file {file}; {advice}")


def load_renamed(content: dict[str, Any], present: dict[str, str]) -> None:
    """Have classes of a file that is gone be unpickled from the file where they are now.

    Args:
        content: the config then.
        present: the classes by the keys of their sections, or of their `_target_`.
    """
    present = {key.removesuffix("._target_"): target for key, target in present.items()}
    for path, section in kept.sections(content):
        file = Path(section["_target_"].rpartition(":")[0])
        now = Path(present.get(kept.dotted(path), "").rpartition(":")[0]).expanduser()
        if file.suffix == now.suffix == ".py" and now.is_file() and not file.is_file():
            with contextlib.suppress(Exception, SystemExit):  # building it will tell what is wrong
                sys.modules[gym_loop_files.module_name(file)] = locate.load_file(str(now))


def quoted(path: Path) -> str:
    """Return an absolute path as a value that Hydra's grammar takes whole."""
    return QuotedString(literal(str(path.absolute())), Quote.single).with_quotes()


def directory(text: str, said: str) -> Path:
    """Return the directory that a config names.

    Args:
        text: the value.
        said: which key has which value, for the message.

    Raises:
        Mistake: it is empty, or begins with a `~` that no shell has replaced.
    """
    if not text:
        raise Mistake(f"{said}; expected a directory")
    if f"{text}/".startswith("~/"):
        raise Mistake(f"{said}; write $HOME{text[1:]}: ~ is not read here")
    return Path(text)


@contextlib.contextmanager
def preparations(*changed: Callable[[Any], None]) -> Iterator[None]:
    """Have the launcher prepare a run with `changed` within the block."""
    before = launch.prepare[:]
    launch.prepare[:] = changed
    try:
        yield
    finally:
        launch.prepare[:] = before
