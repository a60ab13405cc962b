"""From the command line to a run: compose the config, build agent, env and loop, run the loop.

Parts hang themselves on here: a package with a `plugin.py` is imported before anything is
composed, and adds to `prepare` and `explain`.
"""

import copy
import functools
import hashlib
import importlib
import importlib.util
import logging
import os
import sys
import traceback
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.callbacks import Callbacks
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import run_job
from hydra.errors import HydraException, InstantiationException
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gym_loop.loops.streams import seed_all

PACKAGE = Path(__file__).parent
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"
# `version_base` is what tells Hydra 1.3 to behave like itself; 1.4 warns about it.
VERSION_BASE = {"version_base": "1.3"} if hydra.__version__ < "1.4" else {}

# Called with each composed config before anything is created: may change it, or raise Mistake.
prepare: list[Callable[[DictConfig], None]] = []
# Called with an exception: returns the one line that names the mistake, or None.
explain: list[Callable[[Exception], str | None]] = []

FULL_ERROR = os.environ.get("GYM_LOOP_FULL_ERROR", os.environ.get("HYDRA_FULL_ERROR")) == "1"

log = logging.getLogger("gym_loop")


def launch(
    argv: list[str], config_name: str = "config", task: Callable[[DictConfig], Any] | None = None
) -> Any:
    """Compose the config from `argv` and run `task` on it; or do what Hydra's own flags ask for.

    Returns what the task returned.
    """
    for plugin in sorted(PACKAGE.glob("*/plugin.py")):
        importlib.import_module(f"gym_loop.{plugin.parent.name}.plugin")
    # The arguments that an environment's own constructor takes are not known to any config.
    argv = [f"++{word}" if word.startswith("env.kwargs.") else word for word in argv]
    args = get_args_parser().parse_args(argv)
    task = task or run
    if args.multirun or args.cfg or args.info or args.shell_completion or args.hydra_help:
        # Errors are to reach `report`, not Hydra's own printer.
        os.environ.update(GYM_LOOP_FULL_ERROR=str(int(FULL_ERROR)), HYDRA_FULL_ERROR="1")
        sys.argv = ["gym-loop", *argv]
        return hydra.main(config_path=str(CONF), config_name=config_name, **VERSION_BASE)(task)()
    with hydra.initialize_config_dir(str(CONF), job_name="gym_loop", **VERSION_BASE):
        if args.config_dir:
            args.overrides.append(f"hydra.searchpath=[{Path(args.config_dir).resolve()}]")
        name = args.config_name or config_name
        cfg = hydra.compose(name, args.overrides, return_hydra_config=True)
        cfg.hydra.mode = RunMode.RUN
        HydraConfig.instance().set_config(cfg)
        for preparation in prepare:
            preparation(cfg)
        loader = GlobalHydra.instance().config_loader()
        context = HydraContext(config_loader=loader, callbacks=Callbacks(cfg))
        return run_job(task, cfg, "hydra.run.dir", None, context).return_value


def run(cfg: DictConfig, evaluate: bool = False) -> float | None:
    """Build what `cfg` names, train (not with `evaluate`), evaluate; return the mean return."""
    directory = Path(HydraConfig.get().runtime.output_dir)
    observers = {name: instantiate(node) for name, node in cfg.observers.items() if node}
    error: BaseException | None = None
    try:
        for observer in observers.values():
            observer.open(cfg, directory)
        loop = build(cfg, directory, observers)
        loop.begin()
        if not evaluate:
            loop.train()
        if not loop.stop:
            returns = [episode.ret for episode in loop.evaluate() or ()]
            loop.result = sum(returns) / len(returns) if returns else None
        loop.close()
    except BaseException as failure:
        error = failure
        if isinstance(failure, Exception):
            log.error(user_traceback(failure))
            failure.reported = True  # type: ignore[attr-defined]
        raise
    finally:
        for observer in reversed(observers.values()):
            observer.close(error)
    if loop.exit_code:
        raise SystemExit(loop.exit_code)
    result: float | None = loop.result
    return result


