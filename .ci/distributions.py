"""Check what is in the source distribution and the wheel of a folder: python .ci/distributions.py FOLDER [VERSION]."""

import sys
import tarfile
import zipfile
from pathlib import Path

LARGEST = 3_000_000  # bytes of a distribution
IN_WHEEL = ("wk_potential/demo/ethanol.xyz", "wk_potential/demo/README.md", "wk_potential/py.typed")
IN_SOURCES = (*IN_WHEEL, "LICENSE", "README.md", "CHANGELOG.md", "docs/index.md", "tests/conftest.py")


def check(path: Path, names: list[str], needed: tuple[str, ...], folders: set[str]) -> None:
    """Stop unless the needed files are there, no model is, and nothing lies in other folders."""
    missing = [name for name in needed if name not in names]
    models = [name for name in names if name.startswith("models/") and name.endswith(".wkp")]
    foreign = sorted({name.partition("/")[0] for name in names if "/" in name} - folders)
    size = path.stat().st_size
    if missing or models or foreign or size > LARGEST:
        sys.exit(f"{path}: {size} bytes; missing {missing}; models {models}; folders that do not belong {foreign}")
    print(f"{path.name}: {len(names)} files, {size / 1e6:.2f} MB")


def main(folder: Path, version: str) -> None:
    """Check the only wheel and the only source distribution."""
    (wheel,), (sources,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    for path in (wheel, sources):
        if version and f"-{version}" not in path.name:
            sys.exit(f"{path}: not of version {version}")
    stem = "-".join(wheel.name.split("-")[:2])
    names = zipfile.ZipFile(wheel).namelist()
    check(wheel, names, IN_WHEEL, {"wk_potential", f"{stem}.dist-info"})
    with tarfile.open(sources) as archive:
        names = [member.name.partition("/")[2] for member in archive if member.isfile()]
    folders = {"wk_potential", "tests", "docs", "examples", "benchmarks", "models", "requirements"}
    check(sources, names, IN_SOURCES, folders)


if __name__ == "__main__":
    main(Path(sys.argv[1]), (sys.argv[2:] or [""])[0])
