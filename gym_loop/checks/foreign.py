"""Other libraries' names for our keys. Whoever writes one of them is told ours."""

OURS = {
    # Stable-Baselines3, its zoo, CleanRL
    **dict.fromkeys(
        ("total_timesteps", "n_timesteps", "num_timesteps", "timesteps", "total_steps"),
        "loop.max_steps",
    ),
    **dict.fromkeys(("n_envs", "num_envs", "num_env"), "loop.num_envs, with loop=vector"),
    **dict.fromkeys(
        ("eval_freq", "eval_frequency", "eval_every"),
        "loop.steps_per_eval, or loop.episodes_per_eval",
    ),
    **dict.fromkeys(("n_eval_episodes", "num_eval_episodes"), "loop.eval_episodes"),
    **dict.fromkeys(("save_freq", "checkpoint_freq"), "loop.episodes_per_checkpoint"),
    **dict.fromkeys(("tensorboard_log", "log_dir"), "loop.logdir"),
    **dict.fromkeys(
        ("net_arch", "activation_fn"),
        "agent.policy_kwargs, as in +agent.policy_kwargs.net_arch=[64,64]",
    ),
    **dict.fromkeys(("n_episodes", "num_episodes", "episodes"), "loop.max_episodes"),
    **dict.fromkeys(("max_episode_steps", "time_limit"), "loop.max_episode_len"),
    **dict.fromkeys(("algo", "algorithm"), "agent, as in agent=sb3/ppo"),
    **dict.fromkeys(("env_id", "env_name"), "env, as in env=gymnasium:CartPole-v1"),
    "env_kwargs": "env.kwargs",
    "capture_video": "loop.record",
}


def ours(name: str) -> str:
    """Return "; here it is ..." for another library's name of a key, else ""."""
    known = OURS.get(name.lower().replace("-", "_").strip("_"))
    return f"; here it is {known}" if known else ""
