"""Model files with one thing changed and a checksum that fits, and what becomes of those who read them."""

import copy
import hashlib
import json
import os
import re
import resource
import signal
import traceback
import warnings
from pathlib import Path
from typing import Any

import numpy as np

VALUES = [
    None, True, False, -1, 0, 1, 2, 3, 7, 10**9, 2**31, 10**30, -0.5, 0.0, 0.5, 1e-300, 1e300, float("inf"), "", "x",
    "|O", [], {}, [[]], [-1], [0, 0], [2.5], [10**12], {"a": 1},
]  # fmt: skip
NUMBERS = [np.nan, np.inf, -np.inf, 1e300, -1e300, 1e20, -1.0, 0.0, 1.0, 1e-300]
WHOLE = [-1, 0, 1, 2, 7, 127, 32767, -32768, 2**31 - 1, -(2**31)]
SECONDS, BYTES = 10, 2 * 2**30


def unpack(data: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays of a sound file, read without the package."""
    line, _, rest = data.partition(b"\n")
    size = int(re.search(rb"header=(\d+)", line)[1])
    header = json.loads(rest[:size])
    arrays = {}
    for name, entry in header.pop("arrays").items():
        count = int(np.prod(entry["shape"]))
        flat = np.frombuffer(rest, entry["dtype"], count, size + entry["offset"])
        arrays[name] = flat.reshape(entry["shape"]).copy()
    return header, arrays


def packed(header: dict[str, Any], arrays: dict[str, np.ndarray], version: int = 3) -> bytes:
    """A file of this content with a valid checksum."""
    index, chunks, offset = {}, [], 0
    for name, array in arrays.items():
        index[name] = {"dtype": array.dtype.str, "shape": list(array.shape), "offset": offset}
        chunks.append(np.ascontiguousarray(array).tobytes())
        offset += len(chunks[-1])
    text = json.dumps({**header, "arrays": index}).encode()
    body = text + b"".join(chunks)
    identity = f"wk_potential model format={version} header={len(text)} total={len(body)}".encode()
    return identity + b" sha256=" + hashlib.sha256(identity + body).hexdigest().encode() + b"\n" + body


def _places(value: Any, path: tuple = ()) -> list[tuple]:
    """Paths of all values in nested lists and dictionaries."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [place for key, part in inner for place in _places(part, (*path, key))]


def _numbers(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def change_header(header: dict[str, Any], rng: np.random.Generator) -> str:
    """Change one field in place; return what was changed."""
    # what lays out arrays is where the danger is
    parts = [key for key in ("scales", "tensors", "uncertainty") if key in header]
    top = rng.choice(parts) if parts and rng.random() < 0.7 else rng.choice(list(header))
    places = _places(header[top], (top,))
    place = places[rng.integers(len(places))]
    parent = header
    for key in place[:-1]:
        parent = parent[key]
    key, old, kind = place[-1], parent[place[-1]], rng.integers(8)
    name = ".".join(map(str, place))
    if kind == 0:
        del parent[key]
        return f"{name} removed"
    if kind == 1 and isinstance(parent, dict):
        parent[f"{key}x"] = parent.pop(key)
        return f"{name} renamed"
    if kind == 2 and isinstance(old, list) and old:
        i = int(rng.integers(len(old)))
        old.insert(int(rng.integers(len(old))), copy.deepcopy(old[i]))
        return f"{name}: entry {i} repeated"
    if kind == 3 and isinstance(old, list) and len(old) > 1:
        i, j = rng.choice(len(old), 2, replace=False)
        old[i], old[j] = old[j], old[i]
        return f"{name}: entries {i} and {j} exchanged"
    if kind < 6 and _numbers(old):
        new = [old + 1, old - 1, 2 * old, -old, old + 0.5, old * 1.001, float(old)][rng.integers(7)]
    else:
        new = VALUES[rng.integers(len(VALUES))]
    parent[key] = new
    return f"{name}: {str(old)[:30]} -> {str(new)[:30]}"


def change_arrays(arrays: dict[str, np.ndarray], rng: np.random.Generator) -> str:
    """Change one array in place; return what was changed."""
    whole = [name for name, array in arrays.items() if array.dtype.kind == "i"]
    name = str(rng.choice(whole)) if rng.random() < 0.3 else str(rng.choice(list(arrays)))
    array, kind = arrays[name], rng.integers(12)
    if kind == 0:
        del arrays[name]
        return f"{name} removed"
    if kind == 1:
        arrays[f"{name}x"] = arrays.pop(name)
        return f"{name} renamed"
    if kind == 2:
        other = str(rng.choice(list(arrays)))
        arrays[name], arrays[other] = arrays[other], arrays[name]
        return f"{name} and {other} exchanged"
    if kind == 3:
        dtype = str(rng.choice(["<f4", "<f8", "<f2", "<i8", "<i4", "<i2", "|u1", "|b1"]))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            arrays[name] = array.astype(dtype)
        return f"{name}: {array.dtype} -> {dtype}"
    if kind in (4, 5) and array.ndim:
        axis = int(rng.integers(array.ndim))
        cut = [array.shape[axis] - 1, array.shape[axis] // 2, 0, min(3, array.shape[axis])][rng.integers(4)]
        arrays[name] = np.take(array, range(max(cut, 0)), axis)
        return f"{name}: {array.shape} -> {arrays[name].shape}"
    if kind == 6 and array.ndim:
        arrays[name] = np.concatenate([array, array[-1:]])
        return f"{name}: last row repeated"
    if kind == 7:
        arrays[name] = [array.T, array[None], array.reshape(-1), array[..., None]][rng.integers(4)]
        return f"{name}: {array.shape} -> {arrays[name].shape}"
    if not array.size:
        arrays[name] = np.zeros((1, *array.shape[1:]), array.dtype)
        return f"{name}: no longer empty"
    i = int(rng.integers(array.size))
    old = array.flat[i]
    if array.dtype.kind == "i":
        limits = np.iinfo(array.dtype)
        new = int(old) + int(rng.choice([-1, 1])) if rng.random() < 0.5 else WHOLE[rng.integers(len(WHOLE))]
        new = min(max(new, limits.min), limits.max)
    else:
        with np.errstate(over="ignore"):
            new = array.dtype.type(NUMBERS[rng.integers(len(NUMBERS))])
    array.flat[i] = new
    return f"{name}.flat[{i}]: {old} -> {new}"


def mutated(data: bytes, seed: int) -> tuple[bytes, str, bool]:
    """A file with one change, what was changed, and whether it may change numbers: that of a float among others."""
    rng = np.random.default_rng(seed)
    header, arrays = unpack(data)
    if rng.random() < 0.5:
        what, weights = change_header(header, rng), False
    else:
        what = change_arrays(arrays, rng)
        name = what.partition(".flat")[0]
        # another product of the same form, or two exchanged arrays of weights: a sound model of other weights
        weights = ".flat" in what and (arrays[name].dtype.kind == "f" or name.endswith("mapped_pairs"))
        if what.endswith(" exchanged"):
            both = what.removesuffix(" exchanged").split(" and ")
            weights = all(arrays[one].dtype.kind == "f" for one in both)
    return packed(header, arrays), what, weights


def outcome(path: Path, read, seconds: int = SECONDS) -> str:
    """What `read(path)` returns in a process of its own, or `crash`, `hang`, `refused: ...`, `fault: ...`.

    Args:
        path: of the file.
        read: function that returns a string; a `ModelFileError` whose message names the file is a refusal.
        seconds: that it may take.

    """
    from wk_potential.errors import ModelFileError

    end, begin = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(end)
            size = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
            resource.setrlimit(resource.RLIMIT_AS, (size + BYTES, size + BYTES))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(seconds)
            try:
                text = read(path)
            except ModelFileError as error:
                text = f"refused: {error}" if str(path) in str(error) else f"fault: {error}"
            except BaseException as error:  # whatever it is, it is told
                place = traceback.extract_tb(error.__traceback__)[-1]
                text = f"fault: {type(error).__name__}: {error} at {Path(place.filename).name}:{place.lineno}"
            os.write(begin, text[:4000].encode())
        finally:
            os._exit(0)
    os.close(begin)
    with os.fdopen(end, "rb") as file:
        text = file.read().decode()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == -signal.SIGALRM:
        return "hang"
    return text if status == 0 and text else f"crash: {status}"
