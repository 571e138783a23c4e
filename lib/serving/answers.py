"""What the server answers, typed for its OpenAPI description."""

from typing import Literal

from pydantic import BaseModel, Field

from ..detector import Result

Box = tuple[float, float, float, float]
MaskForm = Literal["run_lengths", "polygons", "none"]
"""How masks are answered."""


class Mask(BaseModel):
    """A mask of the whole picture as COCO's compressed run lengths."""

    size: tuple[int, int] = Field(description="height and width in pixels")
    counts: str


class Detection(BaseModel):
    """One object, in pixels of the upright picture."""

    box: Box = Field(description="x1, y1, x2, y2: pixel edges")
    score: float = Field(ge=0, le=1)
    label: int = Field(description="index of the class; 0, the background, is unused")
    name: str = Field(description="name of the class")
    mask: Mask | None = Field(
        None, description="of a detector with masks, for masks=run_lengths"
    )
    polygons: list[list[tuple[float, float]]] | None = Field(
        None,
        description="for masks=polygons: x, y of the corners of each part, the largest "
        "part first; a hole is joined to its outline by a line there and back",
    )
    keypoints: list[tuple[float, float, float]] | None = Field(
        None, description="x, y and score of each, of a detector with keypoints"
    )


class PictureAnswer(BaseModel):
    """The detections in one picture, best first."""

    width: int
    height: int
    detections: list[Detection]


class Answer(BaseModel):
    """One entry per picture, in the order of the request."""

    pictures: list[PictureAnswer]

    @classmethod
    def of(cls, results: list[Result], masks: MaskForm, vertices: int) -> "Answer":
        """Return the answer of detections, with so many vertices of each mask."""
        return cls(
            pictures=[
                PictureAnswer(
                    width=result.size[1],
                    height=result.size[0],
                    detections=_detections(result, masks, vertices),
                )
                for result in results
            ]
        )


def _detections(result: Result, masks: MaskForm, vertices: int) -> list[Detection]:
    rows = result.to_list()
    outlines = result.polygons(vertices) if masks == "polygons" else None
    for row, parts in zip(rows, outlines or (), strict=False):
        row["polygons"] = [part.tolist() for part in parts]
    if masks != "run_lengths":
        rows = [row | {"mask": None} for row in rows]
    return [Detection(**row) for row in rows]


class Facts(BaseModel):
    """The detector that answers."""

    checkpoint: str
    classes: list[str] = Field(description="by label, background first")
    keypoints: list[str] | None
    score_threshold: float = Field(description="all detections score more than this")
    max_bytes: int = Field(description="of a request")
    max_pixels: int = Field(description="of a picture")
    max_pictures: int = Field(description="of a request")
    formats: list[str]


class Health(BaseModel):
    """The state of the server."""

    live: bool
    ready: bool
    queued: int = Field(description="pictures that wait")


class Problem(BaseModel):
    """Why there is no answer, and what to do."""

    error: str
