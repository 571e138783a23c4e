"""The gradient of an update, from passes over the parts of its batch, and its norm.

Letters: L losses.
"""

import contextlib
import inspect
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from ..config.settings import Config
from ..datasets.loading.batches import Batch
from ..datasets.loading.training_stream import Passes
from ..layer_utils.outputs import TrainOutput
from ..model.network import Network
from ..utils.device import autocast
from ..utils.distributed import collectives
from .loss_scaling import LossScaling
from .running_statistics import RunningStatistics

logger = logging.getLogger(__name__)


class Update(NamedTuple):
    """Result of an update.

    Attributes:
        output: losses and counts of the whole batch, over all processes; activations
            of this process's last pass.
        norm: norm of the gradient before clipping.
        problems: unreadable files of all processes.
        stopping: whether any process was asked to stop.
        stepped: whether the optimizer has already made its step.
        left_out: whether the update was skipped because a number was not finite.
    """

    output: TrainOutput
    norm: Tensor
    problems: int
    stopping: bool
    stepped: bool = False
    left_out: bool = False

    def numbers(self) -> dict[str, float]:
        """Return the losses, their sum and the norm, once the device has them."""
        losses = {name: loss.item() for name, loss in self.output.losses.items()}
        total = {"loss": sum(losses.values()), "gradient_norm": self.norm.item()}
        return total | losses


class BatchGradient:
    """Compute the gradient of the whole batch's loss in the parameters, clipped.

    A loss is a sum over the batch's samples (labelled anchors, sampled RoIs), of which
    each pass has a part, divided by their number. So the sum of a pass is divided by
    the number of the whole batch, whatever the number of passes and processes.

    Args:
        passes: passes of each update, and which of them are this process's.
        generator: random number generator of the sampling. A batch of several passes
            seeds it for each pass, so that the samples do not depend on the process.
    """

    def __init__(
        self,
        model: Network,
        config: Config,
        passes: Passes,
        generator: torch.Generator,
        *,
        device: torch.device,
        dtype: torch.dtype,
        scaling: LossScaling | None = None,
    ) -> None:
        self.model = model
        self.config = config
        self.passes = passes
        self.generator = generator
        self.device = device
        self.dtype = dtype
        self.scaling = scaling
        self.processes = collectives.process_rank().processes
        self.network: nn.Module = model
        if config.train.compile != "none":
            mode = config.train.compile
            self.network = cast(nn.Module, torch.compile(model, mode=mode))
        if collectives.is_distributed():
            if config.train.sync_bn:
                _synchronise_norms(model)
            # Norms' statistics need no copies: they are exchanged after each update.
            options: dict[str, Any] = {_buffers_option(): False}
            self.network = nn.parallel.DistributedDataParallel(
                self.network, gradient_as_bucket_view=True, **options
            )

        self.statistics = RunningStatistics(
            model, passes, synchronised=config.train.sync_bn
        )

    def __call__(
        self, iteration: int, batches: Sequence[Batch], *, stopping: bool = False
    ) -> Update:
        """Compute the gradient.

        Args:
            batches: of this process's passes.
        """
        if self.passes.total == 1:
            (batch,) = batches
            output = self._forward(batch)
            self.model.zero_grad(set_to_none=True)
            self.backward(output.total())
            self.model.settle(output)
            return Update(output, self._clip(), len(batch.problems), stopping)

        flags = [sum(len(batch.problems) for batch in batches), stopping]
        # A process with several passes needs the number of samples before it has
        # drawn them all. It assumes full samples, which holds except for tiny images,
        # and otherwise repeats the update. Where nothing can be assumed, it counts
        # them first.
        samples = None
        self.statistics.begin()
        while True:
            output, found = self._passes(iteration, batches, flags, samples)
            if found.complete:
                self.statistics.share()
                self.model.settle(output)
                return Update(output, self._clip(), *found.flags)
            samples = found.samples
            self.statistics.undo()

    def backward(self, loss: Tensor) -> None:
        """Add a loss's gradient to that of the parameters."""
        if self.scaling is not None:
            loss = self.scaling.scale(loss)
        torch.autograd.backward(loss)

    def _clip(self) -> Tensor:
        if self.scaling is not None:
            self.scaling.unscale()
        return clip_gradient(self.model, self.config.train.clip_norm)

    def _passes(
        self,
        iteration: int,
        batches: Sequence[Batch],
        flags: Sequence[int],
        samples: Tensor | None,
    ) -> tuple[TrainOutput, "_Found"]:
        """Run this process's passes; stop before the last if ``samples`` is wrong."""
        self.model.zero_grad(set_to_none=True)
        sums: Tensor | None = None
        counting = False
        for number, batch in zip(self.passes.mine, batches, strict=True):
            last = number == self.passes.mine[-1]
            with self._unsynchronised(not last):
                self._seed(iteration, number)
                with torch.set_grad_enabled(not counting):
                    output = self._forward(batch)
                losses = torch.stack([loss.total for loss in output.terms.values()])
                part = _numbers(output)
                sums = part if sums is None else sums + part
                if samples is None and self.passes.total > self.processes:
                    samples = self._full(output)
                    counting = samples is None
                if last:
                    output, found = self._add_up(output, sums, flags)
                    if counting or not (
                        samples is None or torch.equal(samples, found.samples)
                    ):
                        return output, found._replace(complete=False)
                    samples = found.samples
                if counting:
                    continue
                assert samples is not None
                # The gradients of the processes are averaged, hence the factor.
                whole = zip(output.terms.values(), samples, strict=True)
                divisors = [loss._replace(count=count).divisor for loss, count in whole]
                shares = self.processes / torch.stack(divisors)
                self.backward((losses * shares).sum())
        return output, found

    def _add_up(
        self, output: TrainOutput, sums: Tensor, flags: Sequence[int]
    ) -> tuple[TrainOutput, "_Found"]:
        """Sum losses and counts of the whole batch over the processes."""
        told = torch.tensor(flags, dtype=sums.dtype, device=sums.device)
        total = collectives.all_sum(torch.cat((sums, told)))
        names, counted = list(output.terms), list(output.counts)
        sizes = [len(names), len(names), len(counted), len(flags)]
        losses, samples, counts, told = torch.split(total, sizes)
        terms = {
            name: output.terms[name]._replace(total=total, count=count)
            for name, total, count in zip(names, losses, samples, strict=True)
        }
        problems, stopping = told.tolist()
        output = output._replace(
            terms=terms, counts=dict(zip(counted, counts, strict=True))
        )
        return output, _Found(samples, (int(problems), stopping > 0))

    def _full(self, output: TrainOutput) -> Tensor | None:
        """Return ``(L,)`` samples of each loss in a batch whose images lack none.

        Returns:
            None if a loss has no such number.
        """
        full = [loss.per_image for loss in output.terms.values()]
        if None in full:
            return None
        samples = [self.passes.images * number for number in full if number is not None]
        return torch.tensor(samples, dtype=torch.float32, device=self.device)

    def _forward(self, batch: Batch) -> TrainOutput:
        with autocast(self.device, self.dtype):
            output = self.network(
                batch.images, batch.ground_truth, self.generator, **batch.given
            )
        assert isinstance(output, TrainOutput)
        return output

    def _unsynchronised(
        self, wanted: bool
    ) -> contextlib.AbstractContextManager[None, bool | None]:
        """Keep the gradients of a pass in this process; the last pass sends them."""
        if wanted and isinstance(self.network, nn.parallel.DistributedDataParallel):
            return self.network.no_sync()
        return contextlib.nullcontext()

    def _seed(self, iteration: int, number: int) -> None:
        """Seed a pass's own random numbers, for sampling and for dropout."""
        seed = self.config.train.seed
        sequence = np.random.SeedSequence((seed, 2, iteration, number))
        sampling, dropout = map(int, sequence.generate_state(2, np.uint32))
        self.generator.manual_seed(sampling)
        torch.manual_seed(dropout)


