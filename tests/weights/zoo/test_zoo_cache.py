import dataclasses
import hashlib
import io

import pytest
import torch
from faster_rcnn.config.settings import NetConfig
from faster_rcnn.weights import load_initial_weights
from faster_rcnn.weights.checkpoint import CheckpointError
from faster_rcnn.weights.zoo import fetch, table
from faster_rcnn.weights.zoo.cache import fetch_entry, locate
from faster_rcnn.weights.zoo.table import ENTRIES, find_entry, imagenet_entry
from tiny_archives import files
from web_server import serving
from weight_files import TORCHVISION, check_backbone, classifier, detector, state_of


def test_no_imagenet_weights_of_mobilenet_v1():
    with pytest.raises(CheckpointError, match="no ImageNet weights of mobile ") as e:
        load_initial_weights(detector("mobile"), NetConfig(name="mobile"))
    assert "--weights FILE" in str(e.value) and "--weights none" in str(e.value)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """The cache of published files, for this test."""
    monkeypatch.setenv("FRCNN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "home"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)  # the pause between rounds
    with serving(monkeypatch) as server:
        yield server


def change(monkeypatch, name, **fields):
    """Change an entry of the table, for this test."""
    entry = find_entry(name)
    changed = dataclasses.replace(entry, **fields)
    monkeypatch.setitem(ENTRIES, entry.name, changed)
    entries = tuple(changed if e is entry else e for e in table._ALL)
    monkeypatch.setattr(table, "_ALL", entries)
    return changed


@pytest.fixture
def publish(server, monkeypatch, home):
    """Puts a file on the server as res18's weights; gives where it is to go."""

    def run(data, digest=None):
        digest = digest or hashlib.sha256(data).hexdigest()[:8]
        name = f"resnet18-{digest}.pth"
        server.files[f"/{name}"] = data
        url = f"{server.url}/{name}"
        change(monkeypatch, "resnet18", url=url, sha256=digest, file=name)
        return home / name

    return run


@pytest.fixture(scope="module")
def data():
    """A file of weights such as torchvision's."""
    stream = io.BytesIO()
    torch.save(state_of(classifier("res18")), stream)
    return stream.getvalue()


@pytest.mark.parametrize("word", ["imagenet", "torchvision/resnet18", "resnet18"])
def test_download(publish, server, data, word):
    place = publish(data)
    model = detector("res18")
    load_initial_weights(model, NetConfig(name="res18", weights=word))
    check_backbone(model)
    assert place.read_bytes() == data and files(place.parent) == [place.name]
    # The second time nothing is asked for.
    asked = len(server.requests)
    assert fetch("resnet18") == place == locate("resnet18")
    assert len(server.requests) == asked


def test_interrupted_download_resumes(publish, server, data):
    place = publish(data)
    place.parent.mkdir(parents=True)
    place.with_name(place.name + ".part").write_bytes(data[:1000])
    server.drop_after = len(data) // 3
    assert fetch("resnet18").read_bytes() == data
    starts = [int(asked[6:].split("-")[0]) for _, asked in server.requests]
    assert starts[0] == 1000 and len(starts) > 2 and starts == sorted(starts)


@pytest.mark.parametrize("damage", [b"", b"<html>no such file</html>"])
def test_damaged_file_is_fetched_again(publish, data, damage):
    place = publish(data)
    place.parent.mkdir(parents=True)
    place.write_bytes(damage)
    assert fetch("resnet18") == place and place.read_bytes() == data


def test_damaged_file_without_a_network(publish, server, data):
    place = publish(data)
    place.parent.mkdir(parents=True)
    place.write_bytes(data[:-1])
    server.files.clear()
    with pytest.raises(CheckpointError, match="is damaged and could not") as caught:
        fetch("resnet18")
    assert str(place) in str(caught.value) and "HTTP 404" in str(caught.value)
    assert place.read_bytes() == data[:-1]


@pytest.mark.parametrize("net", TORCHVISION)
def test_no_network(monkeypatch, home, net):
    monkeypatch.setenv("no_proxy", "*")
    url = f"http://127.0.0.1:9/{net}-0123abcd.pth"
    entry = change(monkeypatch, imagenet_entry(net).name, url=url)
    with pytest.raises(CheckpointError, match="Connection refused") as caught:
        load_initial_weights(detector(net), NetConfig(name=net))
    message = str(caught.value)
    assert f"Put {url} there by hand" in message and "--weights FILE" in message
    assert f"{home / entry.file}, the ImageNet weights torchvision/" in message
    assert files(home) == []


def test_download_of_other_bytes(publish, data):
    place = publish(data, digest="0123abcd")
    with pytest.raises(CheckpointError, match="expected sha256 0123abcd, found"):
        fetch("resnet18")
    assert files(place.parent) == []


def test_folder_that_cannot_be_made(publish, data, home):
    publish(data)
    home.write_text("a file")
    with pytest.raises(
        CheckpointError, match=r"(Not a directory|File exists).*by hand"
    ):
        fetch("resnet18")


def test_md5_of_detectron2(server, monkeypatch, home):
    data = b"\x80\x02}q\x00."
    server.files["/f.pkl"] = data
    name, url = "faster_rcnn_R_50_C4_1x", f"{server.url}/f.pkl"
    entry = change(monkeypatch, name, url=url, md5=hashlib.md5(data).hexdigest()[:6])
    assert fetch_entry(entry) == home / "detectron2-faster_rcnn_R_50_C4_1x-721ade.pkl"
    entry = change(monkeypatch, name, md5="000000")
    with pytest.raises(CheckpointError, match=r"the detector detectron2/.*is damaged"):
        fetch(name)


def test_file_in_the_cache_of_torch_hub(publish, server, data, tmp_path):
    place = publish(data)
    theirs = tmp_path / "torch" / "hub" / "checkpoints" / place.name
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(data)
    assert fetch("resnet18") == theirs and server.requests == []
    theirs.write_bytes(data[:-1])
    assert fetch("resnet18") == place


def test_file_that_people_have_to_get(home):
    with pytest.raises(CheckpointError) as caught:
        fetch("family/res101_voc0712")
    message = str(caught.value)
    assert message.startswith(str(home / "family-res101_voc0712.pth"))
    assert "https://drive.google.com/" in message and "under that name" in message
    home.mkdir()
    (home / "family-res101_voc0712.pth").write_bytes(b"1")
    assert fetch("res101_voc0712") == home / "family-res101_voc0712.pth"


def test_words_that_are_neither_file_nor_name(tmp_path):
    for word, fault in (
        *((tmp_path / "gone.pth", "does not exist"), ("a/b/c", "does not exist")),
        *((tmp_path, "is not a file"), ("", "is not a file")),
    ):
        with pytest.raises(CheckpointError, match=f"{fault}; give a .pth"):
            locate(word)
    (tmp_path / "file").write_text("")
    assert locate(tmp_path / "file") == tmp_path / "file"
    for word, nearest in (
        ("resnet5", "resnet50"),
        ("fasterrcnn_resnet50_fnp", "fasterrcnn_resnet50_fpn"),
        ("detectron2/faster_rcnn_R_50_C4", "detectron2/faster_rcnn_R_50_C4_1x"),
    ):
        with pytest.raises(CheckpointError, match="did you mean ") as caught:
            locate(word)
        assert nearest in str(caught.value)
    with pytest.raises(CheckpointError, match=r"docs/zoo.md lists them"):
        fetch("zzzzzzzzzzzzzz")
