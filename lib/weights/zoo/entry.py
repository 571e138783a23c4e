"""One published file: its address, hash, licence and importer."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Entry:
    """One published file.

    Attributes:
        name: origin and the publisher's own name.
        kind: ``backbone`` (ImageNet classification) or ``detector``.
        file: file name in the cache.
        page: page of the publisher that describes the file.
        licence: licence of the weights.
        net: our name of the net.
        normalisation: normalisation of the input, a key of `NORMALISATIONS`.
        reader: the importer that reads the file.
        url: download address; None if a program cannot download the file.
        sha256: hexadecimal, or its first digits; None if not published.
        md5: hexadecimal, or its first digits; None if not published.
        size: bytes to about three digits, for progress and disk space; 0 if not
            published.
        published: the publisher's figure, and what it was measured on.
    """

    name: str
    kind: Literal["backbone", "detector"]
    file: str
    page: str
    licence: str
    net: str
    normalisation: str
    reader: str
    url: str | None = None
    sha256: str | None = None
    md5: str | None = None
    size: int = 0
    published: str | None = None
