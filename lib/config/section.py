"""Base class of the sections of the settings."""

import pkgutil
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Whole = Annotated[int, Field(ge=0)]
TileSide = Annotated[int, Field(ge=32)]
"""Sides of a tile or crop: a least one bounds the number of tiles."""


class Section(BaseModel):
    """Settings that belong together; unknown keys and NaN are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _truth_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        # Python accepts True as 1.
        assert info.field_name is not None
        if isinstance(value, bool):
            annotation = cls.model_fields[info.field_name].annotation
            if annotation is not bool:
                raise ValueError("expected no true or false here")
        return value


class HeadSection(Section):
    """Settings of a head that stands beside the box head.

    Attributes:
        head: its class, as ``package.module:Class`` or itself.
    """

    head: ClassVar[str | type]

    enabled: bool = False
    """Whether the detector has this head."""

    @classmethod
    def kind(cls) -> Any:
        """Return the class of the head."""
        head = cls.head
        return pkgutil.resolve_name(head) if isinstance(head, str) else head
