"""`wrap=[sb3_atari]` is the library's own pipeline for Atari: `make_atari_env` and `learn()`."""

import gymnasium
import pytest

torch = pytest.importorskip("torch", reason='needs the extra: pip install "gym-loop[sb3]"')
sb3 = pytest.importorskip(
    "stable_baselines3", reason='needs the extra: pip install "gym-loop[sb3]"'
)
for package in ("ale_py", "cv2"):
    pytest.importorskip(package, reason='needs the extra: pip install "gym-loop[atari]"')

from stable_baselines3.common.env_util import make_atari_env  # noqa: E402
from stable_baselines3.common.vec_env import VecFrameStack  # noqa: E402

from gym_loop.runs import checkpoints  # noqa: E402
from gym_loop.streams import episode_seed  # noqa: E402

SEED, STEPS = 5, 512
GAME = "ALE/Breakout-v5"  # whose lives end the agent's episodes, and not the game


class OurSeeds(gymnasium.Wrapper):
    """Resets the game with the seeds that a loop gives to its episodes."""

    number = -1

    def reset(self, *, seed=None, options=None):
        self.number += 1
        return self.env.reset(seed=episode_seed(SEED, self.number))


def check(launch, steps, wrap, stacked):
    """Train in `wrap` for so many steps, and with `learn()` on `make_atari_env`; compare."""
    words = [f"env=gymnasium:{GAME}", "env.kwargs.frameskip=1", f"wrap=[{wrap}]"]
    words += ["agent=sb3/ppo", "agent.policy=CnnPolicy", "agent.n_steps=128", "agent.n_epochs=1"]
    # A few steps more, that the last whole rollout is learnt from as any other.
    limits = (f"loop.max_steps={steps + 20}", "loop.max_episodes=null", "loop.eval_episodes=0")
    run = launch(*words, *limits, f"seed={SEED}", "loop.max_episode_len=27000")
    saved = torch.load(checkpoints.find(run) / "agent" / "agent.pt", weights_only=False)["model"]

    env = make_atari_env(lambda **_: OurSeeds(gymnasium.make(GAME, frameskip=1)))
    torch.set_num_threads(1)
    env = VecFrameStack(env, 4) if stacked else env
    model = sb3.PPO("CnnPolicy", env, n_steps=128, n_epochs=1, seed=SEED).learn(steps)

    ours, theirs = saved.policy.state_dict(), model.policy.state_dict()
    assert saved._n_updates == model._n_updates > 0
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []


@pytest.mark.slow
def test_weights_equal_those_of_learn_with_make_atari_env(launch):
    check(launch, STEPS, "sb3_atari", stacked=False)


@pytest.mark.slow
def test_so_do_those_with_frames_stacked_as_channels(launch):
    check(launch, STEPS, "sb3_atari,stack_channels", stacked=True)


@pytest.mark.long
def test_weights_are_equal_after_20_000_steps(launch):
    check(launch, 156 * 128, "sb3_atari,stack_channels", stacked=True)


@pytest.mark.slow
def test_the_preset_of_atari_starts_and_learns(launch):
    steps = "loop.max_steps=1200", "loop.eval_episodes=0"
    run = launch("+experiment=sb3_ppo_atari", "env.id=ALE/Pong-v5", *steps)
    saved = torch.load(checkpoints.find(run) / "agent" / "agent.pt", weights_only=False)["model"]
    assert saved._n_updates == 4
    assert saved.observation_space.shape == (4, 84, 84)
