import functools
import hashlib
import http.server
import threading
import urllib.error
import zlib
from pathlib import Path

import pytest
import torch
import torchvision
from faster_rcnn.model.checkpoint import CheckpointError, save_checkpoint
from faster_rcnn.model.config import NET_NAMES, NetConfig, load_config
from faster_rcnn.model.faster_rcnn import build_detector
from faster_rcnn.model.weights import fetch_imagenet, load_initial_weights

TORCHVISION = {
    "vgg16": "vgg16",
    "res18": "resnet18",
    "res34": "resnet34",
    "res50": "resnet50",
    "res101": "resnet101",
    "res152": "resnet152",
    "mobile_v2": "mobilenet_v2",
}


def detector(net, classes=3, *words):
    """A detector whose tensors hold no particular values."""
    config = load_config([], ["net.name", net, "rpn.channels", "8", *words])
    with torch.device("meta"):
        return build_detector(config, classes).to_empty(device="cpu")


def classifier(net):
    """torchvision's classification network, without values."""
    with torch.device("meta"):
        return getattr(torchvision.models, TORCHVISION[net])()


def value_of(key):
    """A number that stands for a tensor's content; small ones are exact."""
    return float(zlib.crc32(key.encode()) % 1000)


def state_of(module):
    """A state dict of one number per tensor, which is small as a file, too."""
    return {
        key: torch.tensor(value_of(key), dtype=tensor.dtype).expand(tensor.shape)
        for key, tensor in module.state_dict().items()
    }


def check_backbone(model, *, without=()):
    for key, tensor in model.backbone.state_dict().items():
        if not key.endswith(tuple(without) or "\0"):
            low, high = tensor.aminmax()
            assert low.item() == high.item() == value_of(key), key


def load(model, source):
    load_initial_weights(model, NetConfig(weights=str(source)))


def refusal(model, source):
    with pytest.raises(CheckpointError) as caught:
        load(model, source)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def file(tmp_path):
    """Saves a content and gives the path."""

    def save(content, name="weights.pth"):
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return save


@pytest.mark.parametrize("net", TORCHVISION)
def test_classification_weights_go_into_each_backbone(file, net):
    path = file(state_of(classifier(net)))
    model = detector(net)
    load(model, path)
    check_backbone(model)


def test_weights_of_the_familys_mobilenet(file):
    model = detector("mobile")
    state = state_of(model.backbone)
    state["classifier.weight"] = torch.zeros(1000, 1024)
    load(model, file(state))
    check_backbone(model)


@pytest.mark.parametrize("net", ["res18", "mobile_v2"])
def test_random_torchvision_model(file, net):
    torch.manual_seed(0)
    source = getattr(torchvision.models, TORCHVISION[net])()
    model = detector(net)
    load(model, file(source.state_dict()))
    theirs = source.state_dict()
    ours = model.backbone.state_dict()
    theirs = {key: value for key, value in theirs.items() if key in ours}
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0, check_stride=False)


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_wrapped_state_dict(file, wrapper):
    model = detector("res18")
    load(model, file({"epoch": 90, wrapper: state_of(classifier("res18"))}))
    check_backbone(model)


def test_weights_without_counters(file):
    state = state_of(classifier("res18"))
    state = {k: v for k, v in state.items() if "num_batches_tracked" not in k}
    model = detector("res18")
    load(model, file(state))
    check_backbone(model, without=["num_batches_tracked"])


def test_loading_leaves_layers_outside_the_backbone_alone(file):
    model = detector("res18")
    for tensor in model.state_dict().values():
        tensor.fill_(-1)
    trained = [p.requires_grad for p in model.parameters()]
    load(model, file(state_of(classifier("res18"))))
    for part in (model.rpn, model.box_head):
        assert all((tensor == -1).all() for tensor in part.state_dict().values())
    assert [p.requires_grad for p in model.parameters()] == trained


