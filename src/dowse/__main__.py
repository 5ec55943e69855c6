"""`python -m dowse` and the command `dowse`."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C is answered even while it is being loaded."""
    try:
        from dowse.serve.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
