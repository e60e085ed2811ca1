"""`python -m facenb` is the command line."""

from facenb.cli import main

raise SystemExit(main())
