"""The public API: start a search study, resume it, load it, and ask it for its best topologies.

A storage is the path of an SQLite file or a database URL; without one, the study ``digits`` lies in
``runs/digits.db`` under the current directory. A study file may name its own with the key ``storage``.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from nasmod.errors import ExportError, StorageError, StudyError, unknown
from nasmod.measures.objective import Objective
from nasmod.study import (
    Database,
    Record,
    Status,
    StoredStudy,
    Study,
    create_or_join,
    files,
    open_study,
    read,
    recovery,
)
from nasmod.study import artifacts as places
from nasmod.study import records as reading
from nasmod.study import stored as storing
from nasmod.study.allowed import permit
from nasmod.study.database import copy as copy_database
from nasmod.study.definition import MOST_TRIALS, load_plugins, one_line, read_toml
from nasmod.study.overview import Overview, overview
from nasmod.study.url import RUNS, default_storage
from nasmod.training import TrainingFailed, TrainingSettings, derive

if TYPE_CHECKING:
    import pandas

    from nasmod.export import Exported
    from nasmod.measures.retraining import Retrained
    from nasmod.report.plots import Axes
    from nasmod.search.comparison import Comparison
    from nasmod.search.context import Context
    from nasmod.search.run import Progress
    from nasmod.search.trying import Tried
    from nasmod.topology import Topology
    from nasmod.training import Epoch

    OnProgress = Callable[[Progress], None]


def start(
    study: str | Path | Study,
    *,
    storage: str | Path | None = None,
    name: str | None = None,
    workers: int | str = "auto",
    trials: int | None = None,
    hours: float | None = None,
    on_progress: OnProgress | None = None,
    engine: str = "local",
    address: str | None = None,
    artifacts: str | Path | None = None,
) -> SearchStudy:
    """Search a packaged study, a study file or a `Study` with this machine's workers until it has ended.

    A study of this name and definition that is there already is joined. `trials` (the whole budget) and `hours` replace
    those of the file. With ``engine="ray"`` the workers are actors of the Ray cluster at `address`. `artifacts` is a
    folder or ``s3://bucket/prefix`` that keeps weights and checkpoints, instead of the database; the study remembers
    it. Everything is checked before anything is written; raises a `NasmodError` of one line.
    """
    from nasmod.search import feasibility
    from nasmod.search.context import bring_to_life
    from nasmod.search.run import check_engine, run

    _check_amounts(workers, trials, hours)
    check_engine(engine, address)
    changes: dict[str, Any] = {"name": name, "trials": trials, "hours": hours}
    changes["artifacts"] = None if artifacts is None else str(artifacts)
    if isinstance(study, Study):
        given = {key: value for key, value in changes.items() if value is not None}
        definition = Study.model_validate({**study.model_dump(), "storage": study.storage, **given})
    else:
        definition = read(study, **changes)
    permit(definition, allow_list(), allow=True)  # who starts a study trusts what it names
    load_plugins(definition)
    context = bring_to_life(definition)
    feasibility.check(context)
    if definition.artifacts is not None:
        places.check(definition.artifacts, new=True)
    database = Database.create(str(storage or definition.storage or default_storage(definition.name)))
    with database.at_once():
        dataset = context.dataset
        stored = create_or_join(database, definition, dataset.fingerprint, versions(), dataset.factors, dataset.reading)
        context = bring_to_life(definition, context.dataset, stored.factors)
        files.check(database, stored.id, stored.artifacts)
        storing.raise_budget(stored, trials, hours)
    run(stored, workers=workers, on_progress=on_progress, context=context, engine=engine, address=address)
    return load(stored.name, storage=database.url)


def resume(
    name: str,
    *,
    storage: str | Path | None = None,
    workers: int | str = "auto",
    trials: int | None = None,
    hours: float | None = None,
    on_progress: OnProgress | None = None,
    engine: str = "local",
    address: str | None = None,
    allow_plugins: bool = False,
) -> SearchStudy:
    """Go on with a study, or help others who are at it; nothing but its database is needed.

    `trials` is the study's whole budget and, like `hours`, may only be raised; `engine` and `address` as in `start`.
    Its plugins and its data's function, if it has any, are executed where this user has started it or allowed them:
    `allow_plugins` does, for as long as their files stay as they are. Raises a `NasmodError` of one line.
    """
    from nasmod.search.context import bring_to_life
    from nasmod.search.run import check_engine, run

    _check_amounts(workers, trials, hours)
    check_engine(engine, address)
    database = _database(name, storage)
    permit(open_study(database, name, only_to_look=True).study, allow_list(), allow=allow_plugins)
    stored = open_study(database, name)
    context = bring_to_life(stored.study, factors=stored.factors)
    storing.check_data(stored, context.dataset.fingerprint)
    with stored.database.at_once():
        files.check(stored.database, stored.id, stored.artifacts)
        storing.reopen(stored)
        storing.raise_budget(stored, trials, hours)
    run(stored, workers=workers, on_progress=on_progress, context=context, engine=engine, address=address)
    return load(stored.name, storage=stored.database.url)


def load(name: str, *, storage: str | Path | None = None, allow_plugins: bool = False) -> SearchStudy:
    """Open a study to look at it or to export from it; nothing is searched. `StudyError` lists the known ones.

    Its plugins are executed only for an export or a new training, and only if allowed (see `resume`).
    """
    return SearchStudy(open_study(_database(name, storage), name, only_to_look=True), allow_plugins=allow_plugins)


def studies(*, storage: str | Path | None = None) -> list[SearchStudy]:
    """Every study of a storage; without one, of each SQLite file in ``runs`` that can be opened."""
    if storage is not None:
        databases = [Database.open(str(storage))]
    else:
        databases = []
        for path in sorted(RUNS.glob("*.db")):
            with suppress(StorageError):  # another program's file; `nasmod doctor` says what is wrong with one of ours
                databases.append(Database.open(str(path)))
    return [
        SearchStudy(open_study(database, name, only_to_look=True))
        for database in databases
        for name in sorted(storing.names(database))
    ]


def new(
    file: str | Path, data: str | Path, *, target: str | None = None, settings: Mapping[str, Any] | None = None
) -> Path:
    """Write a commented study file for data of your own: an .npz or .csv file, or a folder of idx or .npy files.

    `target` is the column of a table that is to be told; without it the last. `settings` are further ones of the data
    set, such as ``{"decimal": ","}``. What was read of the data stands in the file. It must not exist yet.
    """
    from nasmod.report.study_file import write_study_file

    return write_study_file(Path(file), str(data), target, settings)[0]


def compare(
    study: str | Path | Study,
    strategies: Sequence[str],
    *,
    stopping: Sequence[str] = (),
    seeds: int = 3,
    fresh: int = 3,
    output: str | Path | None = None,
    storage: str | Path | None = None,
    workers: int | str = "auto",
    trials: int | None = None,
    hours: float | None = None,
    on_run: Callable[[Study], None] = lambda study: None,
    on_progress: OnProgress | None = None,
    on_plain: Callable[[Study, int], None] = lambda study, trained: None,
) -> Comparison:
    """Search a study with several strategies, each with `seeds` study seeds, and train what each found `fresh` times.

    A strategy is a registered one, or ``optuna-tpe-median``: plain Optuna on the same space, trainer and score. Each
    comes with every rule of `stopping`, by default the study's own. The runs are studies of their own in one database,
    by default ``runs/compare-NAME.db``, and are kept in ``comparison.json`` in the folder `output`, by default
    ``compared/NAME``: called again, it goes on. `on_run` is told of each run before it starts, `on_progress` and, for
    plain Optuna, `on_plain` how far it is. Everything is checked first; raises a `NasmodError` of one line.
    """
    from nasmod.search import compare as comparing
    from nasmod.search import feasibility
    from nasmod.search.context import bring_to_life

    _check_amounts(workers, trials, hours)
    if seeds < 1 or fresh < 1:
        raise StudyError(f"A comparison needs at least one study seed and one fresh training, not {seeds} and {fresh}.")
    definition = study if isinstance(study, Study) else read(study)
    changes = {key: value for key, value in {"trials": trials, "hours": hours}.items() if value is not None}
    definition = Study.model_validate({**definition.model_dump(), **changes})
    variants = comparing.variants_of(definition, strategies, stopping)
    for variant in variants:
        comparing.study_of(definition, variant, definition.seed)
    permit(definition, allow_list(), allow=True)
    load_plugins(definition)
    feasibility.check(bring_to_life(definition))
    folder = Path(output or Path("compared") / definition.name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(f"The folder '{folder}' cannot be made: {error.strerror}.") from error
    database = Database.create(str(storage or default_storage(f"compare-{definition.name}")))
    return comparing.compare(
        definition,
        variants,
        seeds,
        database.url,
        folder / "comparison.json",
        lambda own: start(own, storage=database.url, workers=workers, on_progress=on_progress).records(),
        workers=workers,
        fresh=fresh,
        on_run=on_run,
        on_progress=on_plain,
    )


def try_topology(
    study: str | Path | Study,
    topology: str | Path | Topology,
    *,
    seeds: int = 3,
    on_epoch: Callable[[int, Epoch], None] | None = None,
) -> Tried:
    """Train a topology, or the one in a JSON file, exactly as a study would, without a database.

    `study` is a packaged study, a study file or a `Study`. The trainings' seeds are those that the study gives the
    topology: the first that of its candidate, then those of the candidate's repeats. `on_epoch` is told the training's
    number, from 1, and each of its epochs. A training that fails has its reason in the result; raises a `NasmodError`
    of one line for a topology that is none or does not fit the study's data, before anything is trained.
    """
    from nasmod.search.trying import try_topologies

    def told(_: str, number: int, epoch: Epoch) -> None:
        if on_epoch is not None:
            on_epoch(number, epoch)

    definition = study if isinstance(study, Study) else read(study)
    (tried,) = try_topologies(definition, [topology], seeds=seeds, on_epoch=told)
    return tried


def predict(directory: str | Path, file: str | Path, output: str | Path, *, separator: str | None = None) -> int:
    """Write a table of what an exported model says of the examples in a file; returns how many there were.

    See `nasmod.export.predicting.predict`, which gives the table itself. Raises `ExportError` or `DataError`.
    """
    from nasmod.export.predicting import predict as predicted

    found = predicted(directory, file, separator=separator)
    try:
        found.to_csv(output, index=False)
    except OSError as error:
        raise ExportError(f"'{output}' cannot be written: {error.strerror}.") from error
    return len(found)


def allow_list() -> Path:
    """The user's list of the Python that studies from a database may execute (see `nasmod.study.allowed`)."""
    from typer import get_app_dir

    return Path(get_app_dir("nasmod")) / "allowed"


