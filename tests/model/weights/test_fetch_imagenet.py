import functools
import hashlib
import http.server
import threading
import urllib.error

import pytest
import torchvision
from faster_rcnn.model.checkpoint import CheckpointError
from faster_rcnn.model.config import NET_NAMES, NetConfig
from faster_rcnn.model.weights import fetch_imagenet, load_initial_weights
from weight_files import TORCHVISION, check_backbone, classifier, detector, state_of


def test_no_imagenet_weights_of_mobilenet_v1():
    with pytest.raises(CheckpointError, match="no ImageNet weights of mobile ") as e:
        load_initial_weights(detector("mobile"), NetConfig(name="mobile"))
    assert "--weights FILE" in str(e.value) and "--weights none" in str(e.value)


def imagenet(net):
    """torchvision's entry of a net's weights."""
    weights = torchvision.models.get_model_weights(TORCHVISION[net])
    return weights["IMAGENET1K_V1"].value


@pytest.mark.parametrize("net", TORCHVISION)
def test_no_network(monkeypatch, net):
    def fail(*args, **kwargs):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(
        torchvision.models.WeightsEnum, "get_state_dict", fail, raising=True
    )
    with pytest.raises(CheckpointError) as caught:
        load_initial_weights(detector(net), NetConfig(name=net))
    message = str(caught.value)
    assert "Name or service not known" in message
    assert imagenet(net).url in message
    assert "by hand" in message and "--weights FILE" in message


def test_every_net_has_an_answer():
    assert set(NET_NAMES) == {*TORCHVISION, "mobile"}


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Publishes a file as res18's ImageNet weights; gives the cache's folder."""
    folder, home = tmp_path / "web", tmp_path / "torch_home"
    folder.mkdir()
    monkeypatch.setenv("TORCH_HOME", str(home))
    monkeypatch.setenv("no_proxy", "*")
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))
    )
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()

    def publish(data, digest=None, name="resnet18-{}.pth"):
        digest = digest or hashlib.sha256(data).hexdigest()[:8]
        name = name.format(digest)
        (folder / name).write_bytes(data)
        url = f"http://127.0.0.1:{server.server_port}/{name}"
        monkeypatch.setattr(imagenet("res18"), "url", url)
        return home / "hub" / "checkpoints" / name

    yield publish
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def weights_bytes(file):
    return file(state_of(classifier("res18"))).read_bytes()


def test_download(published, weights_bytes, monkeypatch):
    cached = published(weights_bytes)
    model = detector("res18")
    load_initial_weights(model, NetConfig(name="res18"))
    check_backbone(model)
    assert cached.read_bytes() == weights_bytes
    # The second time it comes from the cache: nothing is served there.
    monkeypatch.setattr(imagenet("res18"), "url", f"http://127.0.0.1:9/{cached.name}")
    assert "conv1.weight" in fetch_imagenet("res18")


def test_download_of_other_bytes(published, weights_bytes):
    cached = published(weights_bytes, digest="0123abcd")
    with pytest.raises(CheckpointError, match=r'hash value.*"0123abcd"') as caught:
        fetch_imagenet("res18")
    assert imagenet("res18").url in str(caught.value)
    assert list(cached.parent.iterdir()) == []


def test_download_that_is_not_there(published, weights_bytes):
    cached = published(weights_bytes)
    imagenet("res18").url += ".gone"
    with pytest.raises(CheckpointError, match="HTTP Error 404") as caught:
        fetch_imagenet("res18")
    assert imagenet("res18").url in str(caught.value)
    assert not cached.exists()


@pytest.mark.parametrize("data", [b"", b"<html>no such file</html>"])
def test_damaged_file_in_the_cache(published, weights_bytes, data):
    cached = published(weights_bytes)
    cached.parent.mkdir(parents=True)
    cached.write_bytes(data)
    with pytest.raises(CheckpointError, match="damaged; delete") as caught:
        fetch_imagenet("res18")
    assert str(cached.parent) in str(caught.value)
