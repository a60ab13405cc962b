"""The structure of the package: who may import whom, what can go, what an import may change."""

import ast
import importlib
import inspect
import json
import os
import shutil
import subprocess
import sys
from types import FunctionType

import pytest

from tests.core_size import PACKAGE, ROOT

# From the ground up. A file may import what lies in its own room and below, never above or beside.
FLOORS = (
    ("closing.py", "imports.py", "literal.py", "machine.py", "mistake.py", "output.py", "sums.py"),
    ("files.py", "proxy.py", "streams.py", "terminal.py"),
    ("compat",),
    ("agents",),
    ("loops",),
    ("launch.py",),
    ("errors.py",),
    ("config",),
    ("envs",),
    ("vector",),
    ("runs",),
    ("observers", "integrations"),
    ("testing", "code"),
    ("checks", "reports", "sweeps"),
    ("search", "serve"),
    ("relaunch.py",),
    ("api.py",),
    ("commands",),
    ("__main__.py", "__init__.py"),
)
FILES = sorted(PACKAGE.rglob("*.py"))


def room(file):
    """The folder or file of the package that `file` belongs to."""
    return file.relative_to(PACKAGE).parts[0]


def floor(name):
    return next(number for number, rooms in enumerate(FLOORS) if name in rooms)


def imported(file):
    """The rooms that a file imports, at its top, within a function, or by a name in a text."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Constant) and str(node.value).startswith("gym_loop."):
            names = [node.value]
        else:
            continue
        for name in names:
            parts = name.replace(":", ".").split(".")
            if parts[0] == "gym_loop" and len(parts) > 1 and parts[1]:
                if (PACKAGE / parts[1]).is_dir():
                    yield parts[1], node.lineno
                elif (PACKAGE / f"{parts[1]}.py").is_file():
                    yield f"{parts[1]}.py", node.lineno


def test_every_room_has_its_floor():
    assert {room(file) for file in FILES} == {name for rooms in FLOORS for name in rooms}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_point_down(file):
    here = floor(room(file))
    up = [
        f"line {line}: {name}"
        for name, line in imported(file)
        if name != room(file) and floor(name) >= here
    ]
    assert not up, f"{file.relative_to(PACKAGE)} imports what lies above or beside it: {up}"


def hooks(tree):
    """The names that the launcher declares for parts to add to or to replace."""
    for node in tree.body:
        if isinstance(node, ast.AnnAssign):
            yield node.target.id
        elif isinstance(node, ast.FunctionDef) and "may replace" in ast.get_docstring(node):
            yield node.name


def changed_in_launcher(node):
    """The name of the launcher's that a statement sets, or whose list it changes; or None."""
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        targets = [node.func.value] if node.func.attr in ("append", "insert", "extend") else []
    for target in targets:
        target = target.value if isinstance(target, ast.Subscript) else target
        if isinstance(target, ast.Attribute) and ast.unparse(target.value) == "launch":
            return target.attr
    return None


def test_parts_change_the_launcher_by_their_plugin_where_it_says_that_they_may():
    declared = set(hooks(ast.parse((PACKAGE / "launch.py").read_text())))
    assert {"prepare", "locate", "tell"} <= declared
    for file in FILES:
        changed = {changed_in_launcher(node) for node in ast.walk(ast.parse(file.read_text()))}
        assert changed - {None} <= declared, file
        # Composing from what is stored sets preparations for a block, and puts them back.
        if changed - {None} and file != PACKAGE / "config/stored.py":
            assert file.name == "plugin.py", f"{file} changes the launcher: {changed}"


