import hashlib
import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule

from wk_potential import Model, WKCalculator
from wk_potential.atoms.files import write_atomically
from wk_potential.errors import ModelFileError
from wk_potential.model.container import FORMAT, read_container, write_container

ARRAYS = {
    "doubles": np.linspace(0, 1, 6).reshape(2, 3),
    "singles": np.arange(3, dtype=np.float32),
    "integers": np.array([-1, 2**40]),
    "small": np.array([[1, 2]], np.int32),
    "bools": np.array([True, False]),
    "scalar": np.array(3.5),
    "empty": np.zeros((0, 4)),
    "transposed": np.arange(6.0).reshape(2, 3).T,
    "big_endian": np.arange(3, dtype=">f8"),
}


@pytest.fixture
def small(tmp_path):
    """A file of a few hundred bytes, and its content."""
    path = tmp_path / "small.wkp"
    write_container(path, {"lmax": 1}, {"a": np.arange(3.0), "b": np.array([7])})
    return path, path.read_bytes()


def test_container_round_trip(tmp_path):
    header = {"name": "Å", "nested": {"list": [1, 2.5, None, True]}}
    write_container(tmp_path / "x.wkp", header, ARRAYS)
    read, arrays = read_container(tmp_path / "x.wkp")
    assert read == header
    assert list(arrays) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert arrays[name].shape == array.shape
        assert arrays[name].dtype == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(arrays[name], array)
        if arrays[name].size:
            arrays[name][...] = 0  # may be changed


@pytest.mark.parametrize("tangents", [True, False])
def test_model_round_trip(tmp_path, random_model, tangents):
    info = {"training": {"frames": 3}, "units": {"energy": "eV"}}
    model = random_model(tangents=tangents, info=info)
    model.save(tmp_path / "m.wkp")
    loaded = Model.load(tmp_path / "m.wkp")
    assert loaded.info == info
    assert loaded.cutoff == model.cutoff
    for name in ("elements", "baseline", "compositions"):
        expected = getattr(model, name)
        np.testing.assert_array_equal(getattr(loaded, name), expected)
        assert getattr(loaded, name).dtype == expected.dtype
    for scale, other in zip(loaded.scales, model.scales, strict=True):
        assert scale.density.lmax == other.density.lmax
        np.testing.assert_array_equal(scale.order_weights, other.order_weights)
        for mine, theirs in zip(scale.support, other.support, strict=True):
            np.testing.assert_array_equal(mine.coefficients, theirs.coefficients)
            assert (mine.tangents is None) == (not tangents)
    atoms, other = molecule("CH3CH2OH"), molecule("CH3CH2OH")
    atoms.calc, other.calc = WKCalculator(model), WKCalculator(tmp_path / "m.wkp")
    assert atoms.get_potential_energy() == other.get_potential_energy()
    loaded.save(tmp_path / "again.wkp")
    assert (tmp_path / "again.wkp").read_bytes() == (tmp_path / "m.wkp").read_bytes()


def test_unequal_numbers_of_support_points(tmp_path, random_model):
    a, b = random_model(numbers=(1, 6), n=3), random_model(numbers=(1, 6), n=20, seed=1)
    scales = [replace(x, support=[x.support[0], y.support[1]]) for x, y in zip(a.scales, b.scales, strict=True)]
    model = replace(a, scales=scales)
    model.save(tmp_path / "m.wkp")
    assert list(Model.load(tmp_path / "m.wkp").support_counts) == [3, 20]


def test_header_is_readable(tmp_path, random_model):
    random_model(info={"units": {"energy": "eV"}}).save(tmp_path / "m.wkp")
    line, _, rest = (tmp_path / "m.wkp").read_bytes().partition(b"\n")
    size = int(re.search(rb"header=(\d+)", line)[1])
    header = json.loads(rest[:size])
    assert header["units"] == {"energy": "eV"}
    assert header["arrays"]["scale0_support_weights"]["dtype"] == "<f8"
    identity, digest = line.rstrip(b"\n").split(b" sha256=")
    assert hashlib.sha256(identity + rest).hexdigest().encode() == digest


