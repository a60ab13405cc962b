"""The five-minute notebook runs from top to bottom in an empty folder."""

import pytest

from tests.docs.pages import ROOT

nbformat = pytest.importorskip("nbformat", reason="needs the extra test (nbclient, ipykernel)")
nbclient = pytest.importorskip("nbclient", reason="needs the extra test (nbclient, ipykernel)")


@pytest.mark.slow
def test_the_notebook_runs_and_its_mistake_is_a_line(tmp_path):
    notebook = nbformat.read(ROOT / "docs" / "notebook.ipynb", as_version=4)
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=120, resources=resources).execute()
    assert "did you mean 'agent.noise'" in notebook.cells[-1]["outputs"][0]["text"]
