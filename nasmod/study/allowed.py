"""Which Python a stored study may execute on this computer: what its user has allowed, by content.

Plugins, and the function that makes the data, are code; a database that names a file is no reason to execute it. The
allow-list is a text file of the user: a line begins with the SHA-256 of a file, as `sha256sum` prints it, and for a
function that makes data goes on with ``:function``. It says nothing of where a file lies: only its content counts.
"""

from __future__ import annotations

import logging
import os
import re
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from nasmod import registry
from nasmod.data import dataset_settings
from nasmod.errors import PluginError, plain
from nasmod.registry import Code
from nasmod.study.definition import Study

KEY = re.compile(r"[0-9a-f]{64}(:\w+)?")
HEADER = "# Python that nasmod may execute for studies from a database: SHA-256 of the file[:function], and its path.\n"
log = logging.getLogger("nasmod.allowed")


def code_of(study: Study) -> list[Code]:
    """Every file that the study would execute, read once and not executed. Raises a `NasmodError` of one line.

    A data set of a plugin that is not loaded yet is its plugin's affair.
    """
    found = [registry.read_plugin(Path(plugin.path), plugin.sha256) for plugin in study.plugins]
    if study.data["name"] in registry.names("dataset"):
        found += dataset_settings(study.data).code()
    return found


def permit(study: Study, file: Path | None, *, allow: bool = False) -> None:
    """Let this process, and the workers it starts, execute the study's code if the user's list has all of it.

    With `allow` the user says so now: what the list does not have yet is added to it (None: there is no list). Else
    `PluginError` names what is missing, and the two ways to allow it. Nothing is executed here.
    """
    code = code_of(study)
    if allow:
        _remember(code, file)
    else:
        known = registry.allowed() | listed(file)
        missing = [f"'{part.path}' ({part.key})" for part in code if part.key not in known]
        if missing:
            raise PluginError(
                f"Study '{study.name}' executes Python that you have not allowed here: {', '.join(missing)}. Where you "
                "trust it, allow it with --allow-plugins (allow_plugins=True), or write what stands in brackets, a "
                f"line each, into {file}."
            )
    registry.allow(part.key for part in code)


def listed(file: Path | None) -> frozenset[str]:
    """The keys in an allow-list; none where there is no such file. A line that begins with no key is passed over."""
    if file is None or not file.is_file():
        return frozenset()
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise PluginError(f"The list of allowed Python, '{file}', cannot be read: {error.strerror}.") from error
    return frozenset(words[0] for line in lines if (words := line.split()) and KEY.fullmatch(words[0]))


def _remember(code: Iterable[Code], file: Path | None) -> None:
    """Written aside, then moved: a list is whole at any time. Of two that add at once, one may have to add again."""
    if file is None:
        return
    known = listed(file)
    lines = dict.fromkeys(f"{part.key}  {plain(str(part.path))}\n" for part in code if part.key not in known)
    if not lines:
        return
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        before = file.read_text(encoding="utf-8", errors="replace") if file.exists() else HEADER
        handle, name = tempfile.mkstemp(prefix=f".{file.name}.", suffix=".part", dir=file.parent)
        try:
            with open(handle, "w", encoding="utf-8") as part:
                part.write(before.rstrip("\n") + "\n" + "".join(lines))
                part.flush()
                os.fsync(handle)
            Path(name).replace(file)
        finally:
            with suppress(FileNotFoundError):
                Path(name).unlink()
    except OSError as error:  # a home that is read-only: allowed for this time
        log.warning("what you have allowed cannot be remembered in '%s': %s", file, error.strerror)
