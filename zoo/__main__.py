"""`python -m zoo`: the command line, also for `accelerate launch -m zoo train ...`."""

from zoo.cli import main

main()
