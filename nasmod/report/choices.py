"""What there is to choose from, one line each: kinds, spaces, data sets, strategies, stopping rules and the rest."""

from __future__ import annotations

from collections.abc import Iterator

from nasmod import registry

FOLDERS = {"spaces": "search_spaces", "studies": "studies"}  # packaged files
NOUNS = {
    "kinds": "kind",
    "datasets": "dataset",
    "strategies": "strategy",
    "stopping": "stopping",
    "measures": "measure",
}


def choice_lines(what: str) -> list[str]:
    """Each name with what it is."""
    rows = list(_choices(what))
    width = max((len(name) for name, _ in rows), default=0)
    return [f"{name:<{width}}  {line}".rstrip() for name, line in rows]


def _choices(what: str) -> Iterator[tuple[str, str]]:
    if what in FOLDERS:
        for name, path in registry.packaged(FOLDERS[what]).items():
            yield name, path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
        return
    for name in registry.names(NOUNS[what]):
        yield name, registry.summary(NOUNS[what], name)
