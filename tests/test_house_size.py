"""The size of the house: no function is longer than a reader can hold in mind."""

import ast
from collections.abc import Iterator
from pathlib import Path

import gym_loop

PACKAGE = Path(gym_loop.__file__).parent
LONGEST = 60  # lines of a function, its docstring not counted


def functions() -> Iterator[tuple[str, int]]:
    """Yield where each function of the package stands, and how long it is."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = node.end_lineno - node.lineno + 1
                if ast.get_docstring(node) is not None:
                    length -= node.body[0].end_lineno - node.body[0].lineno + 1
                yield f"{path.relative_to(PACKAGE)}: {node.name}", length


def test_no_function_is_above_60_lines():
    assert {place: length for place, length in functions() if length > LONGEST} == {}
