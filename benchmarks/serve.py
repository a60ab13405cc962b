"""How long the page of `gym-loop serve` takes, against `gym-loop report` on the same runs.

What is measured is the server: its start until all that the page asks for first has been answered;
then what a page that is open asks for every two seconds while jobs run; then a long run's curve.
"""

import http.client
import importlib.util
import json
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.harness import Cost, Pairs, Row, launch, show, skipped, spread

RUNS, EPISODES, RUNNING, LONG, TURNS = 1_000, 1_000, 10, 100_000, 3
DRAWN = 12  # groups in the chart, as the page asks for them
ROW = "%d,%d,20,20.0,1,0,0,%.6f\n"


class Server:
    """`gym-loop serve` in a process of its own, and somebody who asks it."""

    def __init__(self, folder: Path, directory: str) -> None:
        words = [sys.executable, "-m", "gym_loop", "serve", "--no-browser", "--port", "0"]
        self.process = subprocess.Popen(
            [*words, directory], cwd=folder, stdout=subprocess.PIPE, text=True
        )
        address = urlsplit(self.process.stdout.readline().strip())
        self.connection = http.client.HTTPConnection(address.hostname, address.port)
        self.origin = f"http://{address.netloc}"
        self.cookie = ""
        self.connection.connect()
        self.connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection.request("GET", f"/?{address.query}")
        answer = self.connection.getresponse()
        answer.read()
        self.cookie = answer.getheader("set-cookie").partition(";")[0]

    def ask(self, path: str, content: object = None) -> dict:
        """Return the answer to a request."""
        headers = {"Cookie": self.cookie, "Origin": self.origin}
        body = None if content is None else json.dumps(content)
        self.connection.request("POST" if body else "GET", path, body, headers)
        return json.loads(self.connection.getresponse().read())

    def measured(self, path: str, content: object = None) -> tuple[Cost, dict]:
        """Return what a request cost the server, and its answer."""
        wall, cpu = time.perf_counter(), self.cpu()
        answer = self.ask(path, content)
        return Cost(time.perf_counter() - wall, self.cpu() - cpu, self.memory()), answer

    def cpu(self) -> float:
        """Return the seconds of a processor that the server has had."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def memory(self) -> float:
        """Return the bytes that it had at its peak."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024.0

    def close(self) -> None:
        """End it."""
        self.connection.close()
        self.process.terminate()
        self.process.wait()


def groups_of(rows: list[dict]) -> list[list[str]]:
    """Return the runs of the groups that the page draws."""
    groups: dict[str, list[str]] = {}
    for row in rows:
        groups.setdefault(row["config"], []).append(row["id"])
    return list(groups.values())[:DRAWN]


def curve(runs: list[list[str]], kind: str, window: int = 100) -> dict:
    """Return what the page asks for a chart."""
    what = {"metric": "return", "axis": "steps", "window": window, "low": None, "high": None}
    return {"groups": runs, "kind": kind, **what}


def first_page(folder: Path) -> tuple[Server, Cost, dict]:
    """Start the server and ask for all that a page shows first."""
    began = time.perf_counter()
    server = Server(folder, "runs")
    state = server.ask("/api/runs?era=-1&since=-1")
    for kind in ("eval", "train"):
        server.ask("/api/curves", curve(groups_of(state["runs"]), kind))
    cost = Cost(time.perf_counter() - began, server.cpu(), server.memory())
    return server, cost, state


def update(server: Server, folder: Path, state: dict, turn: int) -> Cost:
    """Let jobs write a few rows, and ask as an open page does."""
    for number in range(RUNNING):
        with open(folder / "runs" / f"running-{number}" / "episodes.csv", "a") as table:
            for k in range(5):
                count = EPISODES + 5 * turn + k
                table.write(ROW % (count, 200_000 + 20 * count, count))
    while True:
        time.sleep(1)
        path = f"/api/runs?era={state['era']}&since={state['version']}"
        cost, news = server.measured(path)
        state.update(version=news["version"], era=news["era"])
        if len(news["runs"]) >= RUNNING:
            return cost


def rows() -> Iterator[Row]:
    """Yield the rows: the first page, an update, a long run."""
    against = "`report` on the same runs"
    if any(importlib.util.find_spec(name) is None for name in ("uvicorn", "starlette", "scipy")):
        reason = 'pip install "gym-loop[serve,report]"'
        yield skipped("first page of `serve`", against, "at most 1", reason)
        return
    from tests.run_directories import write_run

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(RUNS):
            group, seed = divmod(number, 10)
            write_run(
                *(folder / "runs" / str(number), "ars", f"Env{group % 10}-v0", seed),
                episodes=EPISODES,
                parameters={"step_size": 0.01 * (group // 10 + 1)},
            )
        first, reports = [], []
        for _ in range(TURNS):
            server, cost, _ = first_page(folder)
            server.close()
            first.append(cost)
            reports.append(launch("report", "runs", cwd=folder))
        pairs = Pairs(first, reports)
        peak, rival = (statistics.median(c.memory for c in side) / 1e6 for side in (first, reports))
        ratios = pairs.times_the_cost()
        yield Row(
            f"first page of `serve`, {RUNS:,} runs of {EPISODES:,} episodes",
            *(against, "at most 1", f"{spread(ratios)} times, {peak:.0f} and {rival:.0f} MB"),
            *(statistics.median(ratios) <= 1, spread(pairs.times_the_cost("cpu"))),
            pairs.both("s", 1),
        )

        for number in range(RUNNING):
            write_run(
                *(folder / "runs" / f"running-{number}", "ars", "Env0-v0", 100 + number),
                episodes=EPISODES,
                host="elsewhere",
                state="running",
            )
        server, _, state = first_page(folder)
        updates = [update(server, folder, state, turn) for turn in range(TURNS)]
        server.close()
        pairs = Pairs(updates, first)
        ratios = pairs.times_the_cost()
        yield Row(
            f"update of {RUNNING} running jobs among them",
            *("the first page", "at most 0.1", f"{spread(ratios, '.3f')} times"),
            *(statistics.median(ratios) <= 0.1, spread(pairs.times_the_cost("cpu"), ".3f")),
            pairs.both("ms", 1000),
        )

        for episodes in (LONG, EPISODES):
            write_run(folder / "lengths" / str(episodes), episodes=episodes)
        server = Server(folder, "lengths")
        known = {row["name"]: row["id"] for row in server.ask("/api/runs")["runs"]}
        costs: dict[int, list[Cost]] = {LONG: [], EPISODES: []}
        for turn in range(TURNS + 1):  # smoothed in another way each time, or it is known already
            for episodes, own in costs.items():
                asked = curve([[known[str(episodes)]]], "train", 100 + turn)
                own.append(server.measured("/api/curves", asked)[0])
        server.close()
        long, short = (own[1:] for own in costs.values())
        pairs = Pairs(long, short)
        read = costs[LONG][0].wall
        yield Row(
            f"curve of {LONG:,} episodes",
            *(f"of {EPISODES:,}", "", f"{spread(pairs.times_the_cost())} times"),
            *(None, "", f"{pairs.both('ms', 1000)}; {read * 1000:.0f} ms the first time"),
        )


if __name__ == "__main__":
    show(rows())
