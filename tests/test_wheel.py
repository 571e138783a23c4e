"""Sdist and wheel, built and used as by someone who has no checkout.

Nothing is fetched: the build takes this environment's Cython and setuptools, and the
environments that the wheels go to see this one's other packages.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from command_lines import REPOSITORY
from faster_rcnn.datasets.shapes import generate

pytestmark = pytest.mark.processes

LIB = REPOSITORY / "lib"
SOURCES = ["lib", "experiments", "pyproject.toml", "setup.py", "MANIFEST.in"]
DOCUMENTS = ["README.md", "CHANGELOG.md", "LICENSE"]
BUILT = shutil.ignore_patterns("__pycache__", "*.so", "_cpu.c", "*.egg-info")
API = """
import faster_rcnn, sys
from faster_rcnn.cli.main import main
from faster_rcnn.kernels.library import kernels_for
found = faster_rcnn.Detector.from_checkpoint(sys.argv[1], device="cpu")(sys.argv[2])
print(faster_rcnn.__file__, kernels_for("nms", "cpu") is not None, len(found.boxes))
main(["demo", *sys.argv[1:], "--threshold", "0.001"])
"""


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    """An sdist of the tracked sources, without anything that was built of them."""
    folder = tmp_path_factory.mktemp("sdist")
    for name in (*SOURCES, *DOCUMENTS):
        source, target = REPOSITORY / name, folder / "source" / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        target.parent.mkdir(exist_ok=True)
        copy(source, target, **({"ignore": BUILT} if source.is_dir() else {}))
    call = "from setuptools import build_meta; build_meta.build_sdist('..')"
    subprocess.run(
        [sys.executable, "-c", call],
        cwd=folder / "source",
        check=True,
        capture_output=True,
    )
    (path,) = folder.glob("*.tar.gz")
    return path


class Installed:
    """An empty environment with a wheel made of the sdist, and a folder to work in."""

    def __init__(self, folder, sdist, **variables):
        self.folder = folder / "work"
        self.folder.mkdir()
        self.bin = folder / "env" / "bin"
        given = os.environ.items()
        kept = {k: v for k, v in given if not k.startswith(("FRCNN", "PY"))}
        self.environment = {**kept, "OMP_NUM_THREADS": "1", **variables}
        options = ("--verbose", "--no-build-isolation", "--wheel-dir", folder)
        self.built = self._pip("wheel", *options, sdist)
        (self.wheel,) = folder.glob("*.whl")
        self._make_environment(folder / "env")
        self._pip(
            "--python",
            self.bin / "python",
            "install",
            "--no-index",
            "--no-compile",
            self.wheel,
        )

    def _pip(self, *words):
        return self.run(
            *(sys.executable, "-m", "pip", "--no-cache-dir", *words, "--no-deps")
        )

    def _make_environment(self, place):
        venv.create(place, symlinks=True)
        (packages,) = place.glob("lib/*/site-packages")
        # Of a folder that a .pth names, no .pth is read: the checkout stays out.
        others = [path for path in sys.path if path.endswith("-packages")]
        (packages / "others.pth").write_text("\n".join(others))

    def run(self, program, *words):
        """Run a program in the folder; gives stdout and stderr."""
        result = subprocess.run(
            [program, *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stderr + result.stdout
        return result.stdout + result.stderr

    def frcnn(self, *words):
        """Run the command."""
        return self.run(self.bin / "frcnn", *words)


def test_sdist_is_complete(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "setup.py", *DOCUMENTS} <= names
    for folder in ("lib", "experiments/cfgs"):
        for path in (REPOSITORY / folder).rglob("*"):
            if path.is_file() and not BUILT(path.parent, [path.name, *path.parts]):
                assert str(path.relative_to(REPOSITORY)) in names
    assert not any(name.startswith("tests") for name in names)


def test_from_sdist_to_detections(sdist, tmp_path):
    installed = Installed(tmp_path, sdist)
    assert "absent from the" not in installed.built
    with zipfile.ZipFile(installed.wheel) as archive:
        names = archive.namelist()
    packaged = {name for name in names if name.startswith("faster_rcnn/recipes/")}
    assert {Path(name).name for name in packaged} == {
        path.name for path in (REPOSITORY / "experiments" / "cfgs").glob("*.*")
    }
    assert not [name for name in names if re.search(r"\.(pyx|c|h)$", name)]
    pages = [path for end in ("html", "css", "js") for path in LIB.rglob(f"*.{end}")]
    assert pages
    assert {f"faster_rcnn/{path.relative_to(LIB)}" for path in pages} <= {*names}
    version = re.match(r"faster_rcnn-([^-]+)-", installed.wheel.name)[1]
    assert installed.frcnn("--version") == f"frcnn {version}\n"

    generate(installed.folder / "data" / "drawn", train_images=12, test_images=1)
    words = ["--device", "cpu", "--cfg", "shapes", "--iters", "1"]
    out = installed.frcnn("train", "data/drawn", "mobile_v2", *words)
    assert "recipes: mobile_v2.yml + own_data.yml + shapes.yml" in out and "mAP" in out
    (checkpoint,) = installed.folder.glob("output/mobile_v2/drawn_train/*/*/*1.pth")
    image = "data/drawn/JPEGImages/000013.jpg"
    file, kernels, count = installed.run(
        installed.bin / "python", "-c", API, checkpoint, image
    ).split()[:3]
    assert Path(file).is_relative_to(tmp_path)
    assert kernels == "True" and int(count) > 0
    assert list(installed.folder.glob("output/demo/*/000013.jpg"))
    assert {path.name for path in installed.folder.iterdir()} == {"data", "output"}


def test_without_a_compiler(sdist, tmp_path):
    installed = Installed(tmp_path, sdist, CC="/bin/false")
    with zipfile.ZipFile(installed.wheel) as archive:
        assert not [name for name in archive.namelist() if name.endswith(".so")]
    generate(installed.folder / "data" / "drawn", train_images=2, test_images=1)
    words = ["--cfg", "shapes", "--iters", "1", "--device", "cpu"]
    out = installed.frcnn("train", "data/drawn", "mobile_v2", *words)
    assert out.count("torchvision's operators are used") == 1 and "mAP" in out
