"""
The formats: bytes in, values out, and back.

Nothing here opens a file, reads a clock or asks the environment. A module is a
page of ``spec/``. Whatever a page says to refuse raises `CorruptionError` with
the page's verdict; the caller, who knows the place, fills in `where`.
"""
