"""How long it takes to start: a launch, `--help`, `ls` on one run, a Tab."""

import functools
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import Row, launch, process, show, spread, take_turns
from gym_loop.launch import CONF

TURNS = 5
IMPORTS = "import hydra, gym, numpy"
# The least that a launch by Hydra is: no config, one episode, one table.
APPLICATION = """
import csv, gym, hydra, numpy
from hydra.core.hydra_config import HydraConfig

@hydra.main(config_path=None, version_base="1.3")
def main(cfg):
    env = gym.make("CartPole-v1", disable_env_checker=True)
    env.reset(seed=0)
    steps, ended = 0, False
    while not ended:
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        steps, ended = steps + 1, terminated or truncated
    with open(f"{HydraConfig.get().runtime.output_dir}/episodes.csv", "w") as file:
        csv.writer(file).writerow([0, steps])

main()
"""
SHORT = ("agent=random", "env=cartpole", "loop.max_episodes=1", "loop.eval_episodes=1")
# What Hydra takes of a launch: its defaults, and our groups.
COMPOSE = f"""
{IMPORTS}
with hydra.initialize_config_dir({str(CONF)!r}, version_base="1.3"):
    hydra.compose("config", {list(SHORT)!r}, return_hydra_config=True)
"""
COMMANDS = {
    "`--help`": ("--help",),
    "`ls` on one run": ("ls", "run"),
    "completing `loop.m`": ("completion", "words", "--", "gym-loop env=cartpole loop.m"),
}


def python(code: str, cwd: str):  # noqa: D103
    return lambda: process([sys.executable, "-c", code], cwd)


def rows() -> Iterator[Row]:
    """Yield a row for a launch of one episode, and one for each command that only reads."""
    with tempfile.TemporaryDirectory() as folder:
        launch(*SHORT, "hydra.run.dir=run", cwd=folder)
        imports, rival = python(IMPORTS, folder), f'`python -c "{IMPORTS}"`'
        pairs = take_turns(lambda: launch(*SHORT, cwd=folder), imports, TURNS)
        ratios = pairs.times_the_cost()
        yield Row(
            *("launch of one episode", rival),
            *("at most 1.25 times", spread(ratios), statistics.median(ratios) <= 1.25),
            *(spread(pairs.times_the_cost("cpu")), pairs.both("ms", 1e3)),
        )
        pairs = take_turns(python(COMPOSE, folder), imports, TURNS)
        yield Row(
            *("its config, composed by Hydra alone", rival),
            *("", spread(pairs.times_the_cost())),
            by_cpu=spread(pairs.times_the_cost("cpu")),
            both=pairs.both("ms", 1e3),
        )
        Path(folder, "application.py").write_text(APPLICATION)
        application = functools.partial(process, [sys.executable, "application.py"], folder)
        pairs = take_turns(lambda: launch(*SHORT, cwd=folder), application, TURNS)
        yield Row(
            *("launch of one episode", "a Hydra application without a config that plays one, too"),
            *("", spread(pairs.times_the_cost())),
            by_cpu=spread(pairs.times_the_cost("cpu")),
            both=pairs.both("ms", 1e3),
        )
        for what, words in COMMANDS.items():
            pairs = take_turns(
                lambda words=words: launch(*words, cwd=folder), python("pass", folder), TURNS
            )
            extra = [1e3 * seconds for seconds in pairs.extra()]
            by_cpu = [1e3 * seconds for seconds in pairs.extra("cpu")]
            yield Row(
                *(what, "`python -c pass`", "at most 250 ms more", spread(extra, ".0f", " ms")),
                *(statistics.median(extra) <= 250, spread(by_cpu, ".0f", " ms")),
                pairs.both("ms", 1e3),
            )


if __name__ == "__main__":
    show(rows())
