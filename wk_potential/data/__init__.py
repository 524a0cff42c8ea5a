"""Look at training data, find what is wrong in them, and divide, choose and join frames."""

from ..atoms.trajectories import write_frames
from .findings import Finding
from .merge import Merged, merge_frames
from .outliers import Outliers, find_outliers
from .select import select_frames
from .split import split_frames
from .summary import Summary, summarise

__all__ = [
    "Finding",
    "Merged",
    "Outliers",
    "Summary",
    "find_outliers",
    "merge_frames",
    "select_frames",
    "split_frames",
    "summarise",
    "write_frames",
]
