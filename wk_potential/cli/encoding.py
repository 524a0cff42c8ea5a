"""Output in encodings that lack some of our letters: `Å` becomes `A`, `³` becomes `^3`, others a backslash and a code.

Terminals and files need not be UTF-8: `PYTHONIOENCODING=ascii`, the Chinese gbk, the Russian cp1251.
"""

import codecs
from typing import Any, TextIO

_ERRORS = "wk_potential.plain"
_PLAIN = {
    "Å": "A", "²": "^2", "³": "^3", "⁴": "^4", "⁻": "^-", "¹": "1", "–": "-", "—": "-", "…": "...",
    "‘": "'", "’": "'", "“": '"', "”": '"',
}  # fmt: skip


def _plain(error: UnicodeError) -> tuple[str, int]:
    """Replace what cannot be encoded; see `codecs.register_error`."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    replaced = (_PLAIN.get(c, c.encode("ascii", "backslashreplace").decode()) for c in letters)
    return "".join(replaced), error.end


codecs.register_error(_ERRORS, _plain)


def writable(text: str, encoding: str) -> str:
    """Return the text with all that the encoding lacks replaced, as `replace_what_cannot_be_written` does it."""
    return text.encode(encoding, _ERRORS).decode(encoding)


def replace_what_cannot_be_written(stream: TextIO | Any) -> None:
    """From now on the stream writes what its encoding lacks in plain letters, instead of raising an error."""
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors=_ERRORS)
