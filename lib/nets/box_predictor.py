"""The two output layers of Fast R-CNN (Fast R-CNN, section 2.1).

Letters: M RoIs of all images, C classes.
"""

from torch import Tensor, nn


class BoxPredictor(nn.Module):
    """Predict class scores and box deltas from the vector of each RoI.

    Args:
        in_channels: length of the vector.
        num_classes: C, background included.
        class_agnostic: predict one box for all classes instead of one per class.
    """

    def __init__(
        self, in_channels: int, num_classes: int, *, class_agnostic: bool = False
    ) -> None:
        super().__init__()
        self.scores = nn.Linear(in_channels, num_classes)
        self.deltas = nn.Linear(in_channels, 4 if class_agnostic else 4 * num_classes)
        nn.init.normal_(self.scores.weight, std=0.01)
        nn.init.normal_(self.deltas.weight, std=0.001)
        nn.init.zeros_(self.scores.bias)
        nn.init.zeros_(self.deltas.bias)

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Predict class logits and box deltas.

        Args:
            vectors: ``(M, head_channels)``.

        Returns:
            Class logits ``(M, C)`` and normalised deltas ``(M, C, 4)``, with 1 in place
            of C if class-agnostic; float32.
        """
        deltas = self.deltas(vectors).float()
        return self.scores(vectors).float(), deltas.view(deltas.shape[0], -1, 4)
