"""A server in a process of its own, and somebody who asks it as a browser would."""

import contextlib
import http.client
import json
import os
import re
import subprocess
import sys
from urllib.parse import urlsplit

import pytest


class Visitor:
    """Somebody who has opened the address that the server printed."""

    def __init__(self, address, process):
        parts = urlsplit(address)
        self.address, self.process = address, process
        self.host, self.port = parts.hostname, parts.port
        self.token = parts.query.removeprefix("token=")
        self.origin = f"http://{self.host}:{self.port}"
        _, headers, _ = self.raw("GET", f"/?{parts.query}", cookie=False)
        self.cookie = headers["set-cookie"]

    def raw(self, method, path, body=None, cookie=True, **headers):
        """Return status, headers and body."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        if cookie:
            headers["Cookie"] = self.cookie.partition(";")[0]
        connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, content

    def get(self, path):
        status, _, body = self.raw("GET", path)
        return status, json.loads(body)

    def post(self, path, **content):
        origin = {"Origin": self.origin, "Content-Type": "application/json"}
        status, _, body = self.raw("POST", path, json.dumps(content), **origin)
        return status, json.loads(body)

    def runs(self):
        """Return the rows by the runs' names."""
        return {run["name"]: run for run in self.get("/api/runs?era=-1&since=-1")[1]["runs"]}


@contextlib.contextmanager
def starting(folder):
    """Start `gym-loop serve WORDS --no-browser` in `folder`; what has been started ends here."""
    for module in ("starlette", "uvicorn", "jinja2", "scipy"):
        pytest.importorskip(module, reason='needs: pip install "gym-loop[serve]"')
    started = []

    def start(*words, port=0):
        command = [sys.executable, "-m", "gym_loop", "serve", "--no-browser", "--port", str(port)]
        errors = open(folder.with_name(f"{folder.name}-stderr"), "w+")
        process = subprocess.Popen(
            [*command, *map(str, words)],
            cwd=folder,
            env=os.environ | {"XDG_CACHE_HOME": str(folder.with_name(f"{folder.name}-cache"))},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        started.append((process, errors))
        line = process.stdout.readline()
        if not re.match(r"http://", line):
            process.wait(timeout=30)
            errors.seek(0)
            pytest.fail(f"no address, but {line!r}: {errors.read()}")
        visitor = Visitor(line.strip(), process)
        visitor.errors = lambda: open(errors.name).read()
        return visitor

    try:
        yield start
    finally:
        for process, errors in started:
            process.terminate()
            process.communicate(timeout=30)
            errors.close()


@pytest.fixture
def serve(tmp_path):
    """Start the server in an empty folder; return a visitor."""
    with starting(tmp_path) as start:
        yield start