def test_truncated_files_are_refused(small):
    path, data = small
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(ModelFileError, match=re.escape(str(path))):
            read_container(path)


def test_truncated_model_says_so(tmp_path, random_model):
    path = tmp_path / "m.wkp"
    random_model().save(path)
    data = path.read_bytes()
    for length in (len(data) - 1, len(data) // 2, 300):
        path.write_bytes(data[:length])
        with pytest.raises(ModelFileError, match="truncated"):
            Model.load(path)


def test_every_flipped_bit_is_noticed(small):
    path, data = small
    flips = np.random.default_rng(0).integers(1, 256, len(data))
    for i, flip in enumerate(flips):
        path.write_bytes(data[:i] + bytes([data[i] ^ flip]) + data[i + 1 :])
        with pytest.raises(ModelFileError):
            read_container(path)


def test_every_other_digit_in_the_first_line_is_noticed(small):
    path, data = small
    end = data.index(b"\n")
    for i in range(end):
        for digit in b"0123456789abcdef ":
            if digit != data[i]:
                path.write_bytes(data[:i] + bytes([digit]) + data[i + 1 :])
                with pytest.raises(ModelFileError):
                    read_container(path)


def test_flipped_bytes_of_a_model_are_noticed(tmp_path, random_model):
    path = tmp_path / "m.wkp"
    random_model().save(path)
    data = path.read_bytes()
    rng = np.random.default_rng(1)
    for i in rng.integers(0, len(data), 100):
        path.write_bytes(data[:i] + bytes([data[i] ^ int(rng.integers(1, 256))]) + data[i + 1 :])
        with pytest.raises(ModelFileError):
            Model.load(path)


def test_appended_bytes_are_noticed(small):
    path, data = small
    path.write_bytes(data + b"\n")
    with pytest.raises(ModelFileError, match="altered"):
        read_container(path)


def test_line_ends_changed_by_a_transfer_are_noticed(small):
    path, data = small
    path.write_bytes(data.replace(b"\n", b"\r\n"))
    with pytest.raises(ModelFileError):
        read_container(path)


def test_newer_format_says_upgrade(small):
    path, data = small
    path.write_bytes(data.replace(f"format={FORMAT}".encode(), f"format={FORMAT + 1}".encode(), 1))
    with pytest.raises(ModelFileError, match=r"newer than this package.*upgrade"):
        read_container(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"2\n\nH 0 0 0\nH 0 0 1\n", b"\x00" * 1000, b"PK\x03\x04", b"{}", b"\n", "é".encode("latin-1")],
)
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "file.wkp"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="not a wk_potential model file"):
        read_container(path)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(ModelFileError, match="cannot be read"):
        Model.load(tmp_path / "none.wkp")
    with pytest.raises(ModelFileError, match="cannot be read"):
        Model.load(tmp_path)


def rewritten(header, data):
    """A file with a header and data that the checksum confirms."""
    header = header if isinstance(header, bytes) else json.dumps(header).encode()
    identity = b"wk_potential model format=%d header=%d total=%d" % (FORMAT, len(header), len(header) + len(data))
    digest = hashlib.sha256(identity + header + data).hexdigest().encode()
    return identity + b" sha256=" + digest + b"\n" + header + data


@pytest.mark.parametrize(
    "header",
    [
        b"", b"{", b"\xff\xfe", b"[]", b"3", b"null", b"{}", 100_000 * b"[", 1000 * b'{"a":' + b"1" + 1000 * b"}",
        b'{"a": ' + 5000 * b"9" + b"}", {"arrays": []}, {"arrays": 3}, {"arrays": {"a": None}}, {"arrays": {"a": {}}},
    ],
)  # fmt: skip
def test_damaged_headers_with_a_checksum_that_fits(tmp_path, header):
    path = tmp_path / "m.wkp"
    path.write_bytes(rewritten(header, bytes(100)))
    for read in (read_container, Model.load):
        with pytest.raises(ModelFileError, match=r"m\.wkp: the header of this model file (is damaged|describes)"):
            read(path)


