"""The demonstration: train, test and run ethanol."""

from pathlib import Path

DATA = Path(__file__).parent / "ethanol.xyz"  # 100 labelled frames
