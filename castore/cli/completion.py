"""
``completion``: scripts for shells, made from the parser.

They are static: completing asks no store and starts no Python.
"""

from __future__ import annotations

import argparse

from collections.abc import Callable
from typing import NamedTuple

from castore.cli.exits import Exit
from castore.cli.output import Output
from castore.cli.parser import build, options_of, subparsers


class Words(NamedTuple):
    """
    What may follow a command.

    Attributes:
        name: The command; empty for the line before one.

        help: What it does.

        flags: Its options, each with help and whether a value follows.

        choices: Words that a plain argument may be.
    """

    name: str
    help: str
    flags: list[tuple[str, str, bool]]
    choices: list[str]


def run(options: argparse.Namespace, out: Output) -> Exit:
    """Print the script for one shell."""
    script = SCRIPTS[options.shell](words())
    for line in script.splitlines():
        out.answer(line)
    out.object({"shell": options.shell, "script": script})
    return Exit.DONE


def words() -> list[Words]:
    """Return what may be completed, the line before a command first."""
    top = build()
    found = [_words("", "", top)]
    for name, parser in subparsers(top).items():
        found.append(_words(name, parser.description or "", parser))
    return found


def _words(name: str, text: str, parser: argparse.ArgumentParser) -> Words:
    flags: list[tuple[str, str, bool]] = []
    choices: list[str] = []
    for strings, action in options_of(parser):
        takes = action.nargs != 0
        flags += [(flag, action.help or "", takes) for flag in strings]
        if not strings and action.choices is not None:
            choices += [str(choice) for choice in action.choices]
    return Words(name, text, flags, choices)


def bash(found: list[Words]) -> str:
    """Return the script for bash."""
    top, *commands = found
    names = " ".join(command.name for command in commands)
    cases = [
        f"    {item.name}) flags='{_flags(item)}' words='{' '.join(item.choices)}' ;;"
        for item in commands
    ]
    valued = sorted({flag for item in found for flag, _, takes in item.flags if takes})
    return "\n".join(
        [
            "# bash completion for castore",
            "_castore() {",
            "  local current=${COMP_WORDS[COMP_CWORD]}",
            "  local before=${COMP_WORDS[COMP_CWORD-1]}",
            "  local command= flags= words= i",
            "  for ((i = 1; i < COMP_CWORD; i++)); do",
            "    case ${COMP_WORDS[i]} in",
            "      --store) ((i++)) ;;",
            "      -*) ;;",
            "      *) command=${COMP_WORDS[i]}; break ;;",
            "    esac",
            "  done",
            "  COMPREPLY=()",
            f"  case $before in {'|'.join(valued)}) return ;; esac",
            "  case $command in",
            f"    '') flags='{_flags(top)}' words='{names}' ;;",
            *cases,
            "  esac",
            "  [[ $current == -* ]] && words=$flags",
            '  COMPREPLY=($(compgen -W "$words" -- "$current"))',
            "}",
            "complete -o default -F _castore castore",
            "",
        ]
    )


def _flags(item: Words) -> str:
    return " ".join(flag for flag, _, _ in item.flags)


def zsh(found: list[Words]) -> str:
    """Return the script for zsh."""
    top, *commands = found
    lines = ["#compdef castore", "_castore() {", "  local -a commands", "  commands=("]
    lines += [f"    {_quoted(f'{item.name}:{item.help}')}" for item in commands]
    lines += ["  )", "  local context state line", "  typeset -A opt_args"]
    lines.append("  _arguments -C \\")
    lines += [f"    {_zsh_flag(*flag)} \\" for flag in top.flags]
    lines += ["    '1:command:->command' '*::argument:->argument'"]
    lines += ["  case $state in", "    command) _describe command commands ;;"]
    lines += ["    argument)", "      case $line[1] in"]
    for item in commands:
        plain = (
            f"'*:word:({' '.join(item.choices)})'"
            if item.choices
            else "'*:file:_files'"
        )
        flags = " ".join(_zsh_flag(*flag) for flag in item.flags)
        lines.append(f"        {item.name}) _arguments {flags} {plain} ;;")
    lines += ["      esac ;;", "  esac", "}", "compdef _castore castore", ""]
    return "\n".join(lines)


def _zsh_flag(flag: str, text: str, takes: bool) -> str:  # noqa: FBT001 - of a row
    clean = text.replace("[", "(").replace("]", ")").replace(":", ",")
    return _quoted(f"{flag}[{clean}]" + (":value:_files" if takes else ""))


def fish(found: list[Words]) -> str:
    """Return the script for fish."""
    top, *commands = found
    lines = ["# fish completion for castore", "complete -c castore -f"]
    lines += [_fish("-n __fish_use_subcommand", flag) for flag in top.flags]
    for item in commands:
        about = f"-a {item.name} -d {_quoted(item.help)}"
        lines.append(f"complete -c castore -n __fish_use_subcommand {about}")
        after = f"-n '__fish_seen_subcommand_from {item.name}'"
        lines += [_fish(after, flag) for flag in item.flags]
        plain = f"-a '{' '.join(item.choices)}'" if item.choices else "-F"
        lines.append(f"complete -c castore {after} {plain}")
    return "\n".join([*lines, ""])


def _fish(after: str, flag: tuple[str, str, bool]) -> str:
    name, text, takes = flag
    form = f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}"
    value = " -r -F" if takes else ""
    return f"complete -c castore {after} {form}{value} -d {_quoted(text)}"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "") + "'"


SCRIPTS: dict[str, Callable[[list[Words]], str]] = {
    "bash": bash,
    "zsh": zsh,
    "fish": fish,
}
