import hashlib
import io

import pytest
import torch
import torchvision
from faster_rcnn.model.checkpoint import CheckpointError
from faster_rcnn.model.config import NET_NAMES, NetConfig
from faster_rcnn.model.weights import fetch_imagenet, load_initial_weights
from web_server import serving
from weight_files import TORCHVISION, check_backbone, classifier, detector, state_of


def test_no_imagenet_weights_of_mobilenet_v1():
    with pytest.raises(CheckpointError, match="no ImageNet weights of mobile ") as e:
        load_initial_weights(detector("mobile"), NetConfig(name="mobile"))
    assert "--weights FILE" in str(e.value) and "--weights none" in str(e.value)


def test_every_net_has_an_answer():
    assert set(NET_NAMES) == {*TORCHVISION, "mobile"}


def imagenet(net):
    """torchvision's entry of a net's weights."""
    weights = torchvision.models.get_model_weights(TORCHVISION[net])
    return weights["IMAGENET1K_V1"].value


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """The folder that torch.hub keeps such files in, for this test."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "hub" / "checkpoints"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)  # the pause between rounds
    with serving(monkeypatch) as server:
        yield server


@pytest.fixture
def publish(server, monkeypatch, home):
    """Puts a file on the server as res18's weights; gives where it is to go."""

    def run(data, digest=None):
        digest = digest or hashlib.sha256(data).hexdigest()[:8]
        name = f"resnet18-{digest}.pth"
        server.files[f"/{name}"] = data
        monkeypatch.setattr(imagenet("res18"), "url", f"{server.url}/{name}")
        return home / name

    return run


@pytest.fixture(scope="module")
def data():
    """A file of weights such as torchvision's."""
    stream = io.BytesIO()
    torch.save(state_of(classifier("res18")), stream)
    return stream.getvalue()


def test_download(publish, server, data):
    place = publish(data)
    model = detector("res18")
    load_initial_weights(model, NetConfig(name="res18"))
    check_backbone(model)
    assert place.read_bytes() == data and list(place.parent.iterdir()) == [place]
    # The second time nothing is asked for.
    asked = len(server.requests)
    assert "conv1.weight" in fetch_imagenet("res18")
    assert len(server.requests) == asked


def test_broken_off_download_goes_on(publish, server, data):
    place = publish(data)
    place.parent.mkdir(parents=True)
    place.with_name(place.name + ".part").write_bytes(data[:1000])
    server.drop_after = len(data) // 3
    assert "conv1.weight" in fetch_imagenet("res18")
    starts = [int(asked[6:].split("-")[0]) for _, asked in server.requests]
    assert starts[0] == 1000 and len(starts) > 2 and starts == sorted(starts)


@pytest.mark.parametrize("damage", [b"", b"<html>no such file</html>"])
def test_damaged_file_is_fetched_again(publish, data, damage):
    place = publish(data)
    place.parent.mkdir(parents=True)
    place.write_bytes(damage)
    assert "conv1.weight" in fetch_imagenet("res18")
    assert place.read_bytes() == data


def test_damaged_file_without_a_network(publish, server, data):
    place = publish(data)
    place.parent.mkdir(parents=True)
    place.write_bytes(data[:-1])
    server.files.clear()
    with pytest.raises(CheckpointError, match="is damaged and could not") as caught:
        fetch_imagenet("res18")
    assert str(place) in str(caught.value) and "HTTP 404" in str(caught.value)
    assert place.read_bytes() == data[:-1]


@pytest.mark.parametrize("net", TORCHVISION)
def test_no_network(monkeypatch, home, net):
    monkeypatch.setenv("no_proxy", "*")
    url = f"http://127.0.0.1:9/{net}-0123abcd.pth"
    monkeypatch.setattr(imagenet(net), "url", url)
    with pytest.raises(CheckpointError, match="Connection refused") as caught:
        fetch_imagenet(net)
    message = str(caught.value)
    assert f"Put {url} there by hand" in message and "--weights FILE" in message
    assert str(home / f"{net}-0123abcd.pth") in message
    assert list(home.iterdir()) == []


def test_download_of_other_bytes(publish, data):
    place = publish(data, digest="0123abcd")
    with pytest.raises(CheckpointError, match="expected sha256 0123abcd, found"):
        fetch_imagenet("res18")
    assert list(place.parent.iterdir()) == []


def test_folder_that_cannot_be_made(publish, data, home):
    publish(data)
    home.parent.parent.write_text("a file")
    with pytest.raises(CheckpointError, match=r"Not a directory.*by hand"):
        fetch_imagenet("res18")
