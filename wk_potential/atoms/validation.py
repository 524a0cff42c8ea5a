"""Short texts of what pydantic has found wrong."""

import reprlib

from pydantic import ValidationError

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
    texts = [
        f"{'.'.join(map(str, e['loc']))}: {e['msg'].removeprefix('Value error, ')} (got {_short.repr(e['input'])})"
        for e in found[:SHOWN]
    ]
    return "; ".join(texts) + (f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else "")
