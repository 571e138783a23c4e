"""The programs of docs/inference.md and of the notebooks run."""

import json
import re
import shutil

import numpy as np
import pytest
from command_lines import REPOSITORY
from documents import run_document
from patience import PATIENCE
from PIL import Image

NOTEBOOKS = [REPOSITORY / f"docs/{name}.ipynb" for name in ("inference", "training")]
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
DOCUMENT = REPOSITORY / "docs/inference.md"


def read_notebook(path, *, iterations):
    """A notebook, with so short a training that it learns nothing."""
    text = path.read_text(encoding="utf-8")
    short, count = re.subn(r"\biterations = \d+", f"iterations = {iterations}", text)
    assert count == 1
    return json.loads(short)


@pytest.mark.slow
@each_notebook
def test_a_kernel_runs_the_notebook(path, tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    text = json.dumps(read_notebook(path, iterations=2))
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    check = {
        "training": "assert again.headline == evaluation.headline and len(losses) == 2",
        "inference": "assert len(results) == len(paths) == 6",
    }
    notebook.cells.append(nbformat.v4.new_code_cell(check[path.stem]))
    done = nbclient.NotebookClient(notebook, timeout=int(PATIENCE)).execute()
    pictures = [
        output
        for cell in done.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert len(pictures) == 1
    if path.stem == "inference":
        assert "<annotation>" in json.dumps(done)


@each_notebook
def test_the_notebook_holds_no_outputs(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert len(code) > 5
    for cell in code:
        assert cell["outputs"] == [] and cell["execution_count"] is None
    assert len({cell["id"] for cell in cells}) == len(cells)


def test_the_document_runs(checkpoint, tmp_path, monkeypatch):
    """Its blocks are one program, in a folder that has what they name."""
    folder = tmp_path / "output/res18/shapes_train/default/checkpoints"
    folder.mkdir(parents=True)
    shutil.copy(checkpoint, folder)
    test = folder.parent / "test/shapes_test/iter_0000004"
    test.mkdir(parents=True)
    table = {"per_class": {"box": {"best_score": 0.5}}}
    (test / "errors.json").write_text(json.dumps(table))
    photo = np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)
    (tmp_path / "photos").mkdir()
    for name in ("photo.jpg", "other.png", "photos/1.jpg", "photos/2.jpg"):
        Image.fromarray(photo).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    run_document(DOCUMENT)
    assert (tmp_path / "photo_boxes.png").is_file()
    assert (tmp_path / "photo.xml").is_file()
    assert (tmp_path / "photo.npz").is_file()
