"""Training: length, optimisation, validation, logging."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from .section import Count, Positive, Section, Share, Whole


class TrainConfig(Section):
    """Optimisation, logging and checkpoints."""

    auto: bool = False
    """Choose iterations (and the intervals that go with them), image size, scales of
    anchors, and passes of an update by the training set and the memory, as far as
    neither the command line nor a recipe of the user names them. The run records the
    chosen values."""
    iterations: Count = 70000
    epochs: Positive | None = None
    """Length of the run in epochs, in place of ``iterations``; lr_steps keep their
    relative positions. ``--iters`` overrides it."""
    batch_size: Count = 1
    """Images in one pass of one process. An update uses the gradients of
    ``accumulate`` passes of each process."""
    accumulate: Count = 1
    """Passes of each process per update."""
    images_per_update: Count | None = None
    """Images over which an update averages the loss; null: batch_size x accumulate x
    processes. A given value, or the value recorded by a run that is resumed, is kept:
    the processes, however many, share its passes."""
    reference_batch: Whole | None = None
    """Images per update for which lr, iterations, lr_steps, warmup_iterations,
    snapshot_every, validate_every and ema are meant. With k times as many, lr is
    multiplied by k, ema is raised to the power of k, and the others are divided by k
    (Goyal et al. 2017, section 2.1), except those given on the command line. null or
    0: nothing is scaled."""
    sync_bn: bool = False
    """Compute norm statistics over the passes of all processes; affects only trained
    batch normalisation (``net.norm``)."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    shard_optimizer: bool = False
    """Divide the optimizer's state among the processes: each keeps momenta of its share
    of the parameters. Checkpoints contain the whole state."""
    lr: Positive = 0.001
    lr_steps: tuple[Count, ...] = (50000,)
    """Iterations after which the learning rate is multiplied by gamma."""
    lr_epochs: Annotated[tuple[Positive, ...], Field(min_length=1)] | None = None
    """``lr_steps`` in epochs; used in their place."""
    gamma: Share = 0.1
    schedule: Literal["step", "cosine", "polynomial"] = "step"
    power: Positive = 0.9
    """Power of the polynomial, ``(1 - iteration / iterations) ** power``."""
    momentum: Share = 0.9
    """Momentum of SGD; AdamW keeps its usual (0.9, 0.999)."""
    weight_decay: float = Field(default=1e-4, ge=0)
    backbone_decay: float | None = Field(default=None, ge=0)
    """Weight decay of the backbone; null: the same as ``weight_decay``."""
    bias_decay: bool = False
    """Apply weight decay to biases too."""
    double_bias: bool = False
    """Train biases at twice the learning rate."""
    depthwise_decay: bool = True
    """Apply weight decay to depthwise convolutions; tf-faster-rcnn's MobileNet does
    not."""
    warmup_iterations: Whole = 0
    warmup_factor: Share = 0.1
    """Learning rate at the first iteration, relative to ``lr``."""
    clip_norm: float = Field(default=0, ge=0)
    """Largest norm of the gradient over all parameters; 0: no clipping."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0
    """Decay per update of the moving average of the weights, which validations and
    tests then use; 0: no average."""
    validate_every: Whole = 0
    """Iterations between validations on ``data.val_set``, besides the one at the end.
    0: no validation. The best checkpoint is kept as best.pth."""
    validate_epochs: Positive | None = None
    """Epochs between validations, in place of ``validate_every``."""
    best_by: Literal["ap", "segm", "keypoints", "loss"] = "ap"
    """How the best validation is chosen: by the highest headline AP (of boxes), AP of
    masks or of keypoints, or the lowest loss."""
    patience: Whole = 0
    """Stop training after this many validations in a row without a new best; 0:
    never."""
    nonfinite: Literal["stop", "skip"] = "stop"
    """What to do if the loss or gradient of an update is not finite: ``stop`` the run,
    or ``skip`` the step, which leaves the weights unchanged."""
    nonfinite_limit: Count = 10
    """Largest number of updates in a row that may be skipped before the run stops."""
    class_weights: Literal["balanced"] | dict[str, Positive] | None = None
    """Weights of classes in the classification loss of the head: {cat: 2}, and 1 for
    all others; or ``balanced``, objects / (classes x objects of the class), between
    0.1 and 10. Background weighs 1."""
    logit_adjustment: Annotated[float, Field(ge=0, le=4)] = 0
    """Tau of logit adjustment (Menon et al. 2021) in the classification loss of the
    box heads: while training, the logit of each class is raised by tau times the
    logarithm of its objects / the mean of all classes. 1: balanced softmax; 0: none."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of autocast. ``auto``: bfloat16 if the hardware supports it natively,
    else float32. float16, with loss scaling, is for GPUs without bfloat16 (V100, T4,
    RTX 20). Weights with large activations (Caffe's) may overflow in it."""
    gradient_checkpointing: bool = False
    """Compute the backbone's blocks again in the backward pass instead of keeping their
    maps: less memory, more time, the same gradient."""
    compile: Literal["none", "default", "reduce-overhead", "max-autotune"] = "none"
    """Mode of torch.compile for the training pass, which takes minutes at the first
    start; ``reduce-overhead`` replays CUDA graphs. ``none``: no compilation; CPUs are
    as fast without it."""
    cuda_graphs: bool = False
    """Replay whole updates as CUDA graphs, one for each size of batch."""
    deterministic: bool = False
    """Use operators whose sums have a fixed order, where such operators exist; the log
    names the others. On the CPU all operators are deterministic anyway."""
    seed: Whole = 3
    log_every: Count = 20
    snapshot_every: Count = 5000
    snapshots_kept: Count = 3
    picture_every: Whole = 1000
    """Iterations between images in TensorBoard; 0: never."""
    histogram_every: Whole = 1000
    """Iterations between histograms in TensorBoard; 0: never."""
    trackers: tuple[Literal["wandb", "mlflow"], ...] = ()
    """Experiment trackers that receive the curves in addition to TensorBoard."""

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
                f"train.cuda_graphs cannot be used with train.compile {self.compile}, "
                "which makes graphs of its own; turn off one of the two"
            )
        if self.cuda_graphs and self.shard_optimizer:
            raise ValueError(
                "train.cuda_graphs cannot be used with train.shard_optimizer, whose "
                "processes exchange weights after each step; turn off one of the two"
            )
        if self.gradient_checkpointing and self.compile != "none":
            raise ValueError(
                "train.gradient_checkpointing needs train.compile none, found "
                f"{self.compile}; turn off one of the two"
            )
        if self.cuda_graphs and self.precision == "float16":
            raise ValueError(
                "train.cuda_graphs cannot be used with train.precision float16, whose "
                "scale the host checks at each update; use bfloat16 or float32"
            )
        if self.cuda_graphs and self.nonfinite == "skip":
            raise ValueError(
                "train.cuda_graphs cannot be used with train.nonfinite skip, for which "
                "the host checks each update before its step; turn off one of the two"
            )
        return self
