import dataclasses
import functools
import hashlib
import io

import pytest
import torch
from command_lines import load_tool
from faster_rcnn.config.settings import NET_NAMES
from faster_rcnn.weights.zoo import ENTRIES, table
from faster_rcnn.weights.zoo.cache import fetch_entry
from faster_rcnn.weights.zoo.table import imagenet_entry
from tiny_archives import files
from web_server import serving

TOOL = load_tool("fetch_weights")
NETS = [net for net in NET_NAMES if net != "mobile"]


@pytest.fixture
def fetch(run_tool, monkeypatch, tmp_path):
    """Runs the tool in this process; gives its exit status and what it prints."""
    monkeypatch.setenv("FRCNN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))

    return functools.partial(run_tool, "fetch_weights")


@pytest.fixture
def server(monkeypatch):
    with serving(monkeypatch) as server:
        yield server


@pytest.fixture
def publish(server, monkeypatch, tmp_path):
    """Puts weights on the server as those of a net; gives where they are to go."""

    def run(net, digits=None):
        stream = io.BytesIO()
        torch.save({"net": torch.tensor([float(len(net))])}, stream)
        data = stream.getvalue()
        digits = digits or hashlib.sha256(data).hexdigest()[:8]
        name = f"{net}-{digits}.pth"
        server.files[f"/models/{name}"] = data
        old = imagenet_entry(net)
        new = dataclasses.replace(
            old,
            file=name,
            url=f"{server.url}/models/{name}",
            sha256=digits,
            size=len(data),
        )
        entries = tuple(new if entry is old else entry for entry in table._ALL)
        monkeypatch.setattr(table, "_ALL", entries)
        return tmp_path / "home" / name

    return run


def test_training_finds_them_without_a_network(fetch, publish, server):
    places = {net: publish(net) for net in ("res18", "vgg16")}
    status, out, _ = fetch(*places, "res18")
    assert status == 0
    assert out.splitlines() == [f"{place} is there" for place in places.values()]
    assert len(server.requests) == 2
    server.stop()
    for net in places:
        assert torch.load(fetch_entry(imagenet_entry(net)))["net"] == len(net)
    assert fetch(*places)[0] == 0  # nothing to do


def test_interrupted_and_run_again(fetch, publish, server):
    place = publish("res18")
    data = server.files["/models/" + place.name]
    place.parent.mkdir(parents=True)
    place.with_name(place.name + ".part").write_bytes(data[:500])
    _, out, _ = fetch("res18", "--dry-run")
    assert f"to fetch: {TOOL.amount(len(data) - 500)};" in out
    assert fetch("res18")[0] == 0
    assert server.requests[0][1].startswith("bytes=500-")
    assert place.read_bytes() == data and files(place.parent) == [place.name]


def test_other_bytes_than_torchvision_s(fetch, publish):
    place = publish("res50", digits="0123abcd")
    status, _, err = fetch("res50")
    assert status == 2 and "expected sha256 0123abcd, found" in err
    assert files(place.parent) == []


@pytest.mark.parametrize("damage", [b"", b"<html>sign in</html>"])
def test_damaged_file_is_fetched_again(fetch, publish, damage):
    place = publish("res18")
    place.parent.mkdir(parents=True)
    place.write_bytes(damage)
    assert f"{place.name}  " in fetch("res18", "--dry-run")[1]
    assert "damaged, fetch again" in fetch("res18", "--dry-run")[1]
    assert place.read_bytes() == damage
    assert fetch("res18")[0] == 0
    assert torch.load(place)["net"] == 5
    status, out, _ = fetch("res18", "--dry-run")
    assert status == 0 and "there" in out and "to fetch: 0 bytes" in out


def test_no_weights_of_mobilenet_v1(fetch, publish, server):
    publish("res18")
    status, _, err = fetch("res18", "mobile")
    assert status == 2 and server.requests == []
    for remedy in ("mobile_v2", "--weights FILE", "--weights none", "docs/weights.md"):
        assert remedy in err


def test_every_other_net_has_them(fetch, tmp_path):
    status, out, _ = fetch("--dry-run", *NETS)
    assert status == 0 and not (tmp_path / "home").exists()
    for net in NETS:
        entry = imagenet_entry(net)
        place = tmp_path / "home" / entry.file
        assert f"  from {entry.url}\n  to   {place}\n" in out
        assert entry.size > 10**7
    assert "to fetch: 1." in out


def test_names_of_the_zoo(fetch, tmp_path):
    status, out, _ = fetch("--list")
    assert status == 0 and out.split() == list(ENTRIES)
    status, out, _ = fetch("--dry-run", "R-50", "res101_coco")
    assert status == 0 and "R-50.pkl  of unknown size, fetch" in out
    assert "from https://drive.google.com/" in out and "by hand" in out
    status, _, err = fetch("res5O")
    assert status == 2 and "did you mean" in err
    assert fetch()[0] == 2


def test_disk_that_is_too_full(fetch, publish, server, monkeypatch):
    publish("res18")
    monkeypatch.setattr("faster_rcnn.utils.download.transfer.free_space", lambda _: 100)
    for words in (["res18"], ["res18", "--dry-run"]):
        status, _, err = fetch(*words)
        assert status == 2 and "found 100 bytes; make room" in err
    assert server.requests == []
