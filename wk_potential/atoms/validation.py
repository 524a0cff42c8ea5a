"""Options whose values are checked, and short texts of what is wrong with them."""

import difflib
import reprlib
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ..errors import OptionsError

SHOWN = 5  # problems in a message, at most


class _Short(reprlib.Repr):
    """Short texts of values that may be long or nested deeply."""

    def repr_int(self, x: int, level: int) -> str:
        """Return a number; Python refuses to write those of thousands of digits."""
        return super().repr_int(x, level) if x.bit_length() < 1000 else "an integer of hundreds of digits"


_short = _Short()
_short.maxstring = _short.maxother = 60


def problems(error: ValidationError) -> str:
    """Return the first problems that pydantic has found, in one line."""
    found = error.errors(include_url=False)
    texts = []
    for e in found[:SHOWN]:
        text = e["msg"].removeprefix("Value error, ")  # of one option, or of several that exclude each other
        texts.append(f"{'.'.join(map(str, e['loc']))}: {text} (got {_short.repr(e['input'])})" if e["loc"] else text)
    return "; ".join(texts) + (f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else "")


class Options(BaseModel):
    """Options that do not change and have no others beside them."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    if not TYPE_CHECKING:  # type checkers see the fields

        def __init__(self, **values: Any) -> None:
            """Validate options, naming what is wrong.

            Raises:
                OptionsError: an unknown name (with the nearest known one) or a value that is not allowed.

            """
            if unknown := next((name for name in values if name not in type(self).model_fields), None):
                close = difflib.get_close_matches(unknown, type(self).model_fields, 1, 0.4)
                raise OptionsError(f"unknown option {unknown!r}{f'; did you mean {close[0]!r}?' if close else ''}")
            try:
                super().__init__(**values)
            except ValidationError as error:
                raise OptionsError(problems(error)) from None
