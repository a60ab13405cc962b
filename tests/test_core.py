"""The promise about the core: small, and free of the parts that hang off it."""

import ast

import pytest

from tests.core_size import CORE, LEAVES, LIMIT, lines_of_code, summary, total
from tests.test_house import PARTS


def test_the_core_is_under_300_lines_of_code():
    assert total() < LIMIT, summary()


@pytest.mark.parametrize("file", LEAVES, ids=lambda file: file.stem)
def test_each_module_that_the_core_stands_on_has_under_100_lines_of_code(file):
    assert lines_of_code(file) < 100


@pytest.mark.parametrize("file", CORE + LEAVES, ids=lambda file: file.stem)
def test_the_core_imports_no_part(file):
    for node in ast.walk(ast.parse(file.read_text())):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        parts = tuple(f"gym_loop.{part}" for part in PARTS)
        assert not [name for name in names if name.startswith(parts)]