def test_none_leaves_all_random(monkeypatch):
    monkeypatch.setattr("faster_rcnn.model.weights.fetch_imagenet", pytest.fail)
    model = detector("res18")
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, 0.5)
    load(model, "none")
    assert all((parameter == 0.5).all() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("net", "other"),
    [
        ("res18", "res34"),
        ("res34", "res18"),
        ("res18", "res50"),
        ("vgg16", "res18"),
        ("mobile", "mobile_v2"),
        ("mobile_v2", "vgg16"),
    ],
)
def test_file_of_another_net(file, net, other):
    path = file(state_of(classifier(other)))
    message = refusal(detector(net), path)
    assert message.startswith(f"{path} does not fit the backbone ")
    assert "weights of another net" in message
    keys = state_of(classifier(other)).keys()
    assert any(key in message for key in [*keys, *detector(net).backbone.state_dict()])


def test_tensor_of_another_shape(file):
    state = state_of(classifier("res18"))
    state["layer2.0.conv1.weight"] = torch.zeros(128, 64, 1, 1)
    message = refusal(detector("res18"), file(state))
    assert "layer2.0.conv1.weight is (128, 64, 1, 1), expected (128, 64, 3, 3)" in (
        message
    )


def test_unusable_file(tmp_path, file):
    model = detector("res18")
    missing = tmp_path / "gone.pth"
    assert refusal(model, missing).startswith(f"{missing} is not there")
    path = file(state_of(classifier("res18")))
    path.write_bytes(path.read_bytes()[:20000])
    assert refusal(model, path).startswith(f"{path} is damaged")
    assert "holds list" in refusal(model, file([1, 2]))
    assert "does not fit the backbone ResNet" in refusal(model, file({}))


def save_detector(path, model):
    """Save a detector as a checkpoint of one number per tensor."""
    for key, tensor in model.state_dict().items():
        tensor.fill_(value_of(key))
    save_checkpoint(
        path,
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=1),
        generator=torch.Generator(),
        iteration=5,
        config=load_config(),
        classes=("__background__", "cat", "dog"),
    )
    return path


def test_own_checkpoint_as_weights(tmp_path, caplog):
    path = save_detector(tmp_path / "iter_0000005.pth", detector("mobile_v2"))
    model = detector("mobile_v2")
    with caplog.at_level("INFO", "faster_rcnn"):
        load(model, path)
    for key, tensor in model.state_dict().items():
        assert (tensor == value_of(key)).all(), key
    assert f"detector weights from {path}" in caplog.text
    assert "left random" not in caplog.text


def test_own_checkpoint_of_other_classes_leaves_the_output_layers(tmp_path, caplog):
    path = save_detector(tmp_path / "iter_0000005.pth", detector("mobile_v2"))
    model = detector("mobile_v2", 5)
    for tensor in model.state_dict().values():
        tensor.fill_(-1)
    with caplog.at_level("INFO", "faster_rcnn"):
        load(model, path)
    outputs = {
        f"box_head.predictor.{layer}.{part}"
        for layer in ("scores", "deltas")
        for part in ("weight", "bias")
    }
    for key, tensor in model.state_dict().items():
        assert (tensor == (-1 if key in outputs else value_of(key))).all(), key
    (warning,) = [r for r in caplog.records if r.levelname == "WARNING"]
    assert "left random" in warning.message and str(path) in warning.message
    assert all(key in warning.message for key in outputs)


def test_own_checkpoint_of_another_net(tmp_path):
    path = save_detector(tmp_path / "iter_0000005.pth", detector("mobile_v2"))
    message = refusal(detector("res18"), path)
    assert f"{path} is a detector with another net" in message
    assert "missing (backbone.bn1.bias, " in message


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


def test_weights_beside_the_checkout(shared: Path):
    config = load_config([], ["net.name", "mobile_v2"])
    model = build_detector(config, 3)
    before = model.backbone.state_dict()["features.0.0.weight"].clone()
    load(model, shared / "weights" / "mobilenet_v2_imagenet.pth")
    assert not torch.equal(model.backbone.state_dict()["features.0.0.weight"], before)
