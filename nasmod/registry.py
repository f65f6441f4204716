"""The one door for module kinds, data sets, strategies, stopping rules and measures: (noun, name) -> entry.

An entry names its target as ``"module:attribute"``, imported on first use, and its settings: a pydantic model that
imports no torch, so that a study file is checked without it. Built-ins, installed packages (entry point group
``nasmod.plugins``) and a user's own files all call `register`; a taken name is an error.

A user's own files are executed here and nowhere else, and only those whose content was allowed in this process
(`allow`): what a database says of a study is no reason to execute anything.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import linecache
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from pydantic import BaseModel

from nasmod.errors import PluginError, UnknownNameError

NOUNS = {
    "kind": "module kind",
    "dataset": "data set",
    "strategy": "strategy",
    "stopping": "stopping rule",
    "measure": "measure",
}


@dataclass(frozen=True)
class Entry:
    """Where a name leads: `target` and `settings` are objects, or ``"module:attribute"`` until first used."""

    noun: str
    name: str
    target: Any
    settings: Any


_entries: dict[tuple[str, str], Entry] = {}
_installed: list[PluginError | None] = []  # what came of each installed plugin; empty before they are loaded


def register(noun: str, name: str, target: Any, settings: Any) -> None:
    """Make `target` known as `name`. `settings` is a pydantic model class (or its ``"module:attribute"``)."""
    if noun not in NOUNS:
        raise PluginError(f"Cannot register a '{noun}'. Known nouns: {', '.join(NOUNS)}.")
    if not isinstance(name, str) or not name:
        raise PluginError(f"A {NOUNS[noun]} is registered under a name, not {name!r}.")
    if (noun, name) in _entries:
        raise PluginError(f"The {NOUNS[noun]} '{name}' is already registered; a plugin must choose another name.")
    _entries[noun, name] = Entry(noun, name, target, settings)


@contextmanager
def restored() -> Iterator[None]:
    """A block after which the registry is as it was before, for tests that register names.

    >>> with restored():
    ...     register("kind", "mine", "mine:Mine", "mine:MyParameters")
    >>> "mine" in names("kind")
    False
    """
    before = dict(_entries)
    try:
        yield
    finally:
        _entries.clear()
        _entries.update(before)


def names(noun: str) -> list[str]:
    """Registered names of a noun, sorted."""
    _load_installed_plugins()
    return sorted(name for known_noun, name in _entries if known_noun == noun)


def is_built_in(noun: str, name: str) -> bool:
    """Whether a name is nasmod's own, no plugin's."""
    return (noun, name) in _built_in


def entry(noun: str, name: str) -> Entry:
    """The entry of a name; `UnknownNameError` suggests the nearest known one."""
    _load_installed_plugins()
    if (noun, name) not in _entries:
        raise UnknownNameError(NOUNS[noun], name, names(noun))
    return _entries[noun, name]


def resolve(noun: str, name: str) -> Any:
    """The object registered under a name, imported now if it was not."""
    found = entry(noun, name)
    return _attribute(found, found.target)


def settings(noun: str, name: str) -> type[BaseModel]:
    """The pydantic model of a name's settings; importing it imports no torch."""
    found = entry(noun, name)
    model = _attribute(found, found.settings)
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise PluginError(f"The settings of the {NOUNS[noun]} '{name}' must be a pydantic model class, not {model!r}.")
    return model


def summary(noun: str, name: str) -> str:
    """First line of the docstring of what is registered under a name."""
    return (resolve(noun, name).__doc__ or "").strip().partition("\n")[0]


