"""What is found in a frame, and how frames are named."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..atoms.frame import Frame


class Finding(NamedTuple):
    """Something that is odd in a frame.

    Attributes:
        number: of the frame in the list, from 0.
        frame: its name, "file.xyz@12".
        what: quantity that is odd: "energy", "forces", "stress", "distance", "volume", "net force" or "structure".
        size: how odd, in standard deviations: of the other frames in a summary, the error bar among outliers.
        reason: what it looks like, for people.

    """

    number: int
    frame: str
    what: str
    size: float
    reason: str


def frame_name(frame: Frame, index: int) -> str:
    """Name a frame by file and index, "file.xyz@12", by which it can be read; without a file "structure 12"."""
    return re.sub(r", frame (\d+)$", r"@\1", frame.source) or f"structure {index}"


def file_of(frame: Frame) -> str:
    """Name of the file that a frame was read from; empty for structures of Python."""
    return match[1] if (match := re.match(r"(.*), frame \d+$", frame.source)) else ""


def named(frames: Sequence[Frame], indices: Iterable[int]) -> list[str]:
    """Names of some of the frames."""
    return [frame_name(frames[k], k) for k in indices]


def largest_first(findings: Iterable[Finding]) -> list[Finding]:
    """Findings in the order of their size, those of a frame one after the other, the largest first."""
    found = list(findings)
    worst: dict[int, float] = {}
    for f in found:
        worst[f.number] = max(abs(f.size), worst.get(f.number, 0.0))
    return sorted(found, key=lambda f: (-worst[f.number], f.number, -abs(f.size)))
