"""docs/notebook.ipynb is executed as it is."""

from pathlib import Path

import pytest

nbclient = pytest.importorskip("nbclient", reason="needs the extra test (nbclient, ipykernel)")
nbformat = pytest.importorskip("nbformat", reason="needs the extra test (nbclient, ipykernel)")

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebook.ipynb"


@pytest.mark.slow
def test_the_notebook_runs_from_its_first_cell_to_its_last(tmp_path):
    pytest.importorskip("matplotlib", reason='needs the extra: pip install "gym-loop[report]"')
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "clear its outputs"
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=300, resources=resources).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert "finished" in code[1].outputs[-1]["text"]
    assert "200 episodes - evaluation: 500" in code[2].outputs[-1]["text"]
