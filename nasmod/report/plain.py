"""A terminal that what it shows cannot steer: names and reasons out of a database may hold escape sequences."""

from __future__ import annotations

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult
from rich.segment import Segment

from nasmod.errors import plain


class _Plain:
    """A renderable whose text is `plain`; its colours, and the cursor's moves of a live view, stay."""

    def __init__(self, shown: ConsoleRenderable) -> None:
        self.shown = shown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self.shown, options):
            yield segment if segment.control else Segment(plain(segment.text), segment.style)


class _Hook(RenderHook):
    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Plain(shown) for shown in renderables]


def console(width: int | None) -> Console:
    """Where tables go. Strings are shown as they are: no markup, no emoji codes, no escape sequences."""
    made = Console(width=width, highlight=False, markup=False, emoji=False)
    made.push_render_hook(_Hook())
    return made
