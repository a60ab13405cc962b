"""Recording one long episode, beside Gymnasium's RecordVideo on a shorter one.

Each is a process of its own, of which the peak of memory is taken, less that of one that plays the
same without recording. The wait is what the loop stands still for at the episode's end.
"""

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.harness import ROOT, Row, show, skipped

FRAMES, FEWER = 20_000, 1_000
EPISODE = """
import json, resource, sys, time, warnings
from pathlib import Path
import gymnasium, numpy as np

class Film(gymnasium.Env):
    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}
    observation_space = gymnasium.spaces.Box(0, 1, (1,))
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, length, render_mode="rgb_array"):
        self.length, self.render_mode = length, render_mode
        y, x = np.mgrid[:400, :600]
        self.picture = np.stack([x % 256, y % 256, (x + y) % 256], 2).astype(np.uint8)

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.now = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.now += 1
        return np.zeros(1, np.float32), 1.0, self.now >= self.length, False, {}

    def render(self):
        picture = self.picture.copy()
        left = 5 * self.now % 560
        picture[180:220, left:left + 40] = 255
        return picture

def ours(length, record):
    from gym_loop.agents import RandomAgent
    from gym_loop.loops import DefaultLoop
    from gym_loop.observers.recorder import Recorder
    env, recorder = Film(length), Recorder()
    agent = RandomAgent(env.observation_space, env.action_space)
    loop = DefaultLoop(agent, env, record=record, max_episodes=1, max_episode_len=length + 1)
    loop.observers, loop.directory = {"recorder": recorder}, Path(".")
    loop.notify("begin", loop)
    waits, end = [], recorder.end_episode
    def timed(*args):
        began = time.perf_counter()
        end(*args)
        waits.append(time.perf_counter() - began)
    recorder.end_episode = timed
    began = time.perf_counter()
    loop.train()
    seconds = time.perf_counter() - began
    recorder.close(None)
    return seconds, max(waits, default=0.0)  # without a recording nobody waits

def rival(length, record):
    warnings.simplefilter("ignore")
    from gymnasium.wrappers import RecordVideo
    env = RecordVideo(Film(length), "rival", disable_logger=True)
    env.reset()
    began, ended = time.perf_counter(), False
    while not ended:
        ended = env.step(0)[2]
    played = time.perf_counter()
    env.close()
    return time.perf_counter() - began, time.perf_counter() - played

seconds, wait = {"ours": ours, "rival": rival}[sys.argv[1]](int(sys.argv[2]), sys.argv[3] == "1")
scale = 1 if sys.platform == "darwin" else 1024
peak = scale * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"seconds": seconds, "wait": wait, "peak": peak}))
"""


def played(folder: str, who: str, length: int, record: bool = True) -> dict[str, Any]:
    """Return seconds, the wait at the end, and the peak of memory in bytes."""
    words = (sys.executable, "-c", EPISODE, who, str(length), str(int(record)))
    done = subprocess.run(
        words, cwd=folder, env={"PYTHONPATH": str(ROOT)}, check=True, stdout=subprocess.PIPE
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def rows() -> Iterator[Row]:
    """Yield rows about memory, the wait and the file."""
    what, against = f"recording {FRAMES:,} frames of 600 x 400", "Gymnasium's RecordVideo"
    if importlib.util.find_spec("gymnasium") is None:
        yield skipped(what, against, "", "gymnasium is not installed")
        return
    from imageio_ffmpeg import count_frames_and_secs

    with tempfile.TemporaryDirectory() as folder:
        base = played(folder, "ours", FEWER, False)["peak"]
        ours, rival = played(folder, "ours", FRAMES - 1), None  # and one of the reset
        video = Path(folder, "episode_records", "episode-000000.mp4")
        frames = count_frames_and_secs(str(video))[0]
        if importlib.util.find_spec("moviepy"):
            rival = played(folder, "rival", FEWER - 1)
    if rival is None:
        yield skipped(what, against, "", "moviepy is not installed")
    more = f"{against}, {FEWER:,} frames" if rival else ""
    memory = (ours["peak"] - base) / 1e6
    yield Row(
        *(f"{what}: memory", more, "less than 100 MB", f"{memory:.0f} MB", memory < 100, ""),
        f"{memory:.0f} and {(rival['peak'] - base) / 1e6:.0f} MB" if rival else "",
    )
    yield Row(
        *(f"{what}: the wait at the end", more, "under 1 s", f"{1e3 * ours['wait']:.1f} ms"),
        *(ours["wait"] < 1, ""),
        f"{1e3 * ours['wait']:.1f} and {1e3 * rival['wait']:.0f} ms" if rival else "",
    )
    yield Row(f"{what}: in the file", "", f"{FRAMES:,}", f"{frames:,} frames", frames == FRAMES)


if __name__ == "__main__":
    show(rows())
