"""Secrets are taken out of copies of source files."""

from pathlib import Path

import pytest

from gym_loop.code import masking

PYTHON = [
    "api_key = 'S3'",
    "API_KEY: str = 'S3'",
    "self.auth_token = b'S3'",
    "login(password='S3')",
    "settings = {'access_key': 'S3'}",
    "os.environ['WANDB_API_KEY'] = 'S3'",
    "token = os.environ.get('TOKEN', 'S3')",
    "def login(name, password='S3'): pass",
    "def login(*, password='S3'): pass",
    "secret = ('S'\n  'S3')",
    "secret = f'{a}S3'",
    "password = 'a' + 'S3'",
    "é = 1; password = 'S3'",
    "passwords = dict(password=['S3'])",
    "if password == 'S3': pass",
    "url = 'https://me:S3@example.com'",
]


@pytest.mark.parametrize("text", PYTHON)
def test_a_secret_of_python_code_is_hidden_and_the_code_still_parses(text):
    hidden = masking.masked(Path("a.py"), f"first = 'kept'\n{text}\nlast = 'kept'\n")
    assert "S3" not in hidden
    assert hidden.count("'kept'") == 2
    compile(hidden, "a.py", "exec")


@pytest.mark.parametrize("text", ["token = tokens['bos']", "tokens = 'a'", "n = 3", "key = 'a'"])
def test_what_only_sounds_like_a_secret_stays(text):
    assert masking.masked(Path("a.py"), text) == text


@pytest.mark.parametrize(
    "text",
    [
        *("token: S3", "a: {b: {password: S3}}", "secrets:\n  - S3\n  - x: S3", "api-key: 'S3'"),
        *("password: |\n  S3\n  S3", "pwd: >-\n  S3", "url: http://me:S3@host"),
        *("url: 'http://host/?a=b&api_key=S3#here'", "token: ${oc.env:TOKEN,S3}"),
    ],
)
def test_a_secret_of_yaml_is_hidden(text):
    hidden = masking.masked(Path("a.yaml"), f"first: kept\n{text}\nlast: kept\n")
    assert "S3" not in hidden
    assert hidden.startswith("first: kept\n")
    assert hidden.endswith("\nlast: kept\n")


def test_a_reference_to_the_environment_is_no_secret():
    text = "token: ${oc.env:TOKEN}\npassword: null\n"
    assert masking.masked(Path("a.yaml"), text) == text


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        *(("secrets.yaml", True), ("api_token.py", True), ("credentials.yml", True)),
        *(("conf/secrets/prod.yaml", True), ("token_ring/agent.py", False)),
        *(("my_password_list.yaml", True), ("tokenizer.py", False), ("token_buffer.py", False)),
    ],
)
def test_files_are_judged_by_their_names(name, secret):
    assert masking.named_like_a_secret(Path(name)) is secret
