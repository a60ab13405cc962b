"""The quick way to a job's config is Hydra's own config."""

import pytest
from hydra import main as hydra_main
from hydra.errors import HydraException
from omegaconf import OmegaConf

from gym_loop import launch
from gym_loop.sweeps import launcher
from gym_loop.sweeps.compose import Composer, only_to_file

JOBS = [
    ["seed=3"],
    ["env=cartpole", "agent=random", "seed=3", "loop.max_episodes=7"],
    ["loop.max_episodes=null", "loop.logdir='a b'", "seed=3"],
    ["+loop.extra=1", "++env.kwargs.g=9.8", "env=pendulum"],
    ["loop={max_episodes: 4}", "loop.max_episodes=5"],
    ["observers=default", "~observers.progress", "seed=1"],
    ["env={id: Pendulum-v1}", "env.imports=[os]", "seed=2"],
    ["env=gym:Acrobot-v1", "env.imports=[os]"],
]


class Compared(Exception):
    """Ends a launch before anything runs."""


@pytest.fixture
def in_a_sweep(tmp_path, monkeypatch):
    """Call a function with the launcher of a sweep that is about to check its jobs."""

    def run(function):
        def check(self, sweep, job_overrides, number):
            function(self)
            raise Compared

        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
        monkeypatch.setattr("sys.argv", ["gym-loop", "-m", "seed=1,2"])
        monkeypatch.setattr(launcher.SweepLauncher, "check", check)
        with pytest.raises(Compared), launch.surroundings():
            hydra_main(config_path=str(launch.CONF), config_name="config", **launch.VERSION_BASE)(
                launch.run
            )()

    return run


@pytest.mark.slow
def test_a_composed_config_is_that_of_hydra_without_the_terminal(in_a_sweep):
    def compare(self):
        composer = Composer(self.context.config_loader, self.config)
        for number, words in enumerate([*JOBS, *JOBS]):  # the second time from what is kept
            theirs = self.context.config_loader.load_sweep_config(self.config, words)
            try:
                ours = composer.compose(words, number)
            except Exception:
                pytest.fail(f"{words} do not compose")
            only_to_file(theirs)
            ours.hydra.sweep.dir = theirs.hydra.sweep.dir = "d"
            ours.hydra.job.num, ours.hydra.job.id = "???", "???"
            for config in (ours, theirs):
                # Which of them were given is what is compared, not in which list they are told.
                config.hydra.overrides.task = sorted(config.hydra.overrides.task)
            ours.hydra.runtime.choices = dict(sorted(ours.hydra.runtime.choices.items()))
            theirs.hydra.runtime.choices = dict(sorted(theirs.hydra.runtime.choices.items()))
            assert OmegaConf.to_yaml(ours) == OmegaConf.to_yaml(theirs), words

    in_a_sweep(compare)


@pytest.mark.parametrize("word", ["sed=3", "agents.lr=1", "env=nothing", "seed=[1"])
def test_what_hydra_refuses_is_refused(in_a_sweep, word):
    def compare(self):
        composer = Composer(self.context.config_loader, self.config)
        with pytest.raises(HydraException) as theirs:
            self.context.config_loader.load_sweep_config(self.config, [word])
        with pytest.raises(type(theirs.value)):
            composer.compose([word], 0)

    in_a_sweep(compare)
