"""Every setting of a run: its name, type, unit, default and meaning.

net      the backbone, and the source of its initial weights
boxes    anchors, and the box convention
regions  the region proposal network, RoI pooling and the head
dense    the head of a one-stage detector
instance the heads of masks and keypoints
data     data sets, and the processing of images before the network
train    optimisation, logging and checkpoints
test     post-processing and evaluation
section  the base class of these

The defaults are those of tf-faster-rcnn for VOC 2007. Recipes and command lines
override them; see ``loading.py``.
"""

import yaml

from .box_settings import AnchorConfig, BoxConfig
from .data_settings import DataConfig
from .dense_settings import DenseConfig
from .instance_settings import KeypointConfig, MaskConfig
from .net_settings import DETECTORS, FEATURE_KINDS, NET_NAMES, Net, NetConfig, split_net
from .region_settings import HeadConfig, PoolingConfig, RPNConfig
from .section import Section
from .test_settings import TestConfig
from .train_settings import TrainConfig

__all__ = [
    "DETECTORS",
    "FEATURE_KINDS",
    "NET_NAMES",
    "AnchorConfig",
    "BoxConfig",
    "Config",
    "DataConfig",
    "DenseConfig",
    "HeadConfig",
    "KeypointConfig",
    "MaskConfig",
    "Net",
    "NetConfig",
    "PoolingConfig",
    "RPNConfig",
    "Section",
    "TestConfig",
    "TrainConfig",
    "split_net",
]


class Config(Section):
    """All settings of a run."""

    net: NetConfig = NetConfig()
    anchors: AnchorConfig = AnchorConfig()
    boxes: BoxConfig = BoxConfig()
    rpn: RPNConfig = RPNConfig()
    pooling: PoolingConfig = PoolingConfig()
    head: HeadConfig = HeadConfig()
    dense: DenseConfig = DenseConfig()
    mask: MaskConfig = MaskConfig()
    keypoint: KeypointConfig = KeypointConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    test: TestConfig = TestConfig()

    def to_yaml(self) -> str:
        """Return the whole configuration as YAML, keys in the order of the fields."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)
