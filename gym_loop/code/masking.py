"""Hides the secrets in a copy of a source file, by the names that `config.secrets` lists."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from gym_loop.config import secrets

NULL_OR_BOOL = ("tag:yaml.org,2002:null", "tag:yaml.org,2002:bool")
NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
# `key = value`, `"key": value`, `--key=value` in a line of any text, also within another's value.
ASSIGNED = re.compile(
    r"""(?<![\w.-])(?=([\w.-]+)["'\]]*\s*(?::[^=\n]*?)?[:=]\s*[rbfu]?["']?([^\s"',})]+))""", re.I
)
Span = tuple[int, int, str]  # begin and end of what is replaced, and by what


def named_like_a_secret(file: Path) -> bool:
    """Return whether a file holds secrets by its name: `secrets.yaml`, `api_token.py`.

    Args:
        file: its path within its repository; one in a folder `secrets` holds them, too.
    """
    # Of a module's and a folder's name only the end counts: `token_buffer.py` is no secret.
    folders = [(part, 0) for part in file.parent.parts]
    names: list[tuple[str, str | int]] = [(file.name, 0 if file.suffix == ".py" else ""), *folders]
    return any(
        secrets.names_a_secret(word, value) for name, value in names for word in name.split(".")
    )


def masked(file: Path, text: str) -> str:
    """Return the content of a Python or YAML file with `(hidden)` in the place of each secret.

    Raises:
        ValueError: the file cannot be parsed, so that what is secret in it is not known.
    """
    for begin, end, instead in sorted(_spans(file, text), reverse=True):
        text = text[:begin] + instead + text[end:]
    return secrets.PASSWORD_IN_URL.sub(secrets.HIDDEN, text)


def hidden_lines(file: Path, text: str) -> set[str]:
    """Return the lines of what `masked` hides in a file's content by the keys' names.

    Raises:
        ValueError: as `masked`.
    """
    spans = _spans(file, text)
    hidden = [text[begin:end] for begin, end, now in spans if now != text[begin:end]]
    return {line.strip() for each in hidden for line in each.splitlines()} - {""}


def _spans(file: Path, text: str) -> list[Span]:
    try:
        return _in_python(text) if file.suffix == ".py" else _in_yaml(text)
    except (SyntaxError, yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"not readable as {file.suffix[1:]}") from error


def mentions_a_secret(text: str) -> bool:
    """Return whether any line of a text may hold a secret; this errs on the side of yes."""
    pairs = (match.groups() for match in ASSIGNED.finditer(text))
    return bool(
        any(secrets.names_a_secret(key, value) for key, value in pairs)
        or secrets.PASSWORD_IN_URL.search(text)
    )


def _in_python(text: str) -> list[Span]:
    """Return where texts are given to what is named like a secret."""
    lines = text.encode().splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line.decode()))

    def place(line: int, column: int) -> int:
        return starts[line - 1] + len(lines[line - 1][:column].decode())

    found = []
    for name, value in _assigned(ast.parse(text)):
        for node in _texts(value):
            if secrets.names_a_secret(name, ""):
                begin = place(node.lineno, node.col_offset)
                end = place(node.end_lineno, node.end_col_offset)
                is_bytes = isinstance(getattr(node, "value", ""), bytes)
                found.append((begin, end, f"{'b' * is_bytes}{secrets.HIDDEN!r}"))
    return [*{*found}]


def _assigned(tree: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Yield each (name, value) of assignments, arguments, defaults and entries of dicts."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            yield from ((_name(target), node.value) for target in node.targets)
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value:
            yield _name(node.target), node.value
        elif isinstance(node, ast.keyword):
            yield node.arg or "", node.value
        elif isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            yield from ((_name(key), value) for key, value in pairs)
        elif isinstance(node, ast.Compare):  # `if token == "abc"`
            yield from ((_name(node.left), value) for value in node.comparators)
        elif isinstance(node, ast.Call) and len(node.args) > 1:  # `environ.get("TOKEN", "abc")`
            yield from ((_name(node.args[0]), value) for value in node.args[1:])
        elif isinstance(node, ast.arguments):
            names = [argument.arg for argument in (*node.posonlyargs, *node.args)]
            yield from zip(reversed(names), reversed(node.defaults), strict=False)
            named = zip(node.kwonlyargs, node.kw_defaults, strict=True)
            yield from ((argument.arg, value) for argument, value in named if value)


def _name(node: ast.AST | None) -> str:
    """Return what is assigned to: `token`, `self.token`, `environ["TOKEN"]`, the key `"token"`."""
    if isinstance(node, ast.Subscript):
        return _name(node.slice) or _name(node.value)
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    return str(getattr(node, "id", None) or getattr(node, "attr", None) or "")


def _texts(value: ast.AST) -> Iterator[Any]:
    """Yield the texts that a value is, or is put together from."""
    if isinstance(value, ast.JoinedStr):
        yield value
    elif isinstance(value, ast.Constant):
        if isinstance(value.value, str | bytes) and value.value:
            yield value
    elif isinstance(value, ast.BinOp | ast.BoolOp | ast.IfExp | ast.List | ast.Tuple | ast.Set):
        for part in ast.iter_child_nodes(value):
            yield from _texts(part)
    elif isinstance(value, ast.Dict):
        for part in value.values:
            yield from _texts(part)


def _in_yaml(text: str) -> list[Span]:
    """Return where values stand whose key, or a key above it, is named like a secret."""
    found: list[Span] = []

    def visit(node: yaml.Node, keys: tuple[str, ...]) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                visit(value, (*keys, str(key.value)))
        elif isinstance(node, yaml.SequenceNode):
            for part in node.value:
                visit(part, keys)
        elif node.tag not in NULL_OR_BOOL and node.value:
            begin, end = node.start_mark.index, node.end_mark.index
            shown = secrets.masked_text(text[begin:end])
            value = "0" if node.tag in NUMBERS else node.value
            if any(secrets.is_typed_secret(key, value) for key in keys):
                line_end = "\n" * text[begin:end].endswith("\n")  # of a block, `|` or `>`
                shown = f"{secrets.HIDDEN!r}{line_end}"
            found.append((begin, end, shown))

    for document in yaml.compose_all(text, yaml.SafeLoader):
        if document:
            visit(document, ())
    return [*{*found}]
