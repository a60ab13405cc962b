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


@pytest.mark.slow
def test_weights_equal_those_of_learn_with_make_atari_env(launch):
    words = [f"env=gymnasium:{GAME}", "env.kwargs.frameskip=1", "wrap=[sb3_atari]"]
    words += ["agent=sb3/ppo", "agent.policy=CnnPolicy", "agent.n_steps=128", "agent.n_epochs=1"]
    # A few steps more, that the last whole rollout is learnt from as any other.
    limits = (f"loop.max_steps={STEPS + 20}", "loop.max_episodes=null", "loop.eval_episodes=0")
    run = launch(*words, *limits, f"seed={SEED}", "loop.max_episode_len=27000")
    saved = torch.load(checkpoints.find(run) / "agent" / "agent.pt", weights_only=False)["model"]

    env = make_atari_env(lambda **_: OurSeeds(gymnasium.make(GAME, frameskip=1)))
    torch.set_num_threads(1)
    model = sb3.PPO("CnnPolicy", env, n_steps=128, n_epochs=1, seed=SEED).learn(STEPS)

    ours, theirs = saved.policy.state_dict(), model.policy.state_dict()
    assert saved._n_updates == model._n_updates > 0
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == []
