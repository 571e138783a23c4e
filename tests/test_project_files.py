"""Files for other programs: workflow, hooks, citation, changelog, version."""

import re
from importlib.metadata import version

import faster_rcnn
import yaml
from command_lines import REPOSITORY

SCRIPT = re.compile(r"\./experiments/scripts/.+")


def read(path):
    return (REPOSITORY / path).read_text(encoding="utf-8")


def test_the_workflow_mirrors_the_local_checks():
    workflow = yaml.safe_load(read(".github/workflows/check.yml"))
    # YAML 1.1 reads the key `on` as true.
    assert {"push", "pull_request"} <= workflow[True].keys()
    jobs = workflow["jobs"]
    matrix = jobs["check"]["strategy"]["matrix"]["include"]
    commands = SCRIPT.findall(read(".ci/run"))
    assert len(commands) > 1
    ran = [row["command"] for row in matrix]
    ran += [s["run"] for s in jobs["docs"]["steps"] if SCRIPT.match(s.get("run", ""))]
    assert sorted(ran) == sorted(commands)
    assert jobs["check"]["steps"][-1]["run"] == "${{ matrix.command }}"
    python = re.search(
        r"find_python\(\).*?\n}", read("experiments/scripts/common.sh"), re.S
    )
    low, high = re.findall(r"\((3), (\d+)\)", python[0])
    assert [row["python"] for row in matrix] == [".".join(low), ".".join(high)]
    releases = [
        name for name, job in jobs.items() if "refs/tags/v" in job.get("if", "")
    ]
    assert releases == [name for name, job in jobs.items() if "needs" in job] != []
    for job in jobs.values():
        for step in job["steps"]:
            for script in SCRIPT.findall(step.get("run", "")):
                assert (REPOSITORY / script.split()[0]).exists()


def test_the_hooks_run_what_check_runs():
    hooks = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"][0]["hooks"]
    tools = re.findall(
        r'^"\$PYTHON" -m (ruff \w+|mypy)', read("experiments/scripts/check.sh"), re.M
    )
    assert tools == ["ruff format", "ruff check", "mypy"]
    assert [hook["name"] for hook in hooks] == tools
    for hook in hooks:
        assert hook["entry"].startswith(f"python -m {hook['name']}")


def test_the_citation_is_complete():
    citation = yaml.safe_load(read("CITATION.cff"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["license"] == "MIT"


def test_the_changelog_has_sections():
    """As Keep a Changelog has them: each once in a version, with entries."""
    for part in read("CHANGELOG.md").split("\n## ")[1:]:
        title, *sections = part.split("\n### ")
        kinds = [section.splitlines()[0] for section in sections]
        assert kinds == [
            kind
            for kind in (
                "Added",
                "Changed",
                "Deprecated",
                "Removed",
                "Fixed",
                "Security",
            )
            if kind in kinds
        ], title
        assert "\n- " not in title, "an entry belongs to a section"
        assert all("\n- " in section for section in sections)


def test_the_version_is_in_one_place():
    assert version("faster-rcnn") == faster_rcnn.__version__
    assert 'dynamic = ["version"]' in read("pyproject.toml")
    assert "\nversion" not in read("CITATION.cff")
