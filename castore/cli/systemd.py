"""
Units of systemd that run a command at night.
"""

from __future__ import annotations

import shutil
import sys

from collections.abc import Sequence


_SERVICE = """\
# castore-{name}.service
[Unit]
Description=castore {name}: {what}
Documentation=man:systemd.service(5)

[Service]
Type=oneshot
ExecStart={command}
# 11: somebody else is at it; the next time will do.
SuccessExitStatus=11
Nice=19
IOSchedulingClass=idle
NoNewPrivileges=yes
PrivateTmp=yes
"""
_TIMER = """\
# castore-{name}.timer
[Unit]
Description=castore {name} every night

[Timer]
OnCalendar=*-*-* 03:17:00
RandomizedDelaySec=30min
Persistent=yes

[Install]
WantedBy=timers.target
"""
_HOW = """\
# Write the first part to ~/.config/systemd/user/castore-{name}.service, the second
# to castore-{name}.timer beside it, then:
#   systemctl --user daemon-reload && systemctl --user enable --now castore-{name}.timer
"""


def units(name: str, what: str, arguments: Sequence[str]) -> str:
    """
    Return a service and a timer that run castore with *arguments*.

    Args:
        name: Of the command.

        what: What it does.

        arguments: All of them, the store included.
    """
    command = " ".join(map(_quoted, [*_program(), *arguments]))
    parts = (_HOW, _SERVICE, _TIMER)
    texts = (part.format(name=name, what=what, command=command) for part in parts)
    return "\n".join(texts)


def _program() -> list[str]:
    found = shutil.which("castore")
    return [found] if found else [sys.executable, "-m", "castore"]


def _quoted(text: str) -> str:
    """Return one argument as systemd reads it: no specifier, variable or quote."""
    plain = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    plain = plain.replace("%", "%%").replace("$", "$$")
    return plain if plain and not set(" \t'\";#\\") & set(text) else f'"{plain}"'