def build(cfg: DictConfig, directory: Path, observers: dict[str, Any]) -> Any:
    """Return the loop of `cfg`, around its agent and its environment, every stream seeded."""
    for module in cfg.env.get("imports") or ():
        importlib.import_module(module)
    make_env, make_agent, make_loop = (
        instantiate(node, partial=True) for node in (cfg.env, cfg.agent, cfg.loop)
    )
    seed_all(cfg.seed)  # after the imports: one of them may have brought torch
    kind, parameters = make_loop.func, {**make_loop.func.get_default_parameters(), **cfg.loop}
    env = kind.make_env(make_env, parameters, "train")
    spaces = copy.deepcopy(kind.spaces(env))  # the agent's own: its stream is not the env's
    for space in spaces:
        space.seed(cfg.seed)
    agent = make_agent(observation_space=spaces[0], action_space=spaces[1])
    return make_loop(
        agent,
        env,
        make_eval_env=lambda: kind.make_env(make_env, parameters, "eval"),
        observers=observers,
        seed=cfg.seed,
        directory=directory,
    )


def instantiate(node: DictConfig, partial: bool = False) -> Any:
    """Build what `node` describes: the only call of Hydra's `instantiate`."""
    content: Any = OmegaConf.to_container(node, resolve=True)
    content.pop("imports", None)
    target = locate(content["_target_"])
    content["_target_"] = f"{target.__module__}.{target.__qualname__}"
    return hydra.utils.instantiate(content, _partial_=partial, _convert_="all")


def locate(target: str) -> Any:
    """Return what `package.module.Name`, `package.module:Name` or `path/to/file.py:Name` names."""
    if ":" in target:
        module_name, _, name = target.rpartition(":")
    else:
        module_name, _, name = target.rpartition(".")
    is_file = module_name.endswith(".py")
    module = load_file(module_name) if is_file else importlib.import_module(module_name)
    return functools.reduce(getattr, name.split("."), module)


def load_file(path: str) -> types.ModuleType:
    """Import the file at `path`, once, under a name of its own; its folder joins `sys.path`."""
    file = Path(path).expanduser().resolve(strict=True)
    name = file.stem
    known = sys.modules.get(name)
    if (known and known.__file__ != str(file)) or not name.isidentifier():
        name = f"{name}_{hashlib.sha1(str(file).encode()).hexdigest()[:8]}"
    if name not in sys.modules:
        if str(file.parent) not in sys.path:
            sys.path.append(str(file.parent))
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec and spec.loader
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def report(error: Exception) -> int:
    """Print what went wrong for the person at the keyboard; return the exit code."""
    if getattr(error, "reported", False):
        return 1
    for explanation in explain:
        if line := explanation(error):
            print(f"gym-loop: {line}", file=sys.stderr)
            return 2
    if FULL_ERROR:
        traceback.print_exception(error)
    else:
        print(f"gym-loop: {user_traceback(error)}", file=sys.stderr)
    return 2 if isinstance(error, HydraException | OmegaConfBaseException) else 1


def user_traceback(error: BaseException) -> str:
    """Return the traceback from the user's own frame on; one line where there is no such frame."""
    if FULL_ERROR:
        return "".join(traceback.format_exception(error))
    while isinstance(error, InstantiationException) and error.__cause__:
        error = error.__cause__
    frames = error.__traceback__
    while frames and _is_ours(Path(frames.tb_frame.f_code.co_filename)):
        frames = frames.tb_next
    lines = traceback.format_exception(type(error), error, frames)
    if frames:
        return "".join(lines).rstrip()
    return f"{type(error).__name__}: {error} (HYDRA_FULL_ERROR=1 shows the traceback)"


def _is_ours(file: Path) -> bool:
    return (
        file.is_relative_to(PACKAGE)
        or "<frozen" in str(file)
        or any(
            part in ("hydra", "omegaconf", "click", "runpy.py", "importlib", "functools.py")
            for part in file.parts
        )
    )
