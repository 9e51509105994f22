"""Puts lines on a terminal: on its second screen, only what has changed, and nothing ever wraps.

The second screen belongs to the display alone, so a terminal that is made narrower leaves no torn
lines behind, and what stood there before the run stands there again afterwards.
"""

from __future__ import annotations

import os
import select
from collections.abc import Sequence
from typing import Self

from rich.color import ColorSystem
from rich.console import COLOR_SYSTEMS, Console
from rich.text import Text

_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l"
"""The second screen; no cursor; what is too wide is cut by the terminal, however it counts."""
_LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l"
_CLEAR = "\x1b[2J"
_WHOLE_S = 10.0
"""Seconds after which all is painted again: others write to the same terminal, at times."""
_LIKELY = (80, 24)
_PLAINER = str.maketrans("▁▂▃▄▅▆▇█━╸…–·×→", ".:-=+*#@=-~-|x>")
"""For terminals that are not said to know more than ASCII."""


class Painter:
    """A terminal while it shows the display: use it in a `with` block."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._file = console.file
        self._colors: ColorSystem | None = COLOR_SYSTEMS.get(console.color_system or "")
        self._ascii = not console.encoding.lower().startswith("utf")
        self._shown: list[Text] = []
        self._size = (0, 0)
        self._whole_at = 0.0

    def __enter__(self) -> Self:
        self._write(_ENTER)
        return self

    def __exit__(self, *_: object) -> None:
        self._write(_LEAVE)

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows now; as the console was told where the terminal does not say."""
        try:
            columns, rows = os.get_terminal_size(self._file.fileno())
        except (OSError, ValueError):
            columns, rows = self._console.size
        return (columns or _LIKELY[0], rows or _LIKELY[1])

    def paint(self, lines: Sequence[Text], now: float) -> None:
        """Show `lines`, made for `size`. A terminal that takes nothing now (Ctrl-S) is left alone.

        Raises OSError when the terminal is gone.
        """
        if not self._takes():
            return
        size = self.size
        whole = size != self._size or now - self._whole_at > _WHOLE_S
        before = [] if whole else self._shown
        out = [_CLEAR] if size != self._size else []
        for row in range(size[1]):
            line = lines[row] if row < len(lines) else Text()
            if not whole and row < len(before) and _same(line, before[row]):
                continue
            out.append(f"\x1b[{row + 1};1H{self._drawn(line)}")
            if line.cell_len < size[0]:
                out.append("\x1b[K")
        self._shown = [*lines[: size[1]], *[Text()] * (size[1] - len(lines))]
        self._size = size
        if whole:
            self._whole_at = now
        self._write("".join(out))

    def _drawn(self, line: Text) -> str:
        parts = []
        for text, style, _ in line.render(self._console):
            if style is None:
                parts.append(text)
                continue
            plain = style.without_color if self._console.no_color else style
            parts.append(plain.render(text, color_system=self._colors))
        return "".join(parts)

    def _takes(self) -> bool:
        try:
            return bool(select.select([], [self._file.fileno()], [], 0)[1])
        except (OSError, ValueError):  # no file of the system's: it takes all
            return True

    def _write(self, text: str) -> None:
        if self._ascii:
            text = text.translate(_PLAINER).encode("ascii", "replace").decode("ascii")
        self._file.write(text)
        self._file.flush()


def _same(one: Text, other: Text) -> bool:
    return one.plain == other.plain and one.style == other.style and one.spans == other.spans
