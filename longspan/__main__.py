"""Runs the command line: `python -m longspan`."""

from longspan.cli import main

raise SystemExit(main())
