"""The README as the site's front page: links from it lead to the pages, and links to it to the front page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

BESIDE = re.compile(r"\[([^\]]*)\]\((?!docs/|https?:)[^)#]+\)")  # links to what is no page: their words stay


def on_files(files: Files, config: Any) -> Files:
    """Add the front page."""
    readme = Path(config.config_file_path).with_name("README.md").read_text(encoding="utf-8")
    readme = BESIDE.sub(r"\1", readme)
    files.append(File.generated(config, "index.md", content=readme.replace("](docs/", "](")))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """What leads to the README leads to it."""
    return markdown.replace("](../README.md)", "](index.md)")
