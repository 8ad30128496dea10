"""
Reading files of frames: what is whole, what it holds, which files count.

Everything here works from the files alone; nothing writes and nothing knows the
catalog. The engine reads through it, and so does verify.
"""
