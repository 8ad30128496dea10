"""
``python -m castore``: the command.
"""

from castore.cli import main


if __name__ == "__main__":
    raise SystemExit(main())