def _numbers(output: TrainOutput) -> Tensor:
    """Return the numbers to add up over passes: sums and counts of losses; counts."""
    terms = output.terms.values()
    numbers = [loss.total.detach() for loss in terms]
    numbers += [*(loss.count for loss in terms), *output.counts.values()]
    return torch.stack([number.float() for number in numbers])


class _Found(NamedTuple):
    """Data that the processes exchanged.

    Attributes:
        samples: ``(L,)`` samples of each loss in the whole batch.
        flags: unreadable files, and whether to stop.
        complete: whether the gradient was computed with these samples.
    """

    samples: Tensor
    flags: tuple[int, bool]
    complete: bool = True


def _buffers_option() -> str:
    """Return PyTorch's name of the option to copy buffers, which was renamed."""
    options = inspect.signature(nn.parallel.DistributedDataParallel).parameters
    new = "forward_sync_buffers"
    return new if new in options else "broadcast_buffers"


def _synchronise_norms(model: nn.Module) -> None:
    from ..nets.sync_norm import synchronise_norms  # not needed by a single process

    if not synchronise_norms(model):
        logger.warning("train.sync_bn has no effect: no batch normalisation is trained")


def clip_gradient(model: nn.Module, limit: float) -> Tensor:
    """Scale the gradient down to norm ``limit`` (0: none); return the norm before."""
    if limit:
        return nn.utils.clip_grad_norm_(model.parameters(), limit)
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    return nn.utils.get_total_norm(gradients)
