"""The server: pages, and what their scripts ask for. It changes nothing but its cache of films."""

import functools
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    Response,
)
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from gym_loop.mistake import Failure, Mistake
from gym_loop.reports import page as report
from gym_loop.runs import reading
from gym_loop.serve import curves, details, episodes, files
from gym_loop.serve.curves import Tables
from gym_loop.serve.files import RefusedFileError
from gym_loop.serve.library import Entry, Library
from gym_loop.serve.watch import Cinema
from gym_loop.terminal import printable

HERE = Path(__file__).parent
MOST_ASKED = 2_000_000  # bytes of a request
KINDS = ("train", "eval")
MOST_GROUPS, MOST_WINDOW = 200, 100_000

# Answers what a page asks for: what is in the path, in the query and in the body of a request.
Work = Callable[["Site", dict[str, Any]], Any]


class Site:
    """What the requests share."""

    def __init__(self, roots: list[Path], cinema: Cinema) -> None:
        self.library = Library(roots)
        self.tables = Tables()
        self.cinema = cinema
        self.templates = report.environment(HERE / "templates")

    def run(self, name: Any) -> Entry:
        """Return the run with an id.

        Raises:
            Mistake: there is none.
        """
        entry = self.library.get(str(name))
        if entry is None:
            raise Mistake("no such run; its directory may have been moved or deleted")
        return entry

    def readable(self, name: Any) -> Entry:
        """Return the run with an id, if its files may be read.

        Raises:
            Mistake: there is none, or they may not.
        """
        entry = self.run(name)
        if details.files_refused(entry):
            raise Mistake("; ".join(entry.row.get("warnings", [])) or "the run cannot be read")
        return entry


def create(site: Site) -> Starlette:
    """Return the application."""

    def json_of(work: Work) -> Callable[[Request], Awaitable[Response]]:
        """Return the endpoint that answers with what `work` returns; mistakes are one line."""

        async def endpoint(request: Request) -> Response:
            body = b""
            try:
                async for part in request.stream():
                    body += part
                    if len(body) > MOST_ASKED:
                        return JSONResponse({"error": "the request is too large"}, 413)
            except ClientDisconnect:  # as a browser that closes the page: nobody reads an answer
                return Response(status_code=400)
            try:
                asked = json.loads(body) if body else {}
                if not isinstance(asked, dict):
                    raise ValueError
            except (ValueError, RecursionError):
                return JSONResponse({"error": "expected JSON"}, 400)
            asked |= {**request.query_params, **request.path_params}
            status, content = await run_in_threadpool(_answer, work, site, asked)
            return JSONResponse(content, status)

        return endpoint

    def page(name: str) -> Callable[[Request], Response]:
        def endpoint(request: Request) -> Response:
            return HTMLResponse(site.templates.get_template(name).render(title="gym-loop"))

        return endpoint

    def film(request: Request) -> Response:
        path = site.cinema.path(request.path_params["key"])
        if path is None:
            return PlainTextResponse("no such film", 404)
        return FileResponse(path, media_type="video/mp4")

    static = StaticFiles(directory=HERE / "static", packages=[("gym_loop.reports", "static")])
    get = functools.partial(Route, methods=["GET"])
    post = functools.partial(Route, methods=["POST"])
    return Starlette(
        routes=[
            get("/", page("runs.html")),
            get("/run/{run}", page("run.html")),
            get("/film/{key}", film),
            get("/api/runs", json_of(_runs)),
            get("/api/run/{run}", json_of(_run)),
            get("/api/log/{run}", json_of(_log)),
            get("/api/episode/{run}/{kind}/{which}", json_of(_episode)),
            get("/api/part/{one}/{two}/{kind}", json_of(_parting)),
            get("/api/film/{key}", json_of(_film)),
            post("/api/curves", json_of(_curves)),
            post("/api/tags", json_of(_tags)),
            post("/api/compare", json_of(_compare)),
            post("/api/watch", json_of(_watch)),
            post("/api/trust", json_of(_trust)),
            Mount("/static", static),
        ]
    )


def _answer(work: Work, site: Site, asked: dict[str, Any]) -> tuple[int, Any]:
    """Return status and content; whatever is wrong with a run is one line of text."""
    try:
        return 200, work(site, asked)
    except Mistake as mistake:
        return 400, {"error": printable(mistake.message)}
    except (Failure, RefusedFileError, OSError) as error:
        return 400, {"error": printable(error)}
    except Exception as error:  # a directory may hold anything; the server goes on
        return 500, {"error": f"cannot be read: {type(error).__name__}: {printable(error)}"}


def _runs(site: Site, asked: dict[str, Any]) -> Any:
    era, since = (_whole(asked.get(name), -1) for name in ("era", "since"))
    content = site.library.changes(era, since)
    return content | {"roots": [printable(root) for root in site.library.roots]}