@dataclass(frozen=True)
class Code:
    """A Python file as it was read: what is hashed, judged and executed are these bytes and no others.

    `function` is the one that is called, for a file that makes data: who allowed one did not allow the others.
    """

    path: Path
    content: bytes
    function: str | None = None

    @property
    def sha256(self) -> str:
        """SHA-256 of the content, as `sha256sum` prints it."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def key(self) -> str:
        """What is allowed, wherever the file lies: ``SHA256``, or ``SHA256:function``."""
        return self.sha256 if self.function is None else f"{self.sha256}:{self.function}"


_allowed: set[str] = set()


def allow(keys: Iterable[str]) -> None:
    """Let this process execute code of these keys (see `Code.key`)."""
    _allowed.update(keys)


def allowed() -> frozenset[str]:
    """The keys that this process may execute: what its workers are told."""
    return frozenset(_allowed)


def read_code(path: Path, function: str | None = None) -> Code:
    """Read a Python file once. Raises `OSError`; a pipe or a device is not read, for that may never end."""
    if path.exists() and not path.is_file():
        raise FileNotFoundError(0, "It is not a file", str(path))
    return Code(path, path.read_bytes(), function)


def check_allowed(code: Code) -> None:
    """Raise `PluginError` when this process may not execute the code."""
    if code.key not in _allowed:
        raise PluginError(f"'{code.path}' is Python that nobody has allowed here ({code.key}); see --allow-plugins.")


def execute(code: Code, module_name: str, folders: Sequence[str] = ()) -> ModuleType:
    """A new module of code, executed; `folders` are a package's. Others find it under this name from now on.

    Raises `PluginError` when the code is not allowed, and whatever the code raises.
    """
    check_allowed(code)
    loader = _Loader(module_name, code)
    spec = ModuleSpec(module_name, loader, origin=str(code.path), is_package=bool(folders))
    spec.submodule_search_locations = list(folders) or None
    spec.has_location = True
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise
    return module


class _Loader(SourceFileLoader):
    """Executes the bytes that were read, whatever lies in the file or in a cache of compiled files by now."""

    def __init__(self, name: str, code: Code) -> None:
        super().__init__(name, str(code.path))
        self.content = code.content

    def get_code(self, fullname: str) -> CodeType:
        text = self.source_to_code(self.content, self.path)
        # who asks for the source of a class later, as an export does, gets what was executed
        lines = importlib.util.decode_source(self.content).splitlines(keepends=True)
        linecache.cache[self.path] = (len(self.content), None, lines, self.path)
        return text


def read_plugin(path: Path, content_hash: str | None = None) -> Code:
    """The code of a plugin file. Raises `PluginError` when it is missing, or differs from `content_hash`."""
    try:
        code = read_code(path)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise PluginError(f"Plugin file '{path}' cannot be read: {getattr(error, 'strerror', error)}.") from error
    if content_hash is not None and code.sha256 != content_hash:
        raise PluginError(
            f"Plugin file '{path}' has changed since the study was started "
            f"(SHA-256 {code.sha256[:12]}, the study has {content_hash[:12]}). Restore it or start a new study."
        )
    return code


def load_plugin_file(path: Path, content_hash: str | None = None) -> str:
    """Import a user's Python file, whose top level calls `register`; return the SHA-256 of its content.

    With a `content_hash`, which is what a stored study says, the content must have been allowed in this process;
    without one it is allowed by this call. Raises `PluginError` when the file is missing, has changed, is not allowed,
    or cannot be imported.
    """
    code = read_plugin(path, content_hash)
    if content_hash is None:
        allow([code.key])
    check_allowed(code)
    module_name = f"nasmod_plugin_{code.sha256[:16]}"
    if module_name in sys.modules:
        return code.sha256
    before = dict(_entries)
    try:
        execute(code, module_name)
    except (Exception, SystemExit) as error:  # a user's file may raise anything; the registry must stay as it was
        _entries.clear()
        _entries.update(before)
        if isinstance(error, PluginError):
            raise
        raise PluginError(f"Plugin file '{path}' cannot be imported: {type(error).__name__}: {error}") from error
    return code.sha256


def packaged(folder: str) -> dict[str, Path]:
    """Data files that come with nasmod, by name: `folder` is ``search_spaces`` or ``studies``."""
    package = Path(__file__).parent
    installed = package / "packaged" / folder  # in a wheel; an editable install reads the repository
    place = installed if installed.is_dir() else package.parent / folder
    return {path.stem: path for path in sorted(place.glob("*.toml"))}


def _attribute(found: Entry, target: Any) -> Any:
    if not isinstance(target, str):
        return target
    module_name, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise PluginError(
            f"The {NOUNS[found.noun]} '{found.name}' is not to be found in '{target}': {error}."
        ) from error


def _load_installed_plugins() -> None:
    """All of them, once. One that cannot be imported is told each time that a name is asked for."""
    if not _installed:
        _installed.append(None)  # from here on they may ask for names themselves
        for point in importlib.metadata.entry_points(group="nasmod.plugins"):
            try:
                point.load()  # its top level calls `register`
            except (Exception, SystemExit) as error:  # an installed package may raise anything
                failure = PluginError(f"Installed plugin '{point.name}' cannot be imported: {error}")
                failure.__cause__ = error
                _installed.append(failure)
    for found in _installed:
        if found is not None:
            raise found


def _register_built_ins() -> None:
    for noun, name, module, target, settings_name in [
        ("kind", "dense", "modules.dense", "Dense", "DenseParameters"),
        ("kind", "conv", "modules.conv", "Conv", "ConvParameters"),
        ("kind", "pool", "modules.pool", "Pool", "PoolParameters"),
        ("kind", "skip", "modules.skip", "Skip", "SkipParameters"),
        ("kind", "attention", "modules.attention", "Attention", "AttentionParameters"),
        ("dataset", "digits", "data.digits", "load", "DigitsSettings"),
        ("dataset", "digit_pairs", "data.digit_pairs", "load", "DigitPairsSettings"),
        ("dataset", "fashion-mnist", "data.fashion_mnist", "load", "FashionMnistSettings"),
        ("dataset", "idx", "data.idx", "load", "IdxSettings"),
        ("dataset", "npz", "data.npz", "load", "NpzSettings"),
        ("dataset", "csv", "data.csv", "load", "CsvSettings"),
        ("dataset", "folder", "data.folder", "load", "FolderSettings"),
        ("dataset", "python", "data.python", "load", "PythonSettings"),
        ("measure", "accuracy", "measures.accuracy", "Accuracy", "AccuracySettings"),
        ("measure", "scores", "measures.scores", "Scores", "ScoresSettings"),
        ("measure", "cost", "measures.cost", "Cost", "CostSettings"),
        ("measure", "latency", "measures.latency", "Latency", "LatencySettings"),
        ("measure", "wiring", "measures.wiring", "Wiring", "WiringSettings"),
        ("measure", "modularity", "measures.modularity", "Modularity", "ModularitySettings"),
        ("measure", "parallelism", "measures.parallelism", "Parallelism", "ParallelismSettings"),
        ("strategy", "random", "search.strategies.random", "Random", "RandomSettings"),
        ("strategy", "evolution", "search.strategies.evolution", "Evolution", "EvolutionSettings"),
        ("strategy", "local", "search.strategies.local", "Local", "LocalSettings"),
        ("strategy", "graph_bo", "search.strategies.graph_bo", "GraphBo", "GraphBoSettings"),
        ("strategy", "tpe", "search.strategies.optuna", "Tpe", "TpeSettings"),
        ("strategy", "nsga2", "search.strategies.optuna", "Nsga2", "Nsga2Settings"),
        ("strategy", "nni.random", "search.strategies.nni", "NniRandom", "NniRandomSettings"),
        ("strategy", "nni.grid", "search.strategies.nni", "NniGrid", "NniGridSettings"),
        ("strategy", "nni.tpe", "search.strategies.nni", "NniTpe", "NniTpeSettings"),
        ("strategy", "nni.evolution", "search.strategies.nni", "NniEvolution", "NniEvolutionSettings"),
        ("strategy", "nni.anneal", "search.strategies.nni", "NniAnneal", "NniAnnealSettings"),
        (
            "strategy",
            "nni.regularized_evolution",
            "search.strategies.nni",
            "NniRegularizedEvolution",
            "NniRegularizedEvolutionSettings",
        ),
        ("stopping", "halving", "search.stopping.halving", "Halving", "HalvingSettings"),
        ("stopping", "hyperband", "search.stopping.hyperband", "Hyperband", "HyperbandSettings"),
        ("stopping", "median", "search.stopping.median", "Median", "MedianSettings"),
        ("stopping", "none", "search.stopping.none", "Never", "NeverSettings"),
    ]:
        register(noun, name, f"nasmod.{module}:{target}", f"nasmod.{module}:{settings_name}")


_register_built_ins()
_built_in = frozenset(_entries)
