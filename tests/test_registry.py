"""The registry: what an installed package that is broken does to the others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
from nasmod import registry
from nasmod.errors import PluginError
for _ in range(2):
    try:
        registry.names("kind")
    except PluginError as error:
        print(error)
print(("kind", "sound") in registry._entries)
"""


def test_a_broken_installed_plugin_is_told_each_time_and_the_others_are_loaded(tmp_path: Path):
    modules = {
        "a_broken": "raise RuntimeError('it is broken')",
        "b_sound": "from nasmod import registry\nregistry.register('kind', 'sound', 'nowhere:Kind', 'nowhere:Its')",
    }
    for name, code in modules.items():
        (tmp_path / f"{name}.py").write_text(code)
        metadata = tmp_path / f"{name}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[nasmod.plugins]\n{name} = {name}\n")
    paths = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    command, environment = [sys.executable, "-c", PROGRAM], {**os.environ, "PYTHONPATH": paths}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    told = "Installed plugin 'a_broken' cannot be imported: it is broken"
    assert ended.stdout.splitlines() == [told, told, "True"]
