"""An agent on a GPU goes on exactly: the streams of CUDA are in the checkpoint."""

import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason='needs the extra: pip install "gym-loop[sb3]"')
pytest.importorskip("stable_baselines3", reason='needs the extra: pip install "gym-loop[sb3]"')
if not torch.cuda.is_available():
    pytest.skip("needs a GPU that torch can use", allow_module_level=True)

import gym_loop  # noqa: E402
from gym_loop.runs import compare  # noqa: E402


@pytest.mark.slow
@pytest.mark.parametrize("agent", ["ppo", "sac"])
def test_a_resumed_run_equals_one_that_was_not_stopped(agent, tmp_path):
    env = {"ppo": "env=cartpole", "sac": "env=pendulum"}[agent]
    words = [f"agent=sb3/{agent}", env, "agent.device=cuda", "loop.eval_episodes=1"]
    words += ["agent.n_steps=64"] if agent == "ppo" else ["agent.learning_starts=100"]
    words += ["loop.max_episode_len=60"]

    def run(name, episodes):
        command = [sys.executable, "-m", "gym_loop", *words, f"hydra.run.dir={tmp_path / name}"]
        if (tmp_path / name).exists():
            command = [sys.executable, "-m", "gym_loop", "resume", str(tmp_path / name)]
        done = subprocess.run(
            [*command, f"loop.max_episodes={episodes}"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    run("whole", 12)
    for episodes in (3, 7, 12):
        run("stopped", episodes)
    weights = [
        gym_loop.Run(tmp_path / name).policy().agent.model.policy.state_dict()
        for name in ("whole", "stopped")
    ]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert next(iter(weights[0].values())).is_cuda
    assert compare.first_episode(tmp_path / "whole", tmp_path / "stopped") is None
