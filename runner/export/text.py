"""What models and games wrote, made safe for file names, spreadsheets and UTF-8."""

from __future__ import annotations

import hashlib
import re

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_LONGEST = 60


def clean(text: str) -> str:
    """`text` with lone surrogates, which no UTF-8 file can hold, replaced by U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def file_name(text: str) -> str:
    """A part of a file name that stands for `text`: ASCII letters, digits, `-` and `_`.

    A text that had to be changed carries a hash of itself, so that two never share a name.
    """
    safe = _UNSAFE.sub("_", text)[:_LONGEST]
    if safe == text and safe:
        return safe
    return f"{safe or '_'}-{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:8]}"


def cell(text: str) -> str:
    """`text` as a cell that no spreadsheet takes for a formula.

    One that begins with `=`, `+`, `-`, `@`, a tab or a line break gets an apostrophe in front; so
    does one that begins with an apostrophe, so that taking one away gives every text back.
    """
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "'")) else text
