"""
Sessions of messages: read from files, kept in a store, written to files again.

Their system keeps one file a session, copies it when it grows and cuts what is
long. Here a session is a log: every message an entry, every change a commit.

Spec: spec/messages.md.
"""

from castore.messages.checking import MessageFormatError
from castore.messages.clock import Clock
from castore.messages.transcript import Transcript


__all__ = ["Clock", "MessageFormatError", "Transcript"]
