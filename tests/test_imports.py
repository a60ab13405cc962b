"""What imports make is left out of garbage collections; the collector itself stays as it is."""

import gc
import sys

import pytest

from gym_loop.imports import import_quickly

MODULE = """import gc

was_enabled = gc.isenabled()
cycle = []
cycle.append(cycle)
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "quickly_imported.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield "quickly_imported"
    sys.modules.pop("quickly_imported", None)
    gc.unfreeze()


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_rests_while_a_module_is_imported(module, enabled):
    was = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        found = import_quickly(module)
        assert found is sys.modules[module] and not found.was_enabled
        assert gc.isenabled() is enabled
        assert not any(each is found.cycle for each in gc.get_objects())
    finally:
        (gc.enable if was else gc.disable)()


def test_an_import_that_fails_leaves_the_collector_on():
    with pytest.raises(ModuleNotFoundError):
        import_quickly("quickly_missing")
    assert gc.isenabled()
