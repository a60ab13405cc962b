"""A loop's parameter is one entry of one table, which all else that knows of it asks."""

import os
import shutil
import subprocess
import sys

import pytest
import yaml

from gym_loop.loops import DefaultLoop
from gym_loop.loops.parameters import ALL, DEFAULT, SHARED, VECTOR
from gym_loop.vector.loop import VectorLoop
from tests import generated

NEW = """SHARED = Table(
    Parameter("patience", 3, "what a test adds", least=2, resume=True, neutral=True),
    Parameter("mood", "calm", "one of two", choices=("calm", "wild")),
"""
RUN = ("env=cartpole", "loop.max_episodes=1", "loop.eval_episodes=0", "seed=4")


@pytest.fixture
def copy(tmp_path):
    """Run a command in a copy of the package whose table has two more entries, and nothing else."""
    root = tmp_path / "copy"
    for folder in ("tests", "docs"):
        (root / folder).mkdir(parents=True)
    ignored = shutil.ignore_patterns("__pycache__")
    for folder in ("gym_loop", "conf"):
        shutil.copytree(generated.ROOT / folder, root / folder, ignore=ignored)
    for file in ("gym_loop_files.py", "tests/generated.py"):
        shutil.copy(generated.ROOT / file, root / file)
    table = root / "gym_loop" / "loops" / "parameters.py"
    table.write_text(table.read_text().replace("SHARED = Table(\n", NEW))

    def run(*words, module="gym_loop", cwd=tmp_path):
        command = [sys.executable, "-m", module, *words]
        environment = {**os.environ, "PYTHONPATH": str(root)}
        return subprocess.run(
            command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
        )

    done = run(module="tests.generated", cwd=root)
    assert done.returncode == 0, done.stderr
    return run


@pytest.mark.slow
def test_a_new_entry_is_all_that_a_new_parameter_takes(copy, tmp_path):
    page = (tmp_path / "copy" / "docs" / "keys.md").read_text()
    assert "| `patience` | 3 | what a test adds | yes |" in page
    assert "| `mood` | calm | one of two | no |" in page
    assert copy("create-default", "--run-config", "run.yaml").returncode == 0
    assert "  patience: 3  # what a test adds\n" in (tmp_path / "run.yaml").read_text()

    for word, expected in (
        ("loop.patience=some", "loop.patience is 'some' (command line); expected an integer"),
        ("loop.patience=1", "loop.patience is 1 (command line); expected at least 2"),
        ("loop.mood=odd", "loop.mood is 'odd' (command line); expected calm or wild"),
    ):
        done = copy(*RUN, word)
        assert (done.returncode, expected in done.stderr) == (2, True), done.stderr

    runs = {"a": "loop.patience=5", "b": "loop.patience=6", "c": "loop.mood=wild"}
    for name, word in runs.items():
        done = copy(*RUN, word, f"hydra.run.dir=outputs/{name}")
        assert done.returncode == 0, done.stderr
    config = yaml.safe_load((tmp_path / "outputs" / "a" / "config.yaml").read_text())
    assert (config["loop"]["patience"], config["loop"]["mood"]) == (5, "calm")
    for name, word in (("a", "loop.patience=7"), ("b", "loop.patience=8")):
        done = copy("resume", f"outputs/{name}", word, "loop.max_episodes=2")
        assert done.returncode == 0, done.stderr
    done = copy("resume", "outputs/a", "loop.mood=wild", "loop.max_episodes=3")
    assert (done.returncode, "loop.mood=calm" in done.stderr) == (2, True), done.stderr

    pytest.importorskip("scipy", reason='needs the extra: pip install "gym-loop[report]"')
    report = yaml.safe_load(copy("report", "--json", "--metric", "return").stdout)
    assert sorted(group["runs"] for group in report["groups"]) == [1, 2]


@pytest.mark.slow
def test_a_new_entry_is_a_parameter_of_the_vector_loop_as_well(copy):
    done = copy(*RUN, "loop=vector", "loop.num_envs=2", "loop.patience=9")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", generated.files(), ids=lambda path: path.name)
def test_what_is_made_of_the_table_is_up_to_date(path):
    wanted = generated.files()[path]
    assert path.read_text() == wanted, "write it with: python -m tests.generated"


@pytest.mark.parametrize(("loop", "table"), [(DefaultLoop, DEFAULT), (VectorLoop, VECTOR)])
def test_a_loop_refuses_what_is_below_the_least_value_of_its_table(loop, table):
    counted = [each for each in table.values() if each.kind is not dict]
    numbers = [each for each in counted if each.kind or type(each.default) is int]
    assert len(numbers) > 8
    for each in numbers:
        loop.check_parameters(loop.get_default_parameters() | {each.name: each.least})
        for value in (each.least - 1, float("nan")):
            with pytest.raises(ValueError, match=f"^{each.name} is .* at least {each.least}$"):
                loop.check_parameters(loop.get_default_parameters() | {each.name: value})


def test_what_has_one_name_in_both_loops_is_one_thing():
    """`resume`, `report` and the checks ask by name, as they never import a user's loop."""
    for name in SHARED:
        for column in ("kind", "null", "least", "choices", "resume", "neutral"):
            values = {getattr(table[name], column) for table in (DEFAULT, VECTOR, ALL)}
            assert len(values) == 1, (name, column)
