"""Steps of a VASP run whose electrons have not converged: nothing in their energies and forces shows it."""

import re
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

from ase.io.formats import open_with_compression


def unconverged_steps(path: Path) -> set[int]:
    """Numbers, from 0, of the ionic steps that ended for want of electronic steps (NELM); none for other files.

    Args:
        path: vasprun.xml or OUTCAR, perhaps compressed.

    """
    name = path.name.lower()
    if "vasprun" in name and ".xml" in name:
        return _of_vasprun(path)
    return _of_outcar(path) if "outcar" in name else set()


def _of_vasprun(path: Path) -> set[int]:
    found, most, least, step = set(), 0, 0.0, 0
    try:
        with open_with_compression(str(path), "rb") as file:
            for _, element in ElementTree.iterparse(file):
                text = (element.text or "").strip()
                if element.get("name") == "NELM" and text:
                    most = int(text)
                elif element.get("name") == "EDIFF" and text:
                    least = float(text)
                elif element.tag == "calculation":
                    steps = element.findall("scstep")
                    last = [s.find("energy/i[@name='e_0_energy']") for s in steps[-2:]]
                    energies = [float(i.text or 0) for i in last if i is not None]
                    still = all(abs(b - a) <= least for a, b in pairwise(energies)) and len(energies) == 2
                    if 0 < most <= len(steps) and not still:
                        found.add(step)
                    step += 1
                    element.clear()
    except (ElementTree.ParseError, ValueError):
        pass  # the run has been cut off: what is there is read
    return found


def _of_outcar(path: Path) -> set[int]:
    found, most, step, last, reached = set(), 0, -1, 0, True

    def end() -> None:
        if step >= 0 and not reached and 0 < most <= last:
            found.add(step)

    with open_with_compression(str(path), "rt") as file:
        for line in file:
            if match := re.search(r"NELM\s*=\s*(\d+)", line):
                most = int(match[1])
            elif match := re.search(r"-+ Iteration\s+(\d+)\(\s*(\d+)\)", line):
                if int(match[1]) - 1 != step:
                    end()
                    step, reached = int(match[1]) - 1, False
                last = int(match[2])
            elif "EDIFF is reached" in line:
                reached = True
    end()
    return found
