"""
Conversations: logs of typed entries, written by `SegmentWriter`, folded into a
`RestoredState`, wherever they come from.

A log that was imported from a file is folded from its lines, so nothing is kept
twice: the file comes back byte for byte, and a fork of it goes on in entries.

Spec: spec/conversations.md.
"""
