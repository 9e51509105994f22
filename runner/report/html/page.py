"""Puts templates, style, scripts and data together into one file that needs nothing else.

jinja2's one door. Everything that a template is given is escaped; script, style and data are the
only exceptions, and the content policy lets exactly these run.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from runner.report.html import charts
from runner.report.intervals import Estimate

_HERE = Path(__file__).parent
_MODULES = (
    *("dom", "text", "data", "prompts", "frames", "table", "log", "now", "player", "list"),
    *("viewer", "main"),
)
"""Each after those that it imports."""
_IMPORT = re.compile(r"^import .*;\n", re.M)
_EXPORT = re.compile(r"^export ", re.M)
_HIDDEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]"
)
"""Control characters and marks that turn the direction of text, or hide."""


def render(template: str, data: Mapping[str, Any]) -> str:
    """The page made from `template`; style and script come along with their hashes."""
    style, script = _style(), _script()
    return (
        _templates()
        .get_template(template)
        .render(
            data,
            style=Markup(style),
            style_hash=_hash(style),
            script=Markup(script),
            script_hash=_hash(script),
        )
    )


def block(value: Any) -> Markup:
    """A value as the JSON of a data block: no character of it can end the block or be markup."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)


@lru_cache(maxsize=1)
def _templates() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "shown": shown,
        "amount": amount,
        "short": short,
        "percent": percent,
        "signed": signed,
        "duration": duration,
        "chance": chance,
        "mean_of": mean_of,
        "pretty": pretty,
        "path": charts.path,
    }
    return made


@lru_cache(maxsize=1)
def _style() -> str:
    return (_HERE / "assets/style.css").read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _script() -> str:
    """The modules in one scope: inline modules cannot import each other without a network."""
    parts = [(_HERE / f"assets/{name}.js").read_text(encoding="utf-8") for name in _MODULES]
    body = "\n".join(_EXPORT.sub("", _IMPORT.sub("", part)) for part in parts)
    return f'"use strict";\n(() => {{\n{body}}})();\n'


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def shown(text: str, longest: int = 200) -> str:
    """Untrusted text, cut, with control characters made visible. (Escaping is the template's.)"""
    cut = text if len(text) <= longest else f"{text[: longest - 1]}…"
    return _HIDDEN.sub(lambda found: f"⟨{ord(found[0]):04X}⟩", cut)


def amount(value: float, unit: str = "") -> str:
    """`1,234`, `12.3`, `0.0042`; a unit behind it."""
    if not math.isfinite(value):
        return "–"
    size = abs(value)
    if value == int(value) or size >= 100:
        text = f"{value:,.0f}"
    elif size >= 1:
        text = f"{value:.1f}"
    else:
        text = f"{value:.2g}"
    return f"{text} {unit}" if unit else text


def short(value: float) -> str:
    """`1.2 M`."""
    for size, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {name}"
    return f"{value:.0f}"


def percent(value: float | None, digits: int = 0) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{100 * value:.{digits}f} %"


def signed(value: float) -> str:
    return f"{value:+.0f}"


def duration(seconds: float) -> str:
    """`850 ms`, `4.2 s`, `12 min 05 s`, `3 h 20 min`, `2 d 4 h`."""
    if not math.isfinite(seconds):
        return "–"
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    return f"{hours // 24} d {hours % 24} h"


def chance(value: float) -> str:
    return "< 0.1 %" if value < 0.001 else percent(value, 1)


def mean_of(estimate: Estimate, unit: str) -> str:
    """`12.3 (10.1 … 14.5)`."""
    text = amount(estimate.value, unit)
    if estimate.low is None or estimate.high is None:
        return text
    return f"{text} ({amount(estimate.low)} … {amount(estimate.high)})"


def pretty(tree: Mapping[str, Any] | Sequence[Any]) -> str:
    return json.dumps(tree, indent=2, ensure_ascii=False, default=str)
