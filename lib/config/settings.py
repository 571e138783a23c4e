"""Every setting of a run: its name, type, unit, default and meaning.

net      the backbone, and where its first weights come from
boxes    anchors, and what a box measures
regions  the region proposal network, RoI pooling and the head
data     data sets, and what becomes of an image before the network
train    optimisation, and what is logged and saved
test     post-processing and evaluation
section  what these are made of

The defaults are those of tf-faster-rcnn for VOC 2007. Recipes and command lines
override them; ``loading.py`` reads those.
"""

import yaml

from .boxes import AnchorConfig, BoxConfig
from .data import DataConfig
from .net import FEATURE_KINDS, NET_NAMES, NetConfig, split_net
from .regions import HeadConfig, PoolingConfig, RPNConfig
from .section import Section
from .test import TestConfig
from .train import TrainConfig

__all__ = [
    "FEATURE_KINDS",
    "NET_NAMES",
    "AnchorConfig",
    "BoxConfig",
    "Config",
    "DataConfig",
    "HeadConfig",
    "NetConfig",
    "PoolingConfig",
    "RPNConfig",
    "Section",
    "TestConfig",
    "TrainConfig",
    "split_net",
]


class Config(Section):
    """Everything a run depends on."""

    net: NetConfig = NetConfig()
    anchors: AnchorConfig = AnchorConfig()
    boxes: BoxConfig = BoxConfig()
    rpn: RPNConfig = RPNConfig()
    pooling: PoolingConfig = PoolingConfig()
    head: HeadConfig = HeadConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()
    test: TestConfig = TestConfig()

    def to_yaml(self) -> str:
        """The whole configuration as YAML, keys in the order of the fields."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)
