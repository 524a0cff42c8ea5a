"""`python -m wk_potential` is the command `wk-potential`."""

from .cli import main

main()
