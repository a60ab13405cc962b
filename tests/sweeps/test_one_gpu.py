"""Jobs of Stable-Baselines3 that share the GPU of this machine."""

import json

import pytest

from gym_loop.runs import parting
from tests.sweeps.conftest import processes, states, wait_until

torch = pytest.importorskip("torch", reason='needs the extra: pip install "gym-loop[sb3]"')
pytest.importorskip("stable_baselines3", reason='needs the extra: pip install "gym-loop[sb3]"')
pytest.importorskip("pynvml", reason='needs the extra: pip install "gym-loop[gpu]"')
if not torch.cuda.is_available():
    pytest.skip("needs a GPU that torch can use", allow_module_level=True)


@pytest.mark.slow
def test_eight_killed_jobs_on_one_gpu_go_on_exactly(cli, start, tmp_path):
    words = ["agent=sb3/ppo", "env=cartpole", "agent.device=cuda", "agent.n_steps=64"]
    words += ["loop.max_episodes=60", "loop.eval_episodes=2"]
    pool = ["hydra.launcher.gpus=auto", "hydra.launcher.jobs_per_gpu=4", "hydra.launcher.n_jobs=8"]
    sweep = ["-m", *words, "seed=range(8)", *pool, "hydra.sweep.dir=sweep"]

    process = start(*sweep)
    checkpoints = "sweep/*/checkpoints/latest"
    wait_until(lambda: len(list(tmp_path.glob(checkpoints))) >= 3, seconds=120)
    process.kill()
    process.wait()
    wait_until(lambda: not processes(tmp_path), seconds=60)
    assert set(states(tmp_path / "sweep").values()) != {"finished"}
    done = cli(*sweep)
    assert done.returncode == 0, done.stdout + done.stderr

    assert list(states(tmp_path / "sweep").values()) == ["finished"] * 8
    runs = {path.parent: json.loads(path.read_text()) for path in tmp_path.glob("sweep/*/run.json")}
    assert {run["gpus"] for run in runs.values()} == {"0"}
    done = cli(*words, "seed=0", "hydra.run.dir=alone")
    assert done.returncode == 0, done.stderr
    of_seed_0 = next(path for path, run in runs.items() if run["config"]["seed"] == 0)
    assert parting.of_table(of_seed_0, tmp_path / "alone", "episodes.csv")["from"] is None
