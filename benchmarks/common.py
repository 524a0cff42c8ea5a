"""What the benchmark scripts share: where the data are, running the command line, tables and JSON."""

import argparse
import json
import os
import resource
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


def add_baseline(p) -> None:
    """Add the option for a potential to which the models add."""
    p.add_argument("--baseline", help="potential to which the models add, such as gfn2-xtb")


def baseline_flags(args) -> list[str]:
    """Return the option of `train` for the baseline, if there is one."""
    return ["--baseline", args.baseline] if args.baseline else []


def trained(args, name: str, train: list, tests: dict[str, list], options: list | None = None) -> dict[str, dict]:
    """Train a model from the shell and evaluate it; what is there already is not done again.

    Args:
        args: the command line of the benchmark.
        name: of the model's file.
        train: arguments of `train`: files and options.
        tests: arguments of `evaluate` for each name of a test.
        options: of both.

    Returns:
        Errors of each test as `evaluate` writes them, with `training_seconds` and `training_gigabytes`.

    """
    model, cost = args.out / f"{name}.wkp", args.out / f"{name}_training.json"
    more = [*(options or []), *thread_option(args.threads)]
    args.out.mkdir(parents=True, exist_ok=True)
    arguments = [str(a) for a in [*train, *(options or [])]]
    if not cost.exists():
        facts = {"arguments": arguments, "training_seconds": wk_potential("train", *train, "-o", model, *more)}
        facts["training_gigabytes"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6  # the largest so far
        cost.write_text(json.dumps(facts))
    facts, found = json.loads(cost.read_text()), {}
    if facts["arguments"] != arguments:
        raise SystemExit(f"{model} was trained with other arguments: delete {cost} or choose another --out")
    for test, files in tests.items():
        result = args.out / f"{name}_{test}.json"
        if not result.exists():
            wk_potential("evaluate", model, *files, "--json", result, *more)
        found[test] = json.loads(result.read_text()) | facts
    return found


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


def draw(path: Path, sizes: list[int], panels: dict[str, dict[str, list[float]]]) -> None:
    """Draw learning curves, errors against numbers of training frames.

    Args:
        path: of the figure.
        sizes: numbers of frames.
        panels: curves of each panel, named by what its axis shows, three in a row at most.

    """
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator

    n = min(len(panels), 3)
    shape = (-(-len(panels) // n), n)
    figure, grid = plt.subplots(
        *shape, figsize=(1 + 4 * shape[1], 0.4 + 3.2 * shape[0]), layout="constrained", squeeze=False, sharex=True
    )
    for axes, (name, curves) in zip(grid.flat, panels.items(), strict=True):
        for label, errors in curves.items():
            axes.loglog(sizes, errors, "o-", label=label)
        axes.set(ylabel=name)
        axes.set_xticks(sizes, [str(n) for n in sizes])
        axes.minorticks_off()
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
        axes.yaxis.set_major_formatter("{x:g}")
    for axes in grid[-1]:
        axes.set(xlabel="training frames")
    grid[0, 0].legend()
    figure.savefig(path, dpi=150)
    plt.close(figure)
