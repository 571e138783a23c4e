import inspect

import pytest
import torch
from faster_rcnn.kernels.matching import _match
from faster_rcnn.kernels.operator import Operator
from faster_rcnn.kernels.pooling import _roi_pool, _roi_pool_backward
from faster_rcnn.kernels.pooling_layout import Options
from faster_rcnn.nms.nms import _nms
from faster_rcnn.nms.soft_nms import _soft_nms

OPERATORS = [_match, _nms, _roi_pool, _roi_pool_backward, _soft_nms]


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda o: o.name)
def test_schema_is_that_of_the_annotations(operator: Operator) -> None:
    try:
        inferred = torch.library.infer_schema(operator.function, mutates_args=())
    except (AttributeError, ValueError):
        # PyTorch before 2.15 infers none where a list is optional.
        assert "Tensor[]?" in str(operator.call._schema)
    else:
        written = str(operator.call._schema).partition("(")[2]
        assert f"({written}" == inferred


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda o: o.name)
def test_schema_names_the_arguments_of_the_function(operator: Operator) -> None:
    named = [argument.name for argument in operator.call._schema.arguments]
    parameters = list(inspect.signature(operator.function).parameters)
    if parameters[-1] == "options":
        parameters[-1:] = Options._fields
    assert named == parameters