# The part, what else goes with it, and what is then said when it is asked for.
PARTS = {
    "envs": (["vector"], ["env=cartpole"], "gym_loop.envs"),
    "vector": ([], ["loop=vector"], "gym_loop.vector"),
    "runs": (["observers", "code"], ["observers=default"], "gym_loop.observers"),
    "observers": (["code"], ["observers=default"], "gym_loop.observers"),
    "code": ([], ["reproduce", "outputs"], "gym_loop.code"),
    "checks": ([], ["loop.max_episode=1"], "max_episode"),
    "reports": ([], ["report"], "report"),
    "search": ([], ["-m", "hydra/sweeper=search"], "SearchSweeper"),
    "sweeps": (["search"], ["-m", "seed=1,2", "hydra/launcher=pool"], "PoolLauncher"),
    "serve": ([], ["serve", "--no-browser"], "gym_loop.serve"),
    "commands": ([], ["ls"], "no command 'ls'"),
    "integrations": ([], ["agent=sb3/ppo"], "gym_loop.integrations"),
    "testing": ([], ["check", "agent=random"], "there is no gym_loop.testing"),
}
OWN = """
from gym_loop.agents import BaseAgent

class Env:
    class Space:
        shape = ()
        def seed(self, seed): pass
        def contains(self, action): return True
    observation_space = action_space = Space()
    def reset(self, seed=None): return 0, {}
    def step(self, action): return 0, 1.0, True, False, {}
    def close(self): pass

class Agent(BaseAgent):
    def act(self, state, n): return 0
    def memorize(self, *transition): pass
    def update(self, n): pass
"""


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS)
def test_a_part_can_be_deleted(part, tmp_path):
    with_it, asked, said = PARTS[part]
    shutil.copytree(PACKAGE, tmp_path / "gym_loop", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "conf", tmp_path / "conf")
    for name in (part, *with_it):
        shutil.rmtree(tmp_path / "gym_loop" / name)
    (tmp_path / "own.py").write_text(OWN)

    def run(*words):
        return subprocess.run(
            [sys.executable, "-m", "gym_loop", *words],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )

    own = ["agent=own.py:Agent", "env=own.py:Env", "loop.eval_episodes=1"]
    own += ["observers=none"] if part in ("observers", "runs") else []
    own += ["observers.code=null", "observers.outside=null"] if part == "code" else []
    own += ["hydra/launcher=basic", "hydra/sweeper=basic"] if part == "sweeps" else []
    done = run(*own)
    assert done.returncode == 0, done.stderr
    gone = run(*(asked if asked[0].isalpha() and "=" not in asked[0] else [*own, *asked]))
    told = [line for line in (gone.stdout + gone.stderr).splitlines() if said in line]
    assert len(told) == 1, gone.stdout + gone.stderr
    assert gone.returncode != 0 or part == "testing"  # which `check` can do without


PURE = """
import gc, importlib, json, logging, os, random, signal, sys, threading, warnings
from pathlib import Path

foreign, ours = json.loads(sys.argv[1]), json.loads(sys.argv[2])
LIBRARIES = ("hydra", "omegaconf", "gym", "gymnasium", "numpy", "tensorboard", "stable_baselines3")

def is_ours(value):
    return str(getattr(value, "__module__", None)).partition(".")[0] == "gym_loop"

def state():
    patched = []
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in LIBRARIES:
            for key, value in list(vars(module).items()):
                inside = list(vars(value).values()) if isinstance(value, type) else []
                if any(map(is_ours, [value, *inside])):
                    patched.append(f"{name}.{key}")
    return {
        "collector": [gc.get_threshold(), gc.get_freeze_count(), gc.isenabled()],
        "warnings": [str(f) for f in warnings.filters],
        "environment": dict(os.environ),
        "signals": [str(signal.getsignal(n)) for n in (signal.SIGINT, signal.SIGTERM)],
        "path": list(sys.path),
        "handlers": [str(h) for h in logging.getLogger().handlers],
        "threads": threading.active_count(),
        "random": hash(random.getstate()),
        "patched": patched,
        "directory": os.getcwd(),
        "at_fork": len(forks),
    }

for name in foreign:
    try:
        importlib.import_module(name)
    except ImportError:
        pass
forks = []
os.register_at_fork = lambda **called: forks.append(called)
before, found = state(), {}
for name in ours:
    try:
        importlib.import_module(name)
    except (ImportError, SystemExit):  # an extra that is not installed
        continue
    after = state()
    changed = [key for key in before if before[key] != after[key]]
    if changed:
        found[name] = {key: [str(before[key])[:300], str(after[key])[:300]] for key in changed}
    before = after
print(json.dumps(found))
"""


@pytest.mark.slow
def test_every_public_method_is_documented_by_itself_or_where_it_is_declared():
    found = []
    for file in FILES:
        name = ".".join(["gym_loop", *file.relative_to(PACKAGE).with_suffix("").parts])
        try:
            module = importlib.import_module(name.removesuffix(".__init__"))
        except (ImportError, SystemExit):  # an extra that is not installed
            continue
        for kind in vars(module).values():
            own = inspect.isclass(kind) and kind.__module__ == module.__name__
            if own and not kind.__name__.startswith("_"):
                found += [
                    f"{module.__name__}.{kind.__name__}.{method}"
                    for method, value in vars(kind).items()
                    if isinstance(value, FunctionType | staticmethod | classmethod | property)
                    if not (method.startswith("_") or inspect.getdoc(getattr(kind, method)))
                ]
    assert not found


@pytest.mark.slow
def test_an_import_changes_nothing_in_the_process():
    foreign = {}
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                foreign.update(dict.fromkeys(alias.name for alias in node.names))
            elif isinstance(node, ast.ImportFrom) and node.module:
                foreign[node.module] = None
    foreign = [name for name in foreign if name.partition(".")[0] != "gym_loop"]
    ours = [
        ".".join(["gym_loop", *file.relative_to(PACKAGE).with_suffix("").parts])
        for file in FILES
        if file.name != "__main__.py"
    ]
    ours = [name.removesuffix(".__init__") for name in ours]
    done = subprocess.run(
        [sys.executable, "-c", PURE, json.dumps(foreign), json.dumps(ours)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {}
