"""Run the command line: python -m rnnbench."""

from rnnbench.cli import main

raise SystemExit(main())
