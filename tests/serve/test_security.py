"""Who gets in: the holder of the token, from a page of the server itself."""

import json
import socket

import pytest

from gym_loop.commands.serve import bind
from tests.run_directories import write_run
from tests.serve.conftest import starting

PATHS = ("/", "/run/x", "/film/x", "/api/runs", "/api/run/x", "/static/runs.js")


@pytest.fixture(scope="module")
def visitor(tmp_path_factory):
    folder = tmp_path_factory.mktemp("security")
    write_run(folder / "runs" / "a")
    with starting(folder) as start:
        yield start("runs")


def test_without_the_token_nothing_is_told(visitor):
    for path in PATHS:
        for headers in ({}, {"Cookie": f"gym-loop-{visitor.port}=wrong"}):
            status, _, body = visitor.raw("GET", path, cookie=False, **headers)
            assert status == 403, path
            assert body.startswith(b"refused: no token")
    status, headers, _ = visitor.raw("GET", "/?token=wrong", cookie=False)
    assert status == 403
    assert "set-cookie" not in headers


def test_the_token_becomes_a_cookie_that_no_script_and_no_other_site_gets(visitor):
    words = visitor.cookie.lower()
    assert "httponly" in words
    assert "samesite=strict" in words
    assert visitor.raw("GET", "/")[0] == 200
    for path in ("/", "/api/runs", "/static/runs.js"):
        assert visitor.token.encode() not in visitor.raw("GET", path)[2]
    assert visitor.token not in visitor.errors()


@pytest.mark.parametrize(
    ("host", "passes"),
    [
        ("127.0.0.1:{port}", True),
        ("localhost:9999", True),  # through a tunnel
        ("[::1]:{port}", True),
        ("evil.example:{port}", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example:{port}", False),
        ("", False),
        (":{port}", False),
    ],
)
def test_a_name_that_is_not_this_machines_is_refused(visitor, host, passes):
    status, _, body = visitor.raw("GET", "/api/runs", Host=host.format(port=visitor.port))
    assert (status == 200) == passes
    assert passes or b"Host" in body


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:1"},  # another server of this machine: the same site
        {"Origin": "null"},
        {},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_what_a_page_of_another_origin_asks_to_be_done_is_not_done(visitor, headers):
    run = next(iter(visitor.runs().values()))["id"]
    body = json.dumps({"run": run})
    assert visitor.raw("POST", "/api/trust", body, **headers)[0] == 403
    assert visitor.raw("POST", "/api/trust", body, Origin=visitor.origin)[0] == 200


def test_every_answer_forbids_scripts_and_requests_of_others(visitor):
    for path in (*PATHS, "/nothing", "/api/episode/x/train/1"):
        _, headers, _ = visitor.raw("GET", path)
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/film/../../runs/a/run.json",
        "/film/..%2f..%2fruns%2fa%2frun.json",
        "/api/run/..%2f..%2fetc%2fpasswd",
        "/api/log/%2Fetc%2Fpasswd",
        "/api/episode/x/..%2ftrain/best",
    ],
)
def test_paths_that_climb_lead_nowhere(visitor, path):
    status, _, body = visitor.raw("GET", path)
    assert status in (400, 404)
    assert b"root:" not in body
    assert b"import" not in body


def test_requests_that_make_no_sense_are_answered_in_a_line_and_the_server_goes_on(visitor):
    for body in (b"{", b"[]", b'"x"', b"[" * 100_000, b"\xff\xfe", b"{}", b'{"groups": 3}'):
        status, _, answer = visitor.raw("POST", "/api/curves", body, Origin=visitor.origin)
        assert status == 400, body
        assert json.loads(answer)["error"]
    assert visitor.raw("POST", "/api/curves", b"x" * 3_000_000, Origin=visitor.origin)[0] == 413
    for method in ("PUT", "DELETE", "OPTIONS"):
        assert visitor.raw(method, "/api/runs", Origin=visitor.origin)[0] == 405
    assert visitor.runs()


def test_a_browser_that_leaves_in_the_middle_of_a_request_is_not_told_of(visitor):
    head = f"POST /api/curves HTTP/1.1\r\nHost: {visitor.host}:{visitor.port}\r\n"
    head += f"Origin: {visitor.origin}\r\nCookie: {visitor.cookie.partition(';')[0]}\r\n"
    with socket.create_connection((visitor.host, visitor.port)) as connection:
        connection.sendall(f"{head}Content-Length: 100\r\nExpect: 100-continue\r\n\r\n".encode())
        assert b"100 Continue" in connection.recv(100)  # it waits for what is asked
    assert visitor.runs()
    assert "Traceback" not in visitor.errors()


def test_it_listens_for_this_machine_only_unless_told_otherwise(visitor):
    from gym_loop.commands.serve import serve

    host = next(option for option in serve.params if option.name == "host")
    assert host.default == visitor.host == "127.0.0.1"
    with bind(host.default, 0) as listening:
        assert listening.getsockname()[0] == "127.0.0.1"
