"""Advice when the memory of a GPU, or of the machine, is exhausted."""

import contextlib
import logging
import traceback
from collections.abc import Iterator

import torch

from ..config.settings import Config
from ..model.network import Network
from .costs import Memory, estimate_memory, largest_size

logger = logging.getLogger(__name__)

TESTING_ADVICE = (
    "What helps in testing: --set test.batch_size 1, smaller data.test_short_side and "
    "data.test_long_side, fewer rpn.test_pre_nms and rpn.test_post_nms"
)

_GB = 1e9


class NotEnoughMemoryError(RuntimeError):
    """A training step did not fit into memory."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory has run out, on a GPU or a CPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # The CPU's allocator has no error type of its own.
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


@contextlib.contextmanager
def memory_advice(
    model: Network, config: Config, *, device: torch.device, dtype: torch.dtype
) -> Iterator[None]:
    """Turn an out-of-memory error of training into one with advice.

    Raises:
        NotEnoughMemoryError: with an estimate of the memory, and settings to change.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        first = str(error).partition("\n")[0]
        # The variables of the stack hold all activations; the estimate needs memory.
        traceback.clear_frames(error.__traceback__)
        try:
            size = largest_size(config.data)
            memory = estimate_memory(model, config.train, size, dtype=dtype)
            lines = memory_lines(memory, config, size)
        except Exception as fault:  # the message matters more than its figures
            lines = [f"(the needed memory cannot be estimated: {fault})"]
        text = [f"out of memory on {device}: {first}", *_there(device), *lines]
        text += ["What helps:", *_remedies(config, dtype)]
        text.append("A run with other settings is a new one, with a folder of its own.")
        raise NotEnoughMemoryError("\n".join(text)) from error


def memory_lines(memory: Memory, config: Config, size: tuple[int, int]) -> list[str]:
    """Describe an estimate in lines of text.

    Args:
        size: height and width of a padded image.
    """
    images = config.train.batch_size
    return [
        f"memory of training, estimated: {memory.total(images) / _GB:.2f} GB with "
        f"{images} image{'s' if images > 1 else ''} of {size[1]} x {size[0]} in a pass",
        f"  weights {memory.weights / _GB:.2f} GB, "
        f"{config.train.optimizer}'s state {memory.optimizer / _GB:.2f} GB, "
        f"gradients and other tensors {memory.step / _GB:.2f} GB, "
        f"each image {memory.image / _GB:.2f} GB",
        "  not included: workspace of operators, gaps of the allocator",
    ]


def _there(device: torch.device) -> list[str]:
    """Describe the memory of a GPU and its use."""
    if device.type != "cuda" or not torch.cuda.is_available():
        return []
    free, total = torch.cuda.mem_get_info(device)
    own = torch.cuda.memory_reserved(device)
    others = max(0, total - free - own)
    return [
        f"the GPU has {total / _GB:.1f} GB: this process uses {own / _GB:.1f} GB, "
        f"other processes and the driver {others / _GB:.1f} GB"
    ]


def _remedies(config: Config, dtype: torch.dtype) -> list[str]:
    """List settings to change, those with the least effect on the result first."""
    train, rpn, data = config.train, config.rpn, config.data
    lines = []
    if train.batch_size > 1:
        smaller = next(
            size
            for size in range(train.batch_size // 2, 0, -1)
            if train.batch_size % size == 0
        )
        passes = train.accumulate * train.batch_size // smaller
        lines.append(
            f"--set train.batch_size {smaller} train.accumulate {passes}: the same "
            f"update in smaller passes (now {train.batch_size} and {train.accumulate})"
        )
    if dtype == torch.float32:
        lines.append("--set train.precision bfloat16: half of the activations")
    if not train.gradient_checkpointing:
        lines.append(
            "--set train.gradient_checkpointing true: the backbone's maps are computed "
            "again instead of kept"
        )
    sides = ", ".join(map(str, data.short_sides))
    lines += [
        f"--set data.short_sides, data.long_side: smaller images (now [{sides}] and "
        f"{data.long_side}); memory is proportional to their area",
        "--set head.rois_per_image: fewer regions through the head (now "
        f"{config.head.rois_per_image})",
        "--set rpn.train_pre_nms, rpn.train_post_nms: fewer proposals (now "
        f"{rpn.train_pre_nms} and {rpn.train_post_nms})",
        "a smaller net, or --gpus with more of them and a smaller train.batch_size",
    ]
    return [f"  {line}" for line in lines]
