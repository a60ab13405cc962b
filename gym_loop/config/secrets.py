"""Hides the values of a config that are secret; the list of names that tell them."""

import functools
import hashlib
import itertools
import re
from collections.abc import Sequence
from typing import Any

HIDDEN = "(hidden)"
# A key whose last word is one of these holds a secret, whatever its type: `auth_token`, `API-KEY`.
# Where such a word comes earlier (`token_size`) or in the plural, a text alone is hidden, and no
# number; `tokens` are those of a language.
NAMES = {
    *("token", "password", "passwd", "passphrase", "pwd", "secret", "secrets"),
    *("credential", "credentials", "apikey", "authorization", "bearer", "cookie", "jwt"),
}
# The same for two words in a row.
PAIRS = {
    *("api_key", "access_key", "private_key", "secret_key", "auth_key", "account_key"),
    *("signing_key", "encryption_key", "session_key", "ssh_key", "license_key", "master_key"),
}
# The words under which a text is hidden, wherever they come in a key.
OF_TEXTS = NAMES | PAIRS | {"auth", "pass"}
# Keys that are shown even when their value comes from the environment: they tell runs apart.
SHOWN = {"seed", "id", "_target_", "dir", "logdir"}
KEY_IN_MAPPING = re.compile(r"([\w.-]+)\s*:\s*")  # `{user: me, token: abc}`, as it is typed
# `user:password@` in a URL; what is long and stands alone there is a token.
PASSWORD_IN_URL = re.compile(r"""(?<=://)([^/?#\s'"]*:[^/?#\s'"]+|[^/?#\s'"@:]{16,})(?=@)""")
# `${oc.env:TOKEN,abc}`: what holds where the environment has none.
DEFAULT = re.compile(r"""\$\{oc\.env:[^,}]+,\s*(?!null|''|""|\$\{)[^}]""")
# `?token=abc&` in a URL, `Password=abc;` of a connection.
ASSIGNED = re.compile(r"""((?:^|[?&;])\s*([\w.-]+)=)([^&;\s'"]+)""")


def names_a_secret(key: str, value: Any) -> bool:
    """Return whether a key, the last part of a dotted one, has a name of a secret: `api_token`."""
    of_all, of_texts = _meaning(key)
    if of_all:
        return not (value is None or isinstance(value, bool))
    return of_texts and _is_text(value)


def is_typed_secret(key: str, text: str) -> bool:
    """Return whether the unresolved text of a key holds a secret, and does not only refer to it."""
    return names_a_secret(key, text) and ("${" not in text or DEFAULT.search(text) is not None)


@functools.lru_cache(1000)
def _meaning(key: str) -> tuple[bool, bool]:
    """Return whether any value under `key` is secret, and whether a text is."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key.rpartition(".")[2])
    words = re.split(r"[^a-z0-9]+", spaced.lower())
    pairs = ["_".join(pair) for pair in itertools.pairwise(words)]
    singular = {each.removesuffix("s") for each in (*words, *pairs) if each != "tokens"}
    return (
        words[-1] in NAMES or (pairs != [] and pairs[-1] in PAIRS),
        not OF_TEXTS.isdisjoint({*words, *pairs} | singular),
    )


def _is_text(value: Any) -> bool:
    """Return whether a value is a text, and no number as it is typed on a command line."""
    if not isinstance(value, str):
        return isinstance(value, bytes)
    try:
        float(value)
    except ValueError:
        return True
    return False


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
    plain = value is None or isinstance(value, bool) or path[0] == "loop"  # limits, and such
    if from_environment and not plain and str(path[-1]) not in SHOWN:
        return told_apart(value)  # runs with different values stay different in a report
    return masked_text(value) if isinstance(value, str) else value


def told_apart(value: Any) -> str:
    """Return a text for a secret that tells it from others, and is too short to guess it from."""
    return f"(hidden {hashlib.blake2b(str(value).encode(), digest_size=3).hexdigest()})"


def without(defaults: dict[str, Any]) -> dict[str, Any]:
    """Return the defaults of a class without its secrets, which no file is to hold.

    What has to be given, `???`, stays.
    """
    return {k: v for k, v in defaults.items() if not names_a_secret(k, v) or str(v) == "???"}


def masked_text(text: str) -> str:
    """Return a text with what is secret hidden in a URL or an address of a connection."""
    return ASSIGNED.sub(
        lambda found: f"{found[1]}{HIDDEN}" if names_a_secret(found[2], found[3]) else found[0],
        PASSWORD_IN_URL.sub(HIDDEN, text),
    )


def secret_texts(whole: Any) -> set[str]:
    """Return the texts of a resolved config that are hidden for their keys' names.

    Numbers are among them, but not short ones, such as 0, which may be anywhere.
    """
    found = set()

    def visit(value: Any, path: tuple[Any, ...]) -> None:
        if isinstance(value, dict | list):
            for key, each in value.items() if isinstance(value, dict) else enumerate(value):
                visit(each, (*path, key))
        elif len(str(value)) > (0 if isinstance(value, str) else 3) and any(
            names_a_secret(str(key), value) for key in path
        ):
            found.add(str(value))

    visit(whole, ())
    return found


def holds_one_of(texts: set[str], value: Any) -> bool:
    """Return whether one of these `secret_texts` is in a resolved value, or in what it holds."""
    if isinstance(value, dict | list):
        parts = [*value, *value.values()] if isinstance(value, dict) else value
        return any(holds_one_of(texts, part) for part in parts)
    return any(each in value for each in texts) if isinstance(value, str) else str(value) in texts


def _as_text(key: Any) -> Any:
    """Return a key that JSON can hold."""
    return key.decode(errors="replace") if isinstance(key, bytes) else key


def shown(key: str, value: Any) -> str:
    """Return the value of a dotted key, and all that is in it, for a message."""
    return str(masked(value, tuple(key.split("."))))


def masked_words(words: Sequence[str]) -> list[str]:
    """Return overrides as they were typed, their secrets hidden."""
    hidden = []
    for word in words:
        key, equals, value = word.partition("=")
        if equals and is_typed_secret(key.lstrip("+~"), value):
            value = HIDDEN
        value = _masked_mapping(value) if "{" in value else value
        hidden.append(f"{masked_text(key)}{equals}{masked_text(value)}")
    return hidden


def _masked_mapping(typed: str) -> str:
    """Return a typed value with the values of secret keys hidden in the mappings in it."""
    parts, done = [], 0
    for key in KEY_IN_MAPPING.finditer(typed):
        end = _end_of_value(typed, key.end())
        value = typed[key.end() : end]
        if key.start() >= done and is_typed_secret(key[1], value.strip()):
            parts += [typed[done : key.end()], HIDDEN]
            done = end
    return "".join([*parts, typed[done:]])


def _end_of_value(typed: str, begin: int) -> int:
    """Return where the value ends that begins there: at the comma or bracket that follows it."""
    depth, quote = 0, ""
    for place in range(begin, len(typed)):
        letter = typed[place]
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif depth == 0 and letter in ",]}":
            return place
        else:
            depth += (letter in "[{") - (letter in "]}")
    return len(typed)
