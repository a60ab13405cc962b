"""`gym-loop serve` on the command line."""

import os
import re
import socket

import pytest

from tests.run_directories import write_run


def test_a_port_in_use_is_said_and_the_next_free_one_is_taken(serve, tmp_path):
    (tmp_path / "runs").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        visitor = serve("runs", port=port)
        assert visitor.port > port
        assert re.fullmatch(
            rf"port {port} is in use: taking {visitor.port} instead\n", visitor.errors()
        )


def test_a_folder_without_runs_is_waited_for(serve, tmp_path):
    visitor = serve()  # neither ./outputs nor ./multirun is there
    assert visitor.runs() == {}
    assert b"gym-loop agent=random env=pendulum" in visitor.raw("GET", "/")[2]
    write_run(tmp_path / "outputs" / "a")
    assert wait_for(lambda: set(visitor.runs()) == {"outputs/a"})


def wait_for(question):
    import time

    end = time.monotonic() + 30
    while time.monotonic() < end:
        if question():
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["nowhere"], "no directory nowhere; expected a run's, or one with runs below it"),
        (["--port", "70000"], "70000"),
        (["--host", "no.such.host.invalid"], "--host no.such.host.invalid"),
    ],
)
def test_a_mistake_in_the_request_is_one_line(cli, words, line):
    for module in ("starlette", "uvicorn", "jinja2"):
        pytest.importorskip(module, reason='needs: pip install "gym-loop[serve]"')
    done = cli("serve", "--no-browser", *words)
    assert done.returncode == 2
    assert line in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_missing_extra_is_named_with_the_command_that_installs_it(cli, tmp_path):
    (tmp_path / "starlette.py").write_text("raise ImportError(name='starlette')")
    done = cli("serve", "--no-browser")
    assert done.returncode == 2
    assert 'pip install "gym-loop[serve]"' in done.stderr


def test_several_directories_are_served_once_each(serve, tmp_path):
    write_run(tmp_path / "one" / "a")
    write_run(tmp_path / "two" / "b", seed=1)
    visitor = serve("one", "two", "./one", "one/a")
    assert set(visitor.runs()) == {"one/a", "two/b"}


def test_ctrl_c_ends_it_at_once_and_quietly(serve, tmp_path):
    import signal

    write_run(tmp_path / "outputs" / "a")
    visitor = serve()
    visitor.runs()
    visitor.process.send_signal(signal.SIGINT)
    assert visitor.process.wait(timeout=30) in (0, 130)
    assert visitor.errors().strip() == ""


def test_where_no_file_can_hand_the_token_to_a_browser_the_address_is_printed(start, tmp_path):
    for module in ("starlette", "uvicorn", "jinja2"):
        pytest.importorskip(module, reason='needs: pip install "gym-loop[serve]"')
    (tmp_path / "file").touch()
    places = {"XDG_CACHE_HOME": str(tmp_path / "file"), "DISPLAY": ":0", "BROWSER": "true"}
    process = start("serve", "--port", "0", env=os.environ | places)
    assert process.stdout.readline().startswith("http://")
    assert process.stderr.readline().startswith("cannot open a browser: ")
    process.terminate()
    assert process.communicate(timeout=30)[1] == ""
    assert process.returncode == 143
