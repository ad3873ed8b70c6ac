"""`python -m flowhq` and the console script: hands over to the command line."""

import sys

from flowhq.cli import execute


def main() -> None:
    sys.exit(execute(sys.argv[1:]))


if __name__ == "__main__":
    main()
