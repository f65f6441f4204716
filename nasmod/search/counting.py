"""The FLOPs of modules before any training. Those of a user's kind are counted in a process apart.

A kind that crashes or hangs while it is counted would otherwise end the process that steers the study, and every other
that steps in. It knows modules alone; a network is counted by `nasmod.networks`.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from nasmod import registry
from nasmod.modules import Shape
from nasmod.networks.flops import Params, module_flops
from nasmod.study.definition import Plugin

SECONDS = 5.0  # for one module, without memory and without numbers: usually milliseconds; less than half a lease
log = logging.getLogger("nasmod.counting")


class UncountableError(Exception):
    """A user's kind raised, crashed or hung when its FLOPs were counted."""


class Counting:
    """Counts modules: ``counting(kind, shape, params)``. The process for users' kinds starts with the first of them."""

    def __init__(self, plugins: Sequence[Plugin]) -> None:
        self._plugins = [(plugin.path, plugin.sha256) for plugin in plugins]
        self._counted: dict[tuple[str, Shape, Params], int | None] = {}
        self._process: subprocess.Popen[str] | None = None

    def __call__(self, kind: str, shape: Shape, params: Params) -> int:
        """FLOPs of one forward pass of one example. Raises `UncountableError`."""
        if registry.is_built_in("kind", kind):
            return module_flops(kind, shape, params)
        module = kind, shape, params
        if module not in self._counted:
            self._counted[module] = self._ask(module)
        flops = self._counted[module]
        if flops is None:
            raise UncountableError(f"The FLOPs of the kind '{kind}' cannot be counted on {shape}.")
        return flops

    def _ask(self, module: tuple[str, Shape, Params]) -> int | None:
        """The other process's answer; None when there is none, and then another process is started for the next."""
        process = self._process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        limit = threading.Timer(SECONDS, process.kill)
        limit.start()
        try:
            process.stdin.write(json.dumps(module) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        finally:
            limit.cancel()
        if not answer.endswith("\n"):
            log.warning("the kind '%s' ended the process that counted its FLOPs", module[0])
            _end(process)
            self._process = None
            return None
        flops = json.loads(answer)
        return None if flops is None else int(flops)

    def _start(self) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "nasmod.search.counting"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # a worker's log tells what the kind did, when it is trained
            text=True,
        )
        weakref.finalize(self, _end, process)
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):  # it died at once: so it does not answer
            process.stdin.write(json.dumps([self._plugins, sorted(registry.allowed())]) + "\n")
            process.stdin.flush()
        process.stdout.readline()  # it is ready: imports and a first count are outside the limit
        return process


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.kill()
    process.communicate()


def main() -> None:
    """Entry of the process: plugins on the first line of standard input, then a module a line; an answer a line."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asks, whose end closes the input
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a kind prints is no answer
    plugins, allowed = json.loads(sys.stdin.readline())
    registry.allow(allowed)
    for path, sha256 in plugins:
        registry.load_plugin_file(Path(path), sha256)
    module_flops("dense", (1,), (("width", 1),))  # the first count of a process takes a second, a thousand times others
    answers.write("ready\n")
    for line in sys.stdin:
        kind, shape, params = json.loads(line)
        try:
            flops = module_flops(kind, tuple(shape), tuple((name, value) for name, value in params))
        except (Exception, SystemExit):  # a user's kind may raise anything; it is told when its candidate fails
            flops = None
        answers.write(f"{json.dumps(flops)}\n")


if __name__ == "__main__":
    main()
