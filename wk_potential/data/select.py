"""Choose the most informative frames: those with environments that the chosen frames describe worst."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ..atoms.dataset import Dataset
from ..atoms.frame import Frame
from ..atoms.reading import FrameSource, frames_of
from ..compute.ranks import Communicator
from ..compute.threads import thread_count
from ..density.frames import Environments
from ..errors import OptionsError
from ..kernel.coupling import wigner_terms
from ..training.channels import model_density
from ..training.options import TrainingOptions
from ..training.sparse.selection import ElementCandidates, candidates, mean_kernels
from ..training.task import Progress, quiet

MOST_CANDIDATES = 5000  # environments of each element, drawn at random: enough to tell which frames are unlike others
MOST_CHOSEN = 3000  # environments by which the others are described; a frame has its share of them


def select_frames(
    data: FrameSource | Sequence[Frame],
    n: int,
    options: TrainingOptions | None = None,
    threads: int | None = None,
    progress: Progress = quiet,
    **reading: Any,
) -> list[int]:
    """Choose the frames from which a model learns most, by the kernel alone; labels do not matter.

    As for the support points of the sparse estimator, a pivoted Cholesky decomposition of the kernel finds the
    environment that the chosen ones describe worst. Its frame is chosen, and all environments of this frame are added
    to those that describe the others.

    Args:
        data: what `read_frames` takes, or frames; they need no labels.
        n: number of frames to choose.
        options: of the kernel [the defaults of training].
        threads: without it OMP_NUM_THREADS if set, else the cores available.
        progress: receives the name of a stage and the fraction done.
        reading: keywords of `read_frames`.

    Returns:
        Indices of the frames in the order of their choice: the first m of them are the choice of m frames. There are
        fewer than n if the chosen ones describe all others to rounding.

    Raises:
        DataError: as `read_frames`, but for missing labels.
        OptionsError: n is not between 1 and the number of frames.

    """
    frames = frames_of(data, unlabelled=True, **reading)
    if not 1 <= n <= len(frames):
        raise OptionsError(f"{n} frames of {len(frames)} cannot be chosen; ask for 1 to {len(frames)}")
    options, count = options or TrainingOptions(), thread_count(threads)
    dataset = Dataset([replace(frame, energy=None, forces=None, stress=None) for frame in frames])
    density = model_density(dataset, options, options.long, threads=count)
    environments = Environments(dataset, density)
    pools = candidates(environments, MOST_CANDIDATES, options.seed, partial(progress, "environments"))
    weights = 1 / (options.order * mean_kernels(pools, density.lmax, options.order, options.seed))
    drawn = dataset.drawn_environments(MOST_CANDIDATES, options.seed)
    frame = np.repeat(np.arange(len(dataset)), dataset.n_atoms)[drawn]
    owners = [frame[dataset.species[drawn] == z] for z in range(len(dataset.elements))]
    terms = wigner_terms(density.lmax, options.order)
    elements = [
        ElementCandidates(c, MOST_CHOSEN, terms, density.lmax, weights, count, Communicator()) for c in pools
    ]  # fmt: skip
    return _choice(elements, owners, n, progress)


def _choice(
    elements: Sequence[ElementCandidates], owners: Sequence[np.ndarray], n: int, progress: Progress
) -> list[int]:
    """Choose frames one by one.

    Args:
        elements: candidates of each element.
        owners: for each element, the frame (n_candidates,) of each candidate.
        n: frames to choose.
        progress: as in `select_frames`.

    """
    chosen: list[int] = []
    each = max(1, MOST_CHOSEN // n)  # environments of a frame
    while len(chosen) < n:
        best = int(np.argmax([element.largest() for element in elements]))
        if elements[best].largest() == 0:
            break
        frame = int(owners[best][np.argmax(elements[best].residual)])
        chosen.append(frame)
        for _ in range(each):
            own = [np.where(owner == frame, e.residual, 0.0) for e, owner in zip(elements, owners, strict=True)]
            z = int(np.argmax([r.max(initial=0.0) for r in own]))
            if own[z].max(initial=0.0) == 0 or len(elements[z].chosen) >= len(elements[z].factor):
                break
            elements[z].choose(int(own[z].argmax()))
        for element, owner in zip(elements, owners, strict=True):  # a frame is chosen once
            element.residual[owner == frame] = 0.0
        progress("frames", len(chosen) / n)
    return chosen