@pytest.mark.parametrize(
    "change",
    [
        {"offset": -8}, {"offset": 10**30}, {"offset": 1.5}, {"offset": None}, {"shape": [4]}, {"shape": [-3]},
        {"shape": [10**12, 10**12]}, {"shape": [[3]]}, {"shape": 3}, {"shape": [2.5]}, {"dtype": "|O"},
        {"dtype": "<M8[s]"}, {"dtype": "what"}, {"dtype": ["<f8", "<f8"]}, {"dtype": "<f8,<f8"},
    ],
)  # fmt: skip
def test_entries_of_arrays_that_make_no_sense(tmp_path, change):
    path = tmp_path / "m.wkp"
    header = {"arrays": {"a": {"dtype": "<f8", "shape": [3], "offset": 0} | change}}
    path.write_bytes(rewritten(header, bytes(24)))
    with pytest.raises(ModelFileError, match=r"m\.wkp: .* describes the array 'a' wrongly"):
        read_container(path)


def test_damaged_entries_of_a_model(tmp_path, random_model):
    path, rng = tmp_path / "m.wkp", np.random.default_rng(0)
    random_model().save(path)
    line, _, rest = path.read_bytes().partition(b"\n")
    size = int(re.search(rb"header=(\d+)", line)[1])
    values = [None, True, -1, 0, 10**30, 1e300, "x", [], {}, [[]], [1, 2], {"a": 1}, "|O", -0.5, [-1], [10**12], [2.5]]
    refused = 0
    for _ in range(300):
        header = json.loads(rest[:size])
        where = header
        while isinstance(where, dict | list) and len(where):
            parent, key = where, rng.choice(list(where)) if isinstance(where, dict) else int(rng.integers(len(where)))
            where = where[key]
            if rng.random() < 0.3:
                break
        parent[key] = values[rng.integers(len(values))]
        path.write_bytes(rewritten(header, rest[size:]))
        try:
            Model.load(path)
        except ModelFileError as error:
            refused += str(path) in str(error)
    assert refused > 150


@pytest.mark.parametrize("line", [b"format=0 header=2 total=2", b"format=3 header=" + 5000 * b"9" + b" total=2"])
def test_numbers_of_the_first_line_that_make_no_sense(tmp_path, line):
    path = tmp_path / "m.wkp"
    path.write_bytes(b"wk_potential model " + line + b" sha256=" + 64 * b"0" + b"\n{}")
    with pytest.raises(ModelFileError, match="first line of this model file is damaged"):
        read_container(path)


def test_a_container_that_is_no_model(small):
    with pytest.raises(ModelFileError, match="the header is wrong in cutoff: Field required"):
        Model.load(small[0])


def test_failed_write_leaves_the_old_file(small, monkeypatch):
    path, data = small

    def fail(*args):
        raise OSError(28, "No space left on device")

    for name in ("replace", "fsync"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, fail)
            with pytest.raises(OSError, match="No space"):
                write_container(path, {"lmax": 2}, {})
        assert path.read_bytes() == data
        assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_header_that_json_cannot_hold_leaves_the_old_file(small):
    path, data = small
    for value in (float("nan"), object()):
        with pytest.raises((ValueError, TypeError)):
            write_container(path, {"x": value}, {})
    assert path.read_bytes() == data
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_interrupted_write_cleans_up(tmp_path, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "m.wkp", b"data")
    assert list(tmp_path.iterdir()) == []


def test_permissions_follow_the_umask(tmp_path):
    old = os.umask(0o027)
    try:
        write_atomically(tmp_path / "m.wkp", b"data")
    finally:
        os.umask(old)
    assert (tmp_path / "m.wkp").stat().st_mode & 0o777 == 0o640


def test_models_of_the_first_format_give_what_they_gave():
    # written before format 2, with the results of then
    model = Model.load(Path(__file__).parents[1] / "corpus" / "model_files" / "format1.wkp")
    assert model.repulsion is None
    atoms = molecule("CH4")
    atoms.calc = WKCalculator(model, threads=1)
    assert atoms.get_potential_energy() == pytest.approx(-6.547490552737183, rel=1e-12)
    np.testing.assert_allclose(atoms.get_forces()[1], -0.311900416376669, rtol=1e-10)
