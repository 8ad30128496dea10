"""
``help``: a command, the JSON of all commands, the exit codes, the metrics.
"""

from __future__ import annotations

import argparse

from castore.cli.exits import MEANINGS, CommandError, Exit
from castore.cli.output import Output
from castore.cli.parser import build, subparsers


def run(options: argparse.Namespace, out: Output) -> Exit:
    """Explain what was asked for."""
    topic = options.topic
    if topic == "json":
        from castore.cli.schemas import SCHEMAS, json_text

        text, value = json_text(), SCHEMAS
        out.object({"topic": topic, "text": value})
    elif topic == "exits":
        text = "\n".join(f"{code:>4}  {meaning}" for code, meaning in MEANINGS.items())
        told = {str(int(code)): meaning for code, meaning in MEANINGS.items()}
        out.object({"topic": topic, "text": told})
    elif topic == "metrics":
        from castore.cli.metrics import METRICS, metrics_text

        text = metrics_text()
        out.object({"topic": topic, "text": METRICS})
    else:
        text = _of_command(topic)
        out.object({"topic": topic, "text": text})
    for line in text.splitlines():
        out.answer(line)
    return Exit.DONE


def _of_command(name: str | None) -> str:
    parser = build()
    if name is None:
        return parser.format_help()
    found = subparsers(parser).get(name)
    if found is None:
        raise CommandError(Exit.USAGE, f"no command {name!r}; see castore --help")
    return found.format_help()