def versions() -> dict[str, str]:
    """What a result was made with; nothing is imported for it."""
    packages = {name: version(name) for name in ("nasmod", "torch", "optuna", "numpy")}
    return {**packages, "python": platform.python_version()}


class SearchStudy:
    """A study in its database: what it found so far. Reading is always up to date, whoever searches."""

    def __init__(self, stored: StoredStudy, *, allow_plugins: bool = False) -> None:
        self.stored = stored
        self._allow_plugins = allow_plugins
        self._reader = reading.RecordReader(stored)

    def __repr__(self) -> str:
        status = self.status()
        return f"<SearchStudy '{self.name}': {status.trained} of {status.budget} trained, {status.state}>"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from nasmod.report.notebook import study_html

        return study_html(self.study, self.status(), self.records())

    @property
    def name(self) -> str:
        """Its name in the database."""
        return self.stored.name

    @property
    def study(self) -> Study:
        """Its definition."""
        return self.stored.study

    @property
    def storage(self) -> str:
        """Where it lies, without a password."""
        return self.stored.database.shown

    def status(self) -> Status:
        """Counts and state at this moment."""
        return storing.status(self.stored)

    def overview(self) -> Overview:
        """The status with the processes at work, their signs of life, the pace and the time to the end."""
        return overview(self.stored)

    def stop(
        self, *, now: bool = False, wait: bool = True, on_progress: Callable[[Status], None] | None = None
    ) -> Status:
        """End the search on every machine: what runs is trained to its end, or handed back for `now`.

        It waits until nothing runs and takes what dead processes held; `resume` goes on. Without `wait` the processes
        at work see to the rest.
        """
        from nasmod.search.draining import stop

        return stop(self.stored, now=now, wait=wait, on_progress=on_progress)

    def retry(self, trials: Iterable[int | str] | None = None) -> int:
        """Queue failed candidates again, all of them for None; returns how many. `resume` trains them.

        Raises `StudyError` when one of `trials` (numbers, references' names, keys) has not failed.
        """
        keys = None if trials is None else {self._failed(trial).key for trial in trials}
        storing.check_measures(self.stored)
        with self.stored.database.at_once():
            return recovery.retry(self.stored.database, self.stored.id, keys)

    def enqueue(self, *topologies: Topology | str | Path) -> list[Record]:
        """File topologies of a person, or those in JSON files, as candidates: the next workers train them.

        They count towards the budget like any other. Nothing is filed unless all fit the study's space and budget and
        are new; raises a `NasmodError` of one line, which names the file.
        """
        from nasmod.search.given import enqueue

        storing.check_measures(self.stored)
        context = self._context()
        with self.stored.database.at_once():
            keys = enqueue(context, self.stored, topologies)
        return [record for record in self.records() if record.key in keys]

    def delete(self, *, force: bool = False) -> None:
        """Remove the study for good, its candidates, files and Optuna trials, and give the space back.

        Raises `StudyError` while processes are at work on it, unless `force`: those then end.
        """
        from nasmod.study.deletion import delete_study

        delete_study(self.stored, force=force)

    @property
    def best(self) -> Record:
        """The finished candidate with the best score; `StudyError` when none has finished."""
        return reading.best(self._reader.read(), self.study.objective)

    def front(self) -> list[Record]:
        """The finished, useful candidates that no other beats in every direction, best score first."""
        return reading.front(self._reader.read(), self.study.objective)

    def top(self, n: int | None = 10) -> list[Record]:
        """The best finished candidates by score; all of them for None."""
        return reading.ranked(self._reader.read(), self.study.objective)[:n]

    def worth(self) -> dict[str, float]:
        """By key, what each trained candidate is expected to score when it is trained anew, without any luck.

        A Gaussian process estimates it from all that was trained; empty for fewer than 30 candidates.
        """
        from nasmod.search.worth import worth

        records = self._reader.read()
        found = worth(records)
        return {record.key: found[record.id] for record in records if record.id in found}

    def references(self) -> list[Record]:
        """The best of each simple wiring with which the study opened: monolith, towers, chain, parallel modules."""
        return reading.references(self._reader.read(), self.study.objective)

    def gain(self) -> str | None:
        """What the search gained over the best simple wiring, in words; None before one of each has finished."""
        from nasmod.report.tables import gain_line

        best, references = self.top(1), self.references()
        return gain_line(best[0], references, self.study.objective) if best and references else None

    def records(self) -> list[Record]:
        """Every candidate and reference in the order they were filed; repeats are folded into means."""
        return reading.with_repeats(self._reader.read(), self.study.objective)

    def record(self, trial: int | str | None = None) -> Record:
        """The record of a trial number, of the best reference of a name or of a key; the best of all for None."""
        if trial is None:
            return self.best
        named = next((record for record in self.references() if record.reference == trial), None)
        return named or reading.find(self.records(), trial)

    def dataframe(self) -> pandas.DataFrame:
        """One row a record: its measures with standard errors, score, state, reason, parameters."""
        return reading.dataframe(self.records())

    def report(self, file: str | Path) -> Path:
        """Write the study as one web page that needs no network: what was asked, found, stopped and spent.

        Raises `StudyError` when no candidate has finished.
        """
        from nasmod.report.page import Reported, write_page

        records, stored = self.records(), self.stored
        read = stored.factors, stored.reading
        found = Reported(self.study, self.overview(), records, *read, self.storage, stored.versions)
        write_page(found, Path(file))
        return Path(file)

    def dashboard(self, host: str = "localhost", port: int = 8080, pictures: str | Path | None = None) -> None:
        """Run optuna-dashboard on the study until it is interrupted, each trial with a note and a picture.

        Pictures are files in the folder `pictures`, by default ``runs/NAME.pictures``. Raises `StudyError` without the
        extra ``nasmod[dashboard]``, and where the port is taken.
        """
        from nasmod.report.dashboard import Annotator, serve

        folder = Path(pictures) if pictures is not None else Path(RUNS) / f"{self.study.name}.pictures"
        annotator = Annotator(self.study, self.stored.database.url, folder)
        annotator.annotate(self.records())
        serve(annotator, self.records, host, port)

    def plot_front(self, axes: Axes | None = None) -> Axes:
        """Finished candidates over their FLOPs, the front with standard errors, the simple wirings by name.

        Like the other plots it draws on matplotlib's `axes`, new ones by default, and returns them.
        """
        from nasmod.report.plots import new_axes, plot_front

        axes = axes or new_axes()
        plot_front(self.records(), self.front(), self.references(), self.study.objective, axes)
        return axes

    def plot_curves(self, trials: Iterable[int | str] | None = None, axes: Axes | None = None) -> Axes:
        """Learning curves: of the best five, or of some trials, before those of all others in grey."""
        from nasmod.report.plots import new_axes, plot_curves

        chosen = self.top(5) if trials is None else [self.record(trial) for trial in trials]
        axes = axes or new_axes()
        plot_curves(self.records(), chosen, axes)
        return axes

    def plot_topology(self, trial: int | str | None = None, axes: Axes | None = None) -> Axes:
        """A candidate's topology (the best one's for None), its modules in the colours of what they carry."""
        from nasmod.report.plots import new_axes, plot_topology

        record = self.record(trial)
        axes = axes or new_axes()
        plot_topology(record, axes)
        return axes

    def rescore(self, objective: Objective | Mapping[str, Any] | str | Path) -> list[Record]:
        """The finished candidates ranked under another objective; nothing is trained, nothing is stored.

        A mapping or a TOML file (its top level, or its table ``[objective]``) changes the keys it names.
        """
        storing.check_measures(self.stored)
        wanted = self.objective(objective)
        return reading.ranked(reading.rescored(self._reader.read(), wanted), wanted)

    def objective(self, changed: Objective | Mapping[str, Any] | str | Path) -> Objective:
        """The study's objective with the keys changed that a mapping or a TOML file names."""
        if isinstance(changed, Objective):
            return changed
        where = "objective" if isinstance(changed, Mapping) else str(changed)
        table = changed if isinstance(changed, Mapping) else read_toml(Path(changed))
        keys = table.get("objective", table)
        if not isinstance(keys, Mapping):
            raise StudyError(f"{where}: 'objective' must be a table, not {keys!r}.")
        before = self.study.objective
        chosen = str(keys.get("modularity", before.modularity))
        follow = {chosen if name == before.modularity else name: way for name, way in before.directions.items()}
        try:
            wanted = Objective.model_validate({**before.model_dump(), "directions": follow, **keys})
        except ValidationError as error:
            raise StudyError(f"{where}: {one_line(error, Objective)}") from error
        measured = {name for record in self._reader.read() for name in record.measures} | self.study.objective.wanted
        for name in sorted(wanted.wanted - measured):
            raise StudyError(f"{where}: objective: {unknown('measured value', name, measured)}")
        return wanted

    def export(
        self,
        directory: str | Path,
        trial: int | str | None = None,
        *,
        retrain: int | Sequence[Retrained] | None = None,
        seeds: int = 1,
        onnx: bool = False,
    ) -> Exported:
        """Write a candidate (the best for None) as files that run without nasmod, and prove them; with `onnx` ONNX too.

        `retrain` trains its topology again for so many epochs with `seeds` seeds (or takes what `retrain` gave) and
        exports the best training by validation accuracy. The directory must be new or empty. Raises `ExportError`.
        """
        from nasmod.export import export
        from nasmod.export.exporting import check_free
        from nasmod.measures.retraining import best_of, mean_and_spread

        check_free(Path(directory), onnx=onnx)
        record = self._as_trained(trial)
        context = self._context()
        plan = context.plan(record.proposal.topology)
        recipe = self._recipe(record)
        title = f"The topology {record.label} of the study '{self.name}', a modular network found by nasmod."
        if retrain is None:
            weights, roles = reading.weights(self.stored, record), record.roles
            measures, errors = record.measures, record.standard_errors
        else:
            trainings = self.retrain(retrain, trial, seeds=seeds) if isinstance(retrain, int) else retrain
            chosen = best_of(trainings)
            weights, roles = chosen.weights, chosen.roles
            measures, errors = chosen.measures, chosen.standard_errors
            recipe["retrained"] = {
                "epochs": trainings[0].epochs,
                "trainings": len(trainings),
                "exported": f"training {chosen.number}, the best on the validation split",
                "mean ± standard deviation": {
                    name: f"{mean:.5g} ± {spread:.2g}"
                    for name, (mean, spread) in mean_and_spread(trainings).items()
                    if not name.startswith("information.")
                },
            }
        main = "r2" if context.dataset.task == "regression" else "accuracy"
        return export(
            directory,
            plan,
            weights,
            context.dataset,
            recipe=recipe,
            measures=measures,
            standard_errors=errors,
            expected=measures.get(f"test_{main}"),
            title=title,
            roles=roles,
            onnx=onnx,
        )

    def retrain(
        self,
        epochs: int,
        trial: int | str | None = None,
        *,
        seeds: int = 1,
        on_epoch: Callable[[int, Epoch], None] | None = None,
    ) -> list[Retrained]:
        """Train a candidate's topology (the best for None) again to the end, with `seeds` seeds; nothing is stored.

        Raises `ExportError` when a training fails.
        """
        from nasmod.measures.retraining import retrain

        if epochs < 1 or seeds < 1:
            raise StudyError(f"Training again takes at least 1 epoch and 1 seed, not {epochs} and {seeds}.")
        record = self._as_trained(trial)
        context = self._context()
        seed = derive(self.study.seed, record.key)
        try:
            return retrain(
                context.plan(record.proposal.topology),
                context.dataset,
                TrainingSettings.model_validate({**self._training(record), "epochs": epochs}),
                self.study.measures,
                [derive(seed, "retrain", number) for number in range(1, seeds + 1)],
                on_epoch=on_epoch,
            )
        except TrainingFailed as failure:
            raise ExportError(failure.reason) from failure

    def copy(self, file: str | Path) -> Path:
        """A sound copy of the whole SQLite database at a path where nothing is yet, with what lies outside in it."""
        copy_database(self.stored.database, Path(file))
        try:
            files.bring_in(str(file))
        except BaseException:
            Path(file).unlink()
            raise
        return Path(file)

    def close(self) -> None:
        """Close the connections to the database."""
        self.stored.database.close()

    def _failed(self, trial: int | str) -> Record:
        record = reading.find(self._reader.read(), trial)
        if record.state != "failed":
            raise StudyError(f"Only failed candidates are tried again; {record.label} is {record.state}.")
        return record

    def _as_trained(self, trial: int | str | None) -> Record:
        """A record as its stored weights were trained: repeats with other seeds are not folded into it."""
        key = self.record(trial).key
        return next(record for record in self._reader.read() if record.key == key)

    def _training(self, record: Record) -> dict[str, Any]:
        return {**self.study.training.model_dump(mode="json"), **record.proposal.settings}

    def _recipe(self, record: Record) -> dict[str, Any]:
        gained = {} if (gain := self.gain()) is None else {"gained": gain}
        return {
            "study": self.name,
            "trial": record.number if record.number is not None else record.label,
            "key": record.key,
            "origin": dict(record.proposal.origin),
            "seed": derive(self.study.seed, record.key),
            "training": self._training(record),
            "data": {**self.study.data, "fingerprint": self.stored.fingerprint},
            "objective": self.study.objective.model_dump(mode="json"),
            "score": record.score,
            **gained,
            "versions": dict(self.stored.versions),
        }

    def _context(self) -> Context:
        """The study's data and space, checked to be those it was started with."""
        from nasmod.search.context import bring_to_life

        permit(self.study, allow_list(), allow=self._allow_plugins)
        load_plugins(self.study)
        context = bring_to_life(self.study, factors=self.stored.factors)
        storing.check_data(self.stored, context.dataset.fingerprint)
        return context


def _database(name: str, storage: str | Path | None) -> Database:
    place = default_storage(name)
    if storage is None and not place.is_file():
        known = [path.stem for path in RUNS.glob("*.db")]
        raise StudyError(
            f"{unknown('study', name, known)} Looked for '{place}'; name another with --storage or NASMOD_STORAGE."
        )
    return Database.open(str(place if storage is None else storage))


def _check_amounts(workers: int | str, trials: int | None, hours: float | None) -> None:
    if workers != "auto" and (not isinstance(workers, int) or workers < 1):
        raise StudyError(f"Workers are a number from 1, or 'auto', not {workers!r}.")
    if trials is not None and not 1 <= trials <= MOST_TRIALS:
        raise StudyError(f"Trials are a number from 1 to {MOST_TRIALS:,}, not {trials}.")
    if hours is not None and not 0 < hours < float("inf"):
        raise StudyError(f"Hours are a number above 0, not {hours}.")
