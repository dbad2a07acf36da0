"""`python -m zoo`: the command line, also for `accelerate launch -m zoo train ...`."""

from zoo.cli.parser import main

main()
