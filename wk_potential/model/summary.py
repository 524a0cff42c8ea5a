"""Short texts that say what an object holds, for people who print it."""

from dataclasses import fields
from typing import Any

import numpy as np


def summary(value: Any) -> str:
    """Name a value in a few words: numbers as they are, arrays by shape, lists by length."""
    if isinstance(value, np.ndarray):
        return f"array {value.shape}"
    if isinstance(value, list | dict):
        return f"{type(value).__name__} of {len(value)}"
    if value is None or isinstance(value, bool | str | int):
        return repr(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"<{type(value).__name__}>"


class Summarised:
    """Dataclass whose `repr` fits a screen, however large its arrays are."""

    def __repr__(self) -> str:
        named = ((f.name, getattr(self, f.name)) for f in fields(self))  # type: ignore[arg-type]
        return f"{type(self).__name__}({', '.join(f'{n}={summary(v)}' for n, v in named if v is not None)})"
