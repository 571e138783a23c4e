"""Training: length, optimisation, validation, records."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from .section import Count, Positive, Section, Share, Whole


class TrainConfig(Section):
    """Optimisation and what is logged and saved."""

    iterations: Count = 70000
    epochs: Positive | None = None
    """Length of the run in passes over the training images, in place of ``iterations``;
    lr_steps then keep their shares of the run. ``--iters`` outranks it."""
    batch_size: Count = 1
    """Images in one pass of one process. An update is made of the gradients of
    ``accumulate`` passes of each process."""
    accumulate: Count = 1
    """Passes of each process per update."""
    images_per_update: Count | None = None
    """Images whose mean loss an update minimises; null: batch_size x accumulate x
    processes. Given, or recorded by a run that is resumed, it stands, and however many
    processes there are share its passes."""
    reference_batch: Whole | None = None
    """Images per update that lr, iterations, lr_steps, warmup_iterations,
    snapshot_every, validate_every and ema are meant for. With k times as many, lr is
    multiplied by k, ema is raised to the power of k, and the others are divided by k
    (Goyal et al. 2017, section 2.1), but for those given on the command line. null or
    0: nothing is scaled."""
    sync_bn: bool = False
    """Normalise over the passes of all processes; matters only where batch
    normalisation is trained (``net.norm``)."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: Positive = 0.001
    lr_steps: tuple[Count, ...] = (50000,)
    """Iterations after which the learning rate is multiplied by gamma."""
    lr_epochs: Annotated[tuple[Positive, ...], Field(min_length=1)] | None = None
    """The same in epochs, in place of ``lr_steps``."""
    gamma: Share = 0.1
    schedule: Literal["step", "cosine", "polynomial"] = "step"
    power: Positive = 0.9
    """Of the polynomial, ``(1 - iteration / iterations) ** power``."""
    momentum: Share = 0.9
    """Of SGD; AdamW keeps its usual (0.9, 0.999)."""
    weight_decay: float = Field(default=1e-4, ge=0)
    backbone_decay: float | None = Field(default=None, ge=0)
    """Weight decay of the backbone alone; null: as of the rest."""
    bias_decay: bool = False
    """Whether biases decay too."""
    double_bias: bool = False
    """Whether biases learn at twice the rate."""
    depthwise_decay: bool = True
    """Whether depthwise convolutions decay; not in the family's MobileNet."""
    warmup_iterations: Whole = 0
    warmup_factor: Share = 0.1
    """Learning rate at the first iteration, relative to ``lr``."""
    clip_norm: float = Field(default=0, ge=0)
    """Largest norm of the whole gradient; 0: no clipping."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0
    """Decay per update of the averaged weights, which validations and tests then use;
    0: none are kept."""
    validate_every: Whole = 0
    """Iterations between validations on ``data.val_set``; one more is at the end. 0:
    none. The best checkpoint is kept as best.pth."""
    validate_epochs: Positive | None = None
    """The same in epochs, in place of ``validate_every``."""
    best_by: Literal["ap", "loss"] = "ap"
    """What makes a validation the best: the largest headline AP, or the least loss."""
    patience: Whole = 0
    """Validations in a row without a new best after which training stops; 0: none."""
    nonfinite: Literal["stop", "skip"] = "stop"
    """What an update does whose loss or gradient is not finite: ``stop`` the run, or
    ``skip`` the step, which leaves the weights as they are."""
    nonfinite_limit: Count = 10
    """Updates in a row that may be skipped before the run stops all the same."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """``auto``: bfloat16 autocast where the hardware computes in it."""
    compile: Literal["none", "default", "reduce-overhead", "max-autotune"] = "none"
    """PyTorch's mode of compiling the training pass, minutes at the first start;
    ``reduce-overhead`` replays CUDA graphs. ``none``: as it is, which CPUs are as fast
    with."""
    cuda_graphs: bool = False
    """Whether whole updates are replayed as CUDA graphs, one for each size of batch."""
    deterministic: bool = False
    """Only operators whose sums have a fixed order, as far as there are any; what has
    none is told of. On the CPU nothing else is ever used."""
    seed: Whole = 3
    log_every: Count = 20
    snapshot_every: Count = 5000
    snapshots_kept: Count = 3
    picture_every: Whole = 1000
    """Iterations between pictures in TensorBoard; 0: never."""
    histogram_every: Whole = 1000
    """Iterations between histograms in TensorBoard; 0: never."""
    trackers: tuple[Literal["wandb", "mlflow"], ...] = ()
    """Experiment trackers that get the curves beside TensorBoard."""

    @model_validator(mode="after")
    def _steps_rise(self) -> "TrainConfig":
        if list(self.lr_steps) != sorted(set(self.lr_steps)):
            raise ValueError(f"lr_steps must rise; found {list(self.lr_steps)}")
        if self.lr_epochs and list(self.lr_epochs) != sorted(set(self.lr_epochs)):
            raise ValueError(f"lr_epochs must rise; found {list(self.lr_epochs)}")
        return self

    @model_validator(mode="after")
    def _graphs_are_whole(self) -> "TrainConfig":
        if self.cuda_graphs and self.compile not in ("none", "default"):
            raise ValueError(
                f"cuda_graphs does not go with train.compile {self.compile}, which "
                "makes graphs of its own; drop either"
            )
        if self.cuda_graphs and self.nonfinite == "skip":
            raise ValueError(
                "cuda_graphs does not go with train.nonfinite skip, for which the host "
                "looks at an update before its step; drop either"
            )
        return self
