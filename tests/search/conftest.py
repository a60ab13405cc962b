"""Searches as a user's processes, and what is left of them."""

import json
from pathlib import Path

import pytest

FILE = Path(__file__).parent / "things_to_search.py"
THINGS = [f"agent={FILE}:Fixed", f"env={FILE}:Target"]
SHORT = ["loop.max_episodes=8", "loop.episodes_per_eval=2", "loop.eval_episodes=2"]
X = "agent.x=interval(0,1)"


def words(*more):
    fixed = [*THINGS, *SHORT, "hydra/sweeper=search", "hydra.sweep.dir=search"]
    return ["-m", *fixed, "hydra.sweeper.seeds=2", "hydra.launcher.n_jobs=2", *more]


@pytest.fixture
def search(cli):
    """Run a search in the folder `search`, two jobs at a time, and wait for it."""
    pytest.importorskip("optuna", reason="needs the extra search")
    return lambda *more, **options: cli(*words(*more), **options)


def study(folder):
    """Optuna's own view of a search."""
    import optuna
    from optuna.storages.journal import JournalFileBackend

    storage = optuna.storages.JournalStorage(JournalFileBackend(str(folder / "study.log")))
    return optuna.load_study(study_name="search", storage=storage)


def runs(folder):
    """The content of each job's run.json, by the job's name."""
    found = sorted(Path(folder).glob("*/run.json"))
    return {path.parent.name: json.loads(path.read_text()) for path in found}
