"""Show runs on a page of this machine, and play any episode."""

import contextlib
import errno
import os
import signal
import socket
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Iterator
from pathlib import Path

import click

from gym_loop.commands import ENDING, run_click
from gym_loop.mistake import Mistake

PORT, TRIES = 8642, 100


@click.command("serve", epilog="Example: gym-loop serve sweep outputs")
@click.argument("directories", nargs=-1, metavar="[DIR]...")
@click.option(
    "--port", default=PORT, show_default=True, type=click.IntRange(0, 65535), help="0: any."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--no-browser", is_flag=True, help="Print the address only.")
def serve(directories: tuple[str, ...], port: int, host: str, no_browser: bool) -> None:
    """Serve a page of the runs in and below each DIR (./outputs and ./multirun) until Ctrl-C.

    It shows tables and curves as they grow, plays any episode again, and compares runs. It reads
    only, and nobody gets in without the token in the address that is printed.
    """
    try:
        import jinja2  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise Mistake(f'gym-loop serve needs {error.name}: pip install "gym-loop[serve]"') from None
    from gym_loop.serve import app, security, watch

    roots = find_roots(directories)
    with bind(host, port) as listening:
        taken = listening.getsockname()[1]
        if port and taken != port:
            print(f"port {port} is in use: taking {taken} instead", file=sys.stderr)
        if host not in ("localhost", "::1") and not host.startswith("127."):
            print(
                f"listening on {host}: whoever reaches this machine and has the token can read "
                "these runs and play their episodes, and the connection is not encrypted",
                file=sys.stderr,
            )
        token = security.new_token()
        cinema = watch.Cinema(watch.cache_directory())
        guarded = security.Guard(app.create(app.Site(roots, cinema)), token, taken, host)
        name = socket.gethostname() if host in ("0.0.0.0", "::") else host
        address = f"http://{f'[{name}]' if ':' in name else name}:{taken}/?token={token}"
        print(address, flush=True)
        config = uvicorn.Config(
            guarded,
            log_level="warning",
            access_log=False,  # it would print the token
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=1,
        )
        shown = contextlib.nullcontext() if no_browser else opened(address, cinema.directory)
        server, told = uvicorn.Server(config), list[int]()

        def leave(number: int, _: object) -> None:
            """Have the server end: what plays episodes is ended, and no file with the token stays.

            An exception would be raised anywhere in what starts the server.
            """
            told.append(number)
            server.should_exit = True

        for number in ENDING:  # uvicorn raises those that it gets again at its end
            if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                signal.signal(number, leave)
        try:
            with shown:
                server.run(sockets=[listening])
        finally:
            cinema.close()
        if told:
            sys.exit(128 + told[0])


def find_roots(directories: tuple[str, ...]) -> list[Path]:
    """Return the directories to look into, each once, none within another.

    Raises:
        Mistake: one that is named does not exist.
    """
    from gym_loop.runs.reading import DEFAULT

    for directory in directories:
        if not Path(directory).is_dir():
            raise Mistake(f"no directory {directory}; expected a run's, or one with runs below it")
    paths = dict.fromkeys(Path(name).resolve() for name in directories or DEFAULT)
    return [path for path in paths if not any(other in path.parents for other in paths)]


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to the port, or to the next one that is free.

    Raises:
        Mistake: the host is none of this machine's, or there is no free port.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise Mistake(f"--host {host}: {error.strerror or error}") from None
    for number in range(port, min(port + TRIES, 65536)):
        # Of sockets that are said to be TCP's, asyncio sends small answers at once.
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((address[0], number))
            listening.listen(128)
        except OSError as error:
            listening.close()
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                continue
            raise Mistake(f"cannot listen on {host}: {error.strerror}") from None
        return listening
    raise Mistake(f"no port from {port} to {number} can be had; choose another --port")


@contextlib.contextmanager
def opened(address: str, folder: Path) -> Iterator[None]:
    """Open the page, where there is a screen.

    All users see the words that a process was started with, so the browser gets the token from a
    file that only this user can read.
    """
    if not (sys.platform == "darwin" or {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys()):
        yield
        return
    page = f'<!doctype html><meta http-equiv="refresh" content="0;url={address}">'
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = tempfile.NamedTemporaryFile(suffix=".html", dir=folder, buffering=0)
        file.write(page.encode())
    except OSError as error:
        print(f"cannot open a browser: {folder}: {error.strerror}", file=sys.stderr)
        yield
        return
    with file:
        threading.Thread(target=webbrowser.open, args=(f"file://{file.name}",), daemon=True).start()
        yield


def main(arguments: list[str]) -> None:
    """Run the command."""
    run_click(serve, arguments)
