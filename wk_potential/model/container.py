"""The container of a model file: one line of identity, a readable JSON header, raw arrays.

    wk_potential model format=3 header=<bytes> total=<bytes> sha256=<hex digest of all else>
    { JSON header, indented; "arrays" lists name, dtype, shape and offset of each array }
    <little-endian C-ordered arrays>

`head FILE` shows what the model is. The file holds no pickle and no code. The checksum detects any altered byte.
"""

import hashlib
import json
import math
import os
import re
import stat
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..atoms.files import write_atomically
from ..errors import ModelFileError

FORMAT = 4  # format 1 has no repulsion, format 2 no saturation, format 3 no potential to which the model adds
_MAGIC = b"wk_potential model "
_NUMBERS = rb"format=(\d{1,9}) header=(\d{1,18}) total=(\d{1,18})"
_LINE = re.compile(rb"(wk_potential model " + _NUMBERS + rb") sha256=([0-9a-f]{64})\n")
_LONGEST_LINE = 200
_KINDS = "biuf"  # NumPy's letters of booleans, integers and floating point numbers


def write_container(path: str | Path, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write header and arrays to `path`, atomically."""
    index, chunks, offset = {}, [], 0
    for name, array in arrays.items():
        data = np.ascontiguousarray(array, dtype=np.dtype(array.dtype).newbyteorder("<"))
        index[name] = {"dtype": data.dtype.str, "shape": list(np.shape(array)), "offset": offset}
        chunks.append(data.tobytes())
        offset += len(chunks[-1])
    text = json.dumps({**header, "arrays": index}, indent=1, allow_nan=False).encode() + b"\n"
    body = text + b"".join(chunks)
    identity = f"wk_potential model format={FORMAT} header={len(text)} total={len(body)}".encode()
    digest = hashlib.sha256(identity + body).hexdigest().encode()
    write_atomically(path, identity + b" sha256=" + digest + b"\n" + body)


def read_container(path: str | Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return header and arrays of a model file.

    Raises:
        ModelFileError: the file is missing, not a model, of a newer format, truncated, altered or damaged.

    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe or a device may never end
            raise ModelFileError(f"{path}: cannot be read as a model (not a regular file)")
        with open(path, "rb") as file:
            header_size, body = _body(path, file)
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        header = json.loads(body[:header_size])
        index = header.pop("arrays").items()
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise ModelFileError(f"{path}: the header of this model file is damaged; copy or make it again") from error
    content, arrays, end = memoryview(body)[header_size:], {}, 0
    for name, entry in index:
        arrays[name], end = _array(path, name, entry, content, end)
    if end != len(content):
        raise ModelFileError(f"{path}: the header of this model file describes {end} of {len(content)} bytes of arrays")
    return header, arrays


def _body(path: str | Path, file: BinaryIO) -> tuple[int, bytes]:
    """Return the length of the header, and all that follows the first line.

    Raises:
        ModelFileError: as `read_container`.

    """
    damaged = f"{path}: the first line of this model file is damaged; copy the file again"
    start = file.read(_LONGEST_LINE)
    match = _LINE.match(start)
    if not match:
        if start.startswith(_MAGIC) or (start and _MAGIC.startswith(start)):
            raise ModelFileError(damaged)
        raise ModelFileError(f"{path}: not a wk_potential model file")
    identity, digest = match[1], match[5].decode()
    version, header_size, total = (int(match[k]) for k in (2, 3, 4))
    if version < 1:
        raise ModelFileError(damaged)
    if version > FORMAT:
        raise ModelFileError(
            f"{path}: model format {version} is newer than this package reads ({FORMAT}); upgrade wk_potential"
        )
    size = os.fstat(file.fileno()).st_size - match.end()
    if size < total:
        raise ModelFileError(f"{path}: truncated, {size} of {total} bytes are there; copy the file again")
    file.seek(match.end())
    body = file.read(total) if size == total else b""
    found = hashlib.sha256(identity)
    found.update(body)
    if len(body) != total or found.hexdigest() != digest:
        raise ModelFileError(f"{path}: altered since it was written (checksum differs); copy the file again")
    return header_size, body


def _array(path: str | Path, name: str, entry: Any, content: memoryview, first: int) -> tuple[np.ndarray, int]:
    """Return the array that an entry of the header describes, and where it ends.

    Raises:
        ModelFileError: the entry makes no sense, goes beyond the data, or does not begin where the one before it ends.

    """
    try:
        dtype, shape, offset = np.dtype(entry["dtype"]), entry["shape"], entry["offset"]
        if dtype.kind in _KINDS and min([offset, *shape]) >= 0 and offset == first and not isinstance(offset, bool):
            flat = np.frombuffer(content[first:], dtype, math.prod(shape))
            return flat.reshape(shape).astype(dtype.newbyteorder("=")), first + flat.nbytes
        cause = None
    except Exception as error:  # NumPy raises errors of many kinds
        cause = error
    raise ModelFileError(
        f"{path}: the header of this model file describes the array {name!r} wrongly; copy or make it again"
    ) from cause


def prefixed(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Inverse of `within`: the arrays under names that begin with a prefix."""
    return {prefix + name: array for name, array in arrays.items()}


def within(prefix: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays whose names begin with a prefix, under the rest of their names."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
