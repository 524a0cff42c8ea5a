"""Join frames of many files into one: one unit, one name for each label, no frame twice."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..atoms.frame import Frame
from ..atoms.reading import FrameSource, frames_of
from .findings import frame_name
from .likeness import same_labels, structure_groups


class Merged(NamedTuple):
    """Frames of several files.

    Attributes:
        frames: those that are kept, in the units of the package.
        repeated: names of those that are left out, each with that of the frame it repeats.
        contradictory: names of those that have the structure of another frame and other labels, which are kept, each
            with that of the other.

    """

    frames: list[Frame]
    repeated: list[tuple[str, str]]
    contradictory: list[tuple[str, str]]


def merge_frames(data: FrameSource | Sequence[Frame], **reading: Any) -> Merged:
    """Join frames, and leave out those that repeat an earlier one: the same structure and the same labels.

    Args:
        data: what `read_frames` takes, or frames.
        reading: keywords of `read_frames`.

    Raises:
        DataError: as `read_frames`.

    """
    frames = frames_of(data, **reading)
    repeated: dict[int, int] = {}
    contradictory: dict[int, int] = {}
    for group in structure_groups(frames):
        kept = [group[0]]
        for k in group[1:]:
            twin = next((j for j in kept if same_labels(frames[j], frames[k])), None)
            if twin is not None:
                repeated[k] = twin
            else:
                contradictory[k] = kept[0]
                kept.append(k)

    def pairs(found: dict[int, int]) -> list[tuple[str, str]]:
        return [(frame_name(frames[k], k), frame_name(frames[j], j)) for k, j in sorted(found.items())]

    kept_frames = [frame for k, frame in enumerate(frames) if k not in repeated]
    return Merged(kept_frames, pairs(repeated), pairs(contradictory))
