"""What the benchmark scripts share: where the data are, running the command line, tables and JSON."""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent


def parser(description: str) -> argparse.ArgumentParser:
    """Command line with the options that all benchmarks have."""
    p = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    beside = HERE.parents[1] / "shared" / "data"
    p.add_argument("--data", type=Path, default=Path(os.environ.get("WK_DATA", beside)), help="folder of the data sets")
    p.add_argument("--out", type=Path, default=Path("benchmark_results"), help="folder for models and JSON")
    p.add_argument("--threads", type=int, default=None, help="threads [OMP_NUM_THREADS or the cores available]")
    return p


def wk_potential(*arguments) -> float:
    """Run the command line in a process of its own; returns the seconds it took."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "wk_potential", *map(str, arguments)], check=True)
    return time.perf_counter() - start


def thread_option(threads) -> list[str]:
    """Return the --threads option if a number is given."""
    return [] if threads is None else ["--threads", str(threads)]


def show(title: str, columns: list[str], rows: list[list], path: Path) -> None:
    """Print a table and write it as JSON, a list of objects."""
    table = Table(title=title)
    for column in columns:
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(*(f"{x:.4g}" if isinstance(x, float) else str(x) for x in row))
    Console(width=160).print(table)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([dict(zip(columns, row, strict=True)) for row in rows], indent=1) + "\n")
