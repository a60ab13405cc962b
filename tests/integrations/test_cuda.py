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
from gym_loop.agents import pickled  # noqa: E402
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


PEAK = """
import resource, sys, torch
from pathlib import Path
from gym_loop.agents import pickled

torch.ones(1 << 22).cuda().cpu()  # what copying takes once
content = torch.nn.Linear(12_500, 10_000, device="cuda")
status = lambda name: int(open("/proc/self/status").read().split(name)[1].split()[0])
open("/proc/self/clear_refs", "w").write("5")
before = status("VmHWM:")
pickled.dump(content, Path(sys.argv[1]))
print(status("VmHWM:") - before)
"""


@pytest.mark.slow
def test_a_large_agent_comes_to_the_cpu_in_pieces(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path / "file")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert os.path.getsize(tmp_path / "file") > 500e6
    assert int(done.stdout) * 1024 < 50e6


@pytest.mark.slow
def test_tensors_of_a_gpu_come_back_as_they_are(tmp_path):
    layer = torch.nn.Linear(1200, 1200, device="cuda")
    pickled.dump({"layer": layer, "half": layer.weight.detach().half()}, tmp_path / "file")
    back = pickled.load(tmp_path / "file")
    assert back["layer"].weight.is_cuda
    assert back["layer"].weight.requires_grad
    assert torch.equal(back["layer"].weight, layer.weight)
    assert torch.equal(back["half"], layer.weight.half())


@pytest.mark.slow
def test_workers_leave_cuda_in_the_parent_unharmed(tmp_path):
    words = ["agent=sb3/ppo", "env=gymnasium:CartPole-v1", "agent.device=cuda", "loop=vector"]
    words += ["loop.num_envs=4", "agent.n_steps=64", "loop.max_steps=2000", "loop.eval_episodes=1"]
    for count in (0, 2):
        gym_loop_command(
            *words, f"loop.num_workers={count}", f"hydra.run.dir={tmp_path / str(count)}"
        )
    one, two = (gym_loop.Run(tmp_path / name).policy().agent.model.policy for name in ("0", "2"))
    other = two.state_dict()
    assert all(torch.equal(value, other[name]) for name, value in one.state_dict().items())
    assert one.device.type == "cuda"


LATE = """
import sys, types, torch
from gym_loop import streams
from gym_loop.observers import beside

streams.seed_all(5)
state = streams.get_state()
if sys.argv[1] != "nothing":
    with streams.preserved(types.SimpleNamespace(), 5):
        torch.rand(1, device=sys.argv[1])
if sys.argv[1] != "cuda":
    assert beside.is_possible()  # nobody has started CUDA
if sys.argv[1] == "nothing":
    streams.set_state(state)
print(torch.rand(3, device="cuda").tolist())
"""


@pytest.mark.slow
def test_an_evaluation_leaves_a_gpu_that_is_used_later_as_it_is():
    told = [
        subprocess.run(
            [sys.executable, "-c", LATE, device], capture_output=True, text=True, check=True
        ).stdout
        for device in ("nothing", "cpu", "cuda")
    ]
    assert told[0] == told[1] == told[2]
