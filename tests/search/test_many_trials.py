"""A search of many short jobs: what the launching process needs does not grow."""

import time
from pathlib import Path

import pytest

pytest.importorskip("optuna", reason="needs the extra search")

from tests.search.conftest import X, study, words

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc"),
]
TRIALS = 500


def measured(pid):
    """Return a process' memory in kB, and the processor time that it has had, in ticks."""
    status = Path(f"/proc/{pid}/status").read_text()
    memory = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(memory.split()[1]), int(fields[11]) + int(fields[12])


def test_memory_and_time_of_the_launching_process_stay_as_they_were(start, tmp_path):
    one = ["loop.max_episodes=1", "loop.episodes_per_eval=null", "loop.eval_episodes=1"]
    search = ["hydra.sweeper.seeds=3", "hydra.sweeper.pruner=none", "hydra.sweeper.sampler=random"]
    process = start(*words(X, *one, *search, f"hydra.sweeper.n_trials={TRIALS}"))
    seen = []  # jobs, memory, ticks
    while process.poll() is None:
        time.sleep(0.5)
        jobs = sum(1 for _ in (tmp_path / "search").glob("*seed=*"))
        try:
            seen.append((jobs, *measured(process.pid)))
        except (OSError, StopIteration):  # it has just ended
            break
    process.communicate()

    assert process.returncode == 0
    assert len(study(tmp_path / "search").trials) == TRIALS
    total = 3 * TRIALS
    at = [next(row for row in seen if row[0] >= part * total // 10) for part in (1, 3, 7, 9)]
    assert at[3][1] < 1.1 * at[0][1]  # memory
    first, last = ((b[2] - a[2]) / (b[0] - a[0]) for a, b in (at[:2], at[2:]))
    assert last <= 2 * first  # processor time a job
