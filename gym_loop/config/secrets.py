"""Hides the values of a config that are secret; the list of names that tell them."""

import hashlib
import itertools
import re
from collections.abc import Sequence
from typing import Any

HIDDEN = "(hidden)"
# A key whose last word is one of these holds a secret, whatever its type: `auth_token`, `API-KEY`.
# Where such a word comes earlier (`token_size`), only a text is hidden.
NAMES = {
    *("token", "password", "passwd", "passphrase", "pwd", "secret", "secrets"),
    *("credential", "credentials", "apikey", "authorization"),
}
# The same for two words in a row.
PAIRS = {"api_key", "access_key", "private_key", "secret_key", "auth_key", "account_key"}
# Keys that are shown even when their value comes from the environment: they tell runs apart.
SHOWN = {"seed", "id", "_target_", "dir", "logdir"}
# A key and its value in a mapping that is typed: `{user: me, token: abc}`.
IN_MAPPING = re.compile(r"""([\w.-]+)(\s*:\s*)('[^']*'|"[^"]*"|[^][{},'"]+)""")
PASSWORD_IN_URL = re.compile(r"(?<=://)[^/@\s]+:[^/@\s]+(?=@)")


def names_a_secret(key: str, value: Any = "") -> bool:
    """Return whether a key, the last part of a dotted one, has a name of a secret: `api_token`."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key.rpartition(".")[2])
    words = re.split(r"[^a-z0-9]+", spaced.lower())
    pairs = ["_".join(pair) for pair in itertools.pairwise(words)]
    if words[-1] in NAMES or (pairs and pairs[-1] in PAIRS):
        return not (value is None or isinstance(value, bool))
    return isinstance(value, str | bytes) and bool(NAMES & {*words} or PAIRS & {*pairs})


def masked(value: Any, path: tuple[Any, ...] = (), from_environment: bool = False) -> Any:
    """Return a resolved value, or a whole config, with what is secret in it hidden.

    Args:
        value: of plain containers.
        path: the keys that lead to it.
        from_environment: whether `${oc.env:...}` brought it.
    """
    if isinstance(value, dict):
        return {_as_text(k): masked(v, (*path, k), from_environment) for k, v in value.items()}
    if isinstance(value, list):
        return [masked(v, (*path, n), from_environment) for n, v in enumerate(value)]
    if any(names_a_secret(str(key), value) for key in path):
        return HIDDEN
    if from_environment and isinstance(value, str) and str(path[-1]) not in SHOWN:
        # Runs with different values stay different in a report; too short to guess a value from.
        return f"(hidden {hashlib.blake2b(value.encode(), digest_size=3).hexdigest()})"
    return PASSWORD_IN_URL.sub(HIDDEN, value) if isinstance(value, str) else value


def _as_text(key: Any) -> Any:
    """Return a key that JSON can hold."""
    return key.decode(errors="replace") if isinstance(key, bytes) else key


def shown(key: str, value: Any) -> str:
    """Return the value of a dotted key for a message."""
    return HIDDEN if names_a_secret(key, value) else str(value)


def masked_words(words: Sequence[str]) -> list[str]:
    """Return overrides as they were typed, their secrets hidden."""
    hidden = []
    for word in words:
        key, equals, value = word.partition("=")
        secret = equals and names_a_secret(key.lstrip("+~"), value) and "${" not in value
        if "{" in value:
            word = IN_MAPPING.sub(_masked_pair, word)
        hidden.append(f"{key}={HIDDEN}" if secret else PASSWORD_IN_URL.sub(HIDDEN, word))
    return hidden


def _masked_pair(pair: re.Match[str]) -> str:
    key, colon, value = pair.groups()
    return f"{key}{colon}{HIDDEN}" if names_a_secret(key, value.strip()) else pair[0]
