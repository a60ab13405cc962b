"""How tests run the program: as a user's process, or within this one where that is enough."""

import contextlib
import csv
import importlib
import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
import traceback
import warnings
from multiprocessing import forkserver
from pathlib import Path

import pytest

from gym_loop import files
from gym_loop.mistake import Mistake
from tests import core_size

AGENTS = Path(__file__).parent / "sample_agents.py"
NEEDED_BY_CHILDREN = (
    *("click", "gym.envs.classic_control", "gymnasium.envs.classic_control"),
    *("gym_loop.envs.gym_numpy", "gym_loop.loops", "gym_loop.vector.loop", "gym_loop.sweeps.pool"),
    *("gym_loop.code.observer", "gym_loop.code.sources", "gym_loop.observers.checkpoints"),
    *("gym_loop.observers.tensorboard", "gym_loop.search.optunas", "gym_loop.search.sweeper"),
)

# A shell starts what runs in its background with SIGINT ignored, and so would be every process
# that a test starts and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # and so it is by `nohup`


@pytest.fixture(autouse=True)
def _logging_as_it_was():
    """Take away the handlers of a run in this process: they write to what the test had captured."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def limited():
    """Let no file grow beyond so many bytes, as a full disk would: writes end in the middle."""
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size=soft):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

    yield limit
    limit()
    signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture
def cli(tmp_path):
    """Run `python -m gym_loop WORDS` in an empty folder, as a user does, and wait for it."""

    def run(*words, cwd=tmp_path, environment=None, **options):
        command = [sys.executable, "-m", "gym_loop", *map(str, words)]
        # An environment made within this process may have said that there is no display.
        inherited = {k: v for k, v in os.environ.items() if k != "SDL_VIDEODRIVER"}
        env = {**inherited, **(environment or {})}
        return subprocess.run(
            command, cwd=cwd, env=env, capture_output=True, text=True, check=False, **options
        )

    return run


@pytest.fixture
def start(tmp_path):
    """Start `python -m gym_loop WORDS` in an empty folder; whatever still runs is killed."""
    started = []

    def run(*words, cwd=tmp_path, **options):
        command = [sys.executable, "-m", "gym_loop", *map(str, words)]
        process = subprocess.Popen(
            command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def launch(tmp_path, monkeypatch):
    """Launch a run within this process and return its directory."""
    monkeypatch.chdir(tmp_path)

    def run(*overrides, directory="run"):
        from gym_loop.launch import launch

        launch([*map(str, overrides), f"hydra.run.dir={directory}"])
        return tmp_path / directory

    return run


@pytest.fixture
def alone(cli, tmp_path):
    """Launch a run in a process of its own and return its directory.

    It has the streams of what it uses itself: this process may have imported torch.
    """

    def run(*overrides, directory):
        done = cli(*overrides, f"hydra.run.dir={directory}")
        assert done.returncode == 0, done.stderr
        return tmp_path / directory

    return run


@pytest.fixture
def browser(tmp_path):
    """Headless Chromium, which keeps what it asks for and what it complains of."""
    webdriver = pytest.importorskip(
        "selenium.webdriver", reason='needs: pip install "gym-loop[browser]"'
    )
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("needs the Debian packages chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (
        *("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run"),
        *("disable-background-networking", "disable-component-update", "disable-sync"),
        *(
            f"user-data-dir={tmp_path.with_name(f'{tmp_path.name}-profile')}",
            "window-size=1280,900",
        ),
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(executable_path=driver)
    opened = webdriver.Chrome(options=options, service=service)
    yield opened
    opened.quit()


def pytest_terminal_summary(terminalreporter):
    """Print how large the core is."""
    terminalreporter.write_line(core_size.summary())


@pytest.fixture(scope="session")
def as_a_child(tmp_path_factory):
    """Run `gym-loop WORDS` in a child of this process, which has imported everything already.

    As good as a process of its own for what a command prints, leaves behind and exits with, and
    much faster. A child that takes longer than three minutes is killed.
    """
    import hydra

    from gym_loop import launch
    from gym_loop.__main__ import main

    for name in NEEDED_BY_CHILDREN:
        with contextlib.suppress(ImportError, Mistake):  # what is not installed, nor is asked for
            importlib.import_module(name)

    with (
        launch.surroundings(),
        hydra.initialize_config_dir(str(launch.CONF), **launch.VERSION_BASE),
    ):
        hydra.compose("config")  # finds Hydra's plugins
    written = str(tmp_path_factory.getbasetemp())

    def run(words, folder):
        out, err = (folder.with_name(f"{folder.name}-{stream}") for stream in ("out", "err"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # pytest's workers have a thread
            child = os.fork()
        if child == 0:
            code = 70
            try:
                signal.alarm(180)
                # Its server of processes, if a test has started one, is no child of this child.
                forkserver._forkserver._forkserver_pid = None
                # Nor has it imported what a test before this one had written.
                for name, module in [*sys.modules.items()]:
                    if str(getattr(module, "__file__", None)).startswith(written):
                        del sys.modules[name]
                os.chdir(folder)
                for number, file in ((1, out), (2, err)):
                    os.dup2(os.open(file, os.O_CREAT | os.O_WRONLY | os.O_TRUNC), number)
                sys.stdout = open(1, "w", closefd=False)
                sys.stderr = open(2, "w", buffering=1, closefd=False)
                sys.argv = ["gym-loop", *words]
                main()
                code = 0
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else int(end.code is not None)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return subprocess.CompletedProcess(words, code, out.read_text(), err.read_text())

    return run


@pytest.fixture
def child(as_a_child, tmp_path):
    """Run `gym-loop WORDS` in an empty folder as `cli` does, but in a child of this process."""
    return lambda *words, cwd=tmp_path: as_a_child([*map(str, words)], cwd)


def rows(directory, table="episodes.csv"):
    """The rows of a run's table as dicts, wall time aside."""
    with open(Path(directory) / table) as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def left_by_a_killed_process(path):
    """The temporary name beside `path` that a process of this program would have left there."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return path.with_name(files.temporary(path).name.replace(f"{os.getpid()}@", f"{ended.pid}@"))
