"""From the command line to a run: compose the config, build agent, env and loop, run the loop.

What a part may add to, or replace, is declared below, a line each. A package's `plugin.py` does so;
`parts` imports them, once.
"""

import contextlib
import copy
import functools
import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from gym_loop.closing import at_the_end, closed, closed_on_failure
from gym_loop.compat import hydra as inner
from gym_loop.streams import derive, seed_all

PACKAGE = Path(__file__).parent
CONF = PACKAGE / "conf" if (PACKAGE / "conf").is_dir() else PACKAGE.parent / "conf"
# `version_base` tells Hydra 1.3 to behave like itself; 1.4 warns about it.
VERSION_BASE = {"version_base": "1.3"} if hydra.__version__ < "1.4" else {}

# Called with each composed config before anything is created: may change it, or raise Mistake.
prepare: list[Callable[[DictConfig], None]] = []
# Called with an exception: returns the one line that names the mistake, or None.
explain: list[Callable[[BaseException], str | None]] = []
# Entered around each launch: what a part changes in the process, and undoes.
around: list[Callable[[], contextlib.AbstractContextManager[None]]] = []
# Returns the class or function that a `_target_` names.
locate: Callable[[str], Any] = hydra.utils.get_object
# Returns what a section of the config, resolved, is built with; may change the section.
maker: Callable[[dict[str, Any]], Any] = lambda section: locate(section["_target_"])  # noqa: E731
# Runs a task on a composed config, as Hydra does.
run_job: Callable[..., Any] = inner.run_job
# Returns Hydra's own flags, and the overrides, from a command line.
parse: Callable[[list[str]], inner.Flags] = inner.parse


@functools.cache
def parts() -> None:
    """Have each package add what it has to the above."""
    for plugin in sorted(PACKAGE.glob("*/plugin.py")):
        importlib.import_module(f"gym_loop.{plugin.parent.name}.plugin")


def tell(error: BaseException) -> int:
    """Tell the person at the keyboard of `error`; return the exit code. A part may replace it."""
    raise error


@contextlib.contextmanager
def surroundings() -> Iterator[None]:
    """Change in the process what parts need changed, until the end of the block."""
    parts()
    with contextlib.ExitStack() as stack:
        for part in around:
            stack.enter_context(part())
        yield


@surroundings()
def launch(argv: list[str], config_name: str = "config", task: Any = None) -> Any:
    """Compose the config from `argv` and run `task` on it; or do what Hydra's own flags ask for.

    Returns what the task returned, which is `run` unless another one is given.
    """
    # What these take is known to no config: `++` adds or overrides.
    argv = [f"++{word}" if word.startswith(inner.OPEN_KEYS) else word for word in argv]
    args, task = parse(argv), task or run
    if args.cfg or args.info or args.shell_completion or args.hydra_help:
        return inner.show(argv, args, str(CONF), config_name, task, **VERSION_BASE)
    conf, name = Path(args.config_dir or CONF).absolute(), args.config_name or config_name
    with hydra.initialize_config_dir(str(conf), job_name="gym_loop", **VERSION_BASE):
        cfg = None if args.multirun else inner.compose(name, args.overrides)
        if cfg is None or cfg.hydra.mode is RunMode.MULTIRUN:
            return inner.multirun(name, task, args.overrides)
        HydraConfig.instance().cfg = cfg  # type: ignore[assignment]  # `set_config` copies it
        for preparation in prepare:
            preparation(cfg)
        return inner.result(run_job(task, cfg, "hydra.run.dir", None, inner.context(cfg)))


def run(cfg: DictConfig, evaluate: bool = False) -> Any:
    """Build what `cfg` names, train (not with `evaluate`), evaluate; return the mean return."""
    directory = Path(HydraConfig.get().runtime.output_dir)
    observers = {n: o for n, c in cfg.observers.items() if c and (o := instantiate(c)) is not None}
    with contextlib.ExitStack() as stack:  # closes each observer that was opened, in any case
        for observer in observers.values():
            stack.push(at_the_end(observer.close))
            observer.open(cfg, directory)
        loop = stack.enter_context(closed(build(cfg, directory, observers)))
        loop.notify("restore", loop)
        loop.notify("begin", loop)
        if not evaluate:
            loop.train()
        if not loop.stop and loop.parameters.get("eval_episodes", 1):
            returns = [episode.ret for episode in loop.evaluate() or ()]
            loop.result = sum(returns) / len(returns) if returns else None
    if loop.exit_code:
        raise SystemExit(loop.exit_code)
    return loop.result


def build(cfg: DictConfig, directory: Path, observers: dict[str, Any]) -> Any:
    """Return the loop of `cfg`, around its agent and its environment, every stream seeded."""
    make_env, make_agent, make_loop = (instantiate(cfg[n], True) for n in ("env", "agent", "loop"))
    make_eval_env = instantiate(cfg.get("eval_env") or cfg.env, True)
    seed_all(cfg.seed)  # after the imports: one of them may have brought torch
    kind, parameters = make_loop.func, {**make_loop.func.get_default_parameters(), **cfg.loop}
    env = kind.make_env(make_env, parameters, "train")
    with closed_on_failure(env):
        spaces = copy.deepcopy(kind.spaces(env))  # the agent's own: its stream is not the env's
        for space, name in zip(spaces, ("observations", "actions"), strict=True):
            space.seed(derive(cfg.seed, name))
        loop = make_loop(make_agent(observation_space=spaces[0], action_space=spaces[1]), env)
    if hasattr(loop.agent, "_configured"):  # `load` compares configs: objects may equal no others
        loop.agent._configured = OmegaConf.to_container(cfg.agent, resolve=True)
    loop.seed, loop.directory, loop.observers = cfg.seed, directory, observers
    loop.make_env_again = lambda: kind.make_env(make_env, parameters, "train")
    loop.make_eval_env = lambda: kind.make_env(make_eval_env, parameters, "eval")
    return loop


def instantiate(node: DictConfig, partial: bool = False) -> Any:
    """Build what `node` describes; with `partial`, return a function that does."""
    content: Any = OmegaConf.to_container(node, resolve=True)
    content["_target_"] = maker(content)
    return inner.instantiate(content, partial, locate)
