"""Makes text that a model wrote safe to stand in other seats' prompts.

Servers turn a chat template's control tokens into structure wherever they stand, so a player could
end the message it is quoted in and speak as the system. Here they become plain characters.
"""

from __future__ import annotations

import json
import re
from typing import Any

_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)
_TOKEN = re.compile(
    r"<(?=[|\uff5c])"  # <|im_end|>, also with DeepSeek's full-width bar
    r"|<(?=/?(?:s|bos|eos|pad|unk|start_of_turn|end_of_turn)>)"
    r"|<(?=</?SYS>>)"
    r"|\[(?=/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\])"
)


def printable(text: str) -> str:
    """`text` without control characters, line separators and marks that turn its direction."""
    return text if text.isprintable() else _CONTROL.sub("", text)


def defused(text: str) -> str:
    """`text` with a space put into each control token: `<|im_end|>` becomes `< |im_end|>`."""
    if "<" not in text and "[" not in text:
        return text
    return _TOKEN.sub(lambda found: f"{found[0]} ", text)


def defused_json(text: str) -> str:
    """JSON `text` with every string in it printable and defused, also where it was escaped.

    Text that is no JSON comes back as plain text, defused.
    """
    try:
        return json.dumps(_defused_value(json.loads(text)))
    except (ValueError, RecursionError):  # the latter: nested deeper than Python follows
        return defused(printable(text))


def _defused_value(value: Any) -> Any:
    if isinstance(value, str):
        return defused(printable(value.encode("utf-8", "replace").decode("utf-8")))
    if isinstance(value, list):
        return [_defused_value(item) for item in value]
    if isinstance(value, dict):
        return {_defused_value(key): _defused_value(item) for key, item in value.items()}
    return value