def _run(site: Site, asked: dict[str, Any]) -> Any:
    site.library.refresh()
    return details.details(site.run(asked["run"]))


def _log(site: Site, asked: dict[str, Any]) -> Any:
    site.library.refresh()
    entry = site.run(asked["run"])
    refused = details.files_refused(entry)
    log = "" if refused else files.tail(entry.directory / "gym_loop.log")
    return {"log": log, "row": entry.row}


def _curves(site: Site, asked: dict[str, Any]) -> Any:
    groups = asked.get("groups")
    if not isinstance(groups, list) or len(groups) > MOST_GROUPS:
        raise Mistake(f"expected at most {MOST_GROUPS} groups of runs")
    axis = asked.get("axis")
    if axis not in curves.AXES:
        raise Mistake(f"axis {axis!r}: expected one of {', '.join(curves.AXES)}")
    entries = [
        [entry for name in group if (entry := site.library.get(str(name))) is not None]
        for group in groups
    ]
    window = min(max(_whole(asked.get("window"), 1), 1), MOST_WINDOW)
    low, high = (reading.finite(asked.get(name)) for name in ("low", "high"))
    readable = [[entry for entry in group if not details.files_refused(entry)] for group in entries]
    metric = str(asked.get("metric", "return"))
    view = curves.View(_kind(asked.get("kind")), metric, axis, window, low, high)
    return {"groups": curves.draw(site.tables, readable, view)}


def _tags(site: Site, asked: dict[str, Any]) -> Any:
    found: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for name in list(asked.get("runs") or ())[:10]:
        for kind, tags in curves.tags(site.tables, site.readable(name)).items():
            found[kind] = sorted({*found[kind], *tags})
    return found


def _episode(site: Site, asked: dict[str, Any]) -> Any:
    entry, kind = site.readable(asked["run"]), _kind(asked["kind"])
    number = episodes.find(site.tables, entry, kind, asked["which"])
    return episodes.facts(episodes.load(entry, kind, number)) | {"kind": kind, "row": entry.row}


def _parting(site: Site, asked: dict[str, Any]) -> Any:
    one, two = site.readable(asked["one"]), site.readable(asked["two"])
    return episodes.parting(one, two, _kind(asked["kind"]))


def _watch(site: Site, asked: dict[str, Any]) -> Any:
    entry, kind = site.readable(asked.get("run")), _kind(asked.get("kind"))
    trace = episodes.load(entry, kind, _whole(asked.get("episode"), -1))
    return site.cinema.ask(entry, kind, trace)


def _film(site: Site, asked: dict[str, Any]) -> Any:
    return site.cinema.state(asked["key"])


def _trust(site: Site, asked: dict[str, Any]) -> Any:
    entry = site.run(asked.get("run"))
    site.cinema.trusted.add(entry.root)
    return {"trusted": printable(entry.root)}


def _compare(site: Site, asked: dict[str, Any]) -> Any:
    try:
        import scipy  # noqa: F401
    except ImportError:
        raise Mistake('comparing needs SciPy: pip install "gym-loop[serve]"') from None
    from gym_loop.reports import comparison

    chosen = [site.run(name) for name in asked.get("runs") or ()]
    entries = [entry for entry in chosen if not details.files_refused(entry)]
    if not entries:
        raise Mistake("choose runs to compare that can be read")
    refused = [
        f"{entry.row['name']} is left out: {'; '.join(entry.row['warnings'])}"
        for entry in chosen
        if entry not in entries
    ]
    runs = [reading.RunContent(entry.directory) for entry in entries]
    for run in runs:  # recordings are not shown, and their folders may be anywhere
        if isinstance(loop := run.config.get("loop"), dict):
            run.config["loop"] = {k: v for k, v in loop.items() if not k.endswith("record_dir")}
    unfinished = not any(run.state == "finished" for run in runs)  # then by what they have so far
    view: dict[str, Any] = {"problem": "", "configs": site.library.differences(entries)}
    try:
        content = comparison.compare(runs, (), asked.get("metric") or None, unfinished)
        view |= {name: content[name] for name in ("metric_is", "notes")}
        view["warnings"] = [*refused, *content["warnings"]]
        view["sections"] = report.sections(content)
    except Mistake as mistake:  # the configs can be compared all the same
        view["problem"] = printable(mistake.message)
    return {"html": site.templates.get_template("compare.html").render(view)}


def _kind(kind: Any) -> str:
    if kind not in KINDS:
        raise Mistake(f"kind {kind!r}: expected train or eval")
    return str(kind)


def _whole(value: Any, otherwise: int) -> int:
    """Return a whole number that a request holds."""
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return otherwise
