"""An agent on a GPU goes on exactly: the streams of CUDA are in the checkpoint."""

import os
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch", reason='needs the extra: pip install "gym-loop[sb3]"')
pytest.importorskip("stable_baselines3", reason='needs the extra: pip install "gym-loop[sb3]"')
if not torch.cuda.is_available():
    pytest.skip("needs a GPU that torch can use", allow_module_level=True)

import gym_loop  # noqa: E402
from gym_loop.runs import parting  # noqa: E402


def gym_loop_command(*words, **environment):
    done = subprocess.run(
        [sys.executable, "-m", "gym_loop", *map(str, words)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("agent", ["ppo", "sac"])
def test_a_resumed_run_equals_one_that_was_not_stopped(agent, tmp_path):
    env = {"ppo": "env=cartpole", "sac": "env=pendulum"}[agent]
    words = [f"agent=sb3/{agent}", env, "agent.device=cuda", "loop.eval_episodes=1"]
    words += ["agent.n_steps=64"] if agent == "ppo" else ["agent.learning_starts=100"]
    words += ["loop.max_episode_len=60"]

    def play(name, episodes):
        command = [*words, f"hydra.run.dir={tmp_path / name}"]
        if (tmp_path / name).exists():
            command = ["resume", tmp_path / name]
        gym_loop_command(*command, f"loop.max_episodes={episodes}")

    play("whole", 12)
    for episodes in (3, 7, 12):
        play("stopped", episodes)
    weights = [
        gym_loop.Run(tmp_path / name).policy().agent.model.policy.state_dict()
        for name in ("whole", "stopped")
    ]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert next(iter(weights[0].values())).is_cuda
    assert (
        parting.of_table(tmp_path / "whole", tmp_path / "stopped", "episodes.csv")["from"] is None
    )


@pytest.mark.slow
@pytest.mark.parametrize("agent", ["ppo", "dqn"])
def test_where_there_is_no_gpu_the_agent_acts_on_the_cpu(agent, tmp_path):
    run = tmp_path / "run"
    words = [f"agent=sb3/{agent}", "env=cartpole", "agent.device=cuda", f"hydra.run.dir={run}"]
    words += ["agent.total_timesteps=1000"]
    gym_loop_command(*words, "loop.max_episodes=4", "loop.eval_episodes=2")
    told = gym_loop_command("evaluate", run, CUDA_VISIBLE_DEVICES="")
    assert "here it is on the CPU" in told
    gym_loop_command("export", run, tmp_path / "model.zip", CUDA_VISIBLE_DEVICES="")
    gym_loop_command("resume", run, "loop.max_episodes=8", CUDA_VISIBLE_DEVICES="")
