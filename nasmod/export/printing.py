"""Lines of source, folded as ruff would: on one line, else the content on its own line, else an item a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH = 120


@dataclass(frozen=True)
class Group:
    """A bracket and its items: ``opening item, item closing``; or a sum, without a bracket of its own."""

    opening: str
    items: Sequence[Text]
    closing: str
    separator: str = ", "


Text = str | Group


def flat(text: Text) -> str:
    """All on one line.

    >>> flat(Group("f(", ["a", Group("[", ["b", "c"], "]")], ")"))
    'f(a, [b, c])'
    """
    if isinstance(text, str):
        return text
    return text.opening + text.separator.join(map(flat, text.items)) + text.closing


def pretty(text: Text, indent: int, comment: str = "", width: int = WIDTH) -> str:
    """Folded to the width, with a comment at the end.

    >>> print(pretty(Group("f(", ["first", "second"], ")"), indent=0, width=14))
    f(
        first,
        second,
    )
    """
    line = " " * indent + flat(text) + comment
    if isinstance(text, str) or len(line) <= width or not text.items:
        return line
    if not text.opening:  # a sum stands inside the bracket of its reader
        first, *others = text.items
        lines = [pretty(first, indent, width=width)]
        lines += [pretty(_led(item), indent, width=width) for item in others]
        return "\n".join(lines)
    deeper = indent + 4
    content = text.separator.join(map(flat, text.items))
    if deeper + len(content) <= width:
        body = " " * deeper + content
    elif len(text.items) == 1:
        body = pretty(text.items[0], deeper, width=width)
    else:
        body = "\n".join(pretty(item, deeper, ",", width) for item in text.items)
    return f"{' ' * indent}{text.opening}\n{body}\n{' ' * indent}{text.closing}{comment}"


def _led(item: Text) -> Text:
    if isinstance(item, Group):
        return Group(f"+ {item.opening}", item.items, item.closing, item.separator)
    return f"+ {item}"
