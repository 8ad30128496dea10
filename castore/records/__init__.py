"""
The records of agents: typed where they are documented, open everywhere else.

Pure values: no store, no files, no clocks. `fields` is the machinery that all
of them share.

Spec: spec/agents.md; spec/conversations.md; spec/runtime.md; spec/messages.md.
"""
