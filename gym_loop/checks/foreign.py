"""Other libraries' names for our keys. Whoever writes one of them is told ours."""

# Our key -> its names in Stable-Baselines3, its zoo, CleanRL.
NAMES = {
    "loop.max_steps": "total_timesteps n_timesteps num_timesteps timesteps total_steps",
    "loop.num_envs, of loop=vector alone": "n_envs num_envs num_env",
    "loop.steps_per_eval, or loop.episodes_per_eval": "eval_freq eval_frequency eval_every",
    "loop.eval_episodes": "n_eval_episodes num_eval_episodes",
    "loop.episodes_per_checkpoint": "save_freq checkpoint_freq",
    "loop.logdir": "tensorboard_log log_dir",
    "agent.policy_kwargs, as in agent.policy_kwargs.net_arch=[64,64]": "net_arch activation_fn",
    "loop.max_episodes": "n_episodes num_episodes episodes",
    "loop.max_episode_len": "max_episode_steps time_limit",
    "agent, as in agent=sb3/ppo": "algo algorithm",
    "env, as in env=gymnasium:CartPole-v1": "env_id env_name",
    "env.kwargs": "env_kwargs",
    "loop.record": "capture_video",
}
OURS = {theirs: ours for ours, names in NAMES.items() for theirs in names.split()}


def ours(name: object) -> str:
    """Return "; here it is ..." for another library's name of a key, else ""."""
    known = OURS.get(str(name).lower().replace("-", "_").strip("_"))
    return f"; here it is {known}" if known else ""
