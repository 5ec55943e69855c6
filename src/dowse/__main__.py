"""`python -m dowse` and the command `dowse`."""

import os
import sys


def main() -> None:
    """Run the command line; Ctrl-C is answered even while it is being loaded."""
    try:
        if sys.argv[1:2] == ["doctor"]:  # not by way of the command line, which needs packages that may be missing
            from dowse.serve.doctor import main as examine

            sys.exit(examine(sys.argv[2:]))
        from dowse.serve.cli import main as run

        run()
    except SystemExit as done:
        if sys.argv[1:2] == ["search"] and isinstance(done.code, int):
            # All files are closed and all is said: to take the interpreter apart would take longer than the search.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(done.code)
        raise
    except KeyboardInterrupt:
        sys.exit(130)
    except ModuleNotFoundError as error:
        sys.exit(f"error: the package {error.name} is not installed; dowse doctor says what else is wrong")


if __name__ == "__main__":
    main()
