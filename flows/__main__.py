"""`python -m patchlake.flows` is `patchlake`."""

from patchlake.flows.cli.main import main

if __name__ == "__main__":
    main()
