"""How long it takes to start: a launch, `--help`, `ls` on one run, a Tab."""

import statistics
import sys
import tempfile
from collections.abc import Iterator

from benchmarks.harness import Row, launch, process, show, spread, take_turns

TURNS = 5
SHORT = ("agent=random", "env=cartpole", "loop.max_episodes=1", "loop.eval_episodes=1")
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
        imports = python("import hydra, gym, numpy", folder)
        pairs = take_turns(lambda: launch(*SHORT, cwd=folder), imports, TURNS)
        ratios = pairs.times_the_cost()
        yield Row(
            *("launch of one episode", '`python -c "import hydra, gym, numpy"`'),
            *("at most 1.5 times", spread(ratios), statistics.median(ratios) <= 1.5),
            *(spread(pairs.times_the_cost("cpu")), pairs.both("ms", 1e3)),
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
