"""From a table and a profile to the runs that fill it, dependencies first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from harness.data.config import DataConfig
from harness.errors import Diagnostic, HarnessError, SpecError
from harness.models.config import ModelConfig, Weights
from harness.models.families import family_of
from harness.run import TASKS, BankTask, Task
from harness.spec.build import Builder
from harness.spec.fitting import Materials, says_at_random
from harness.spec.identity import Forms, identity, to_dict
from harness.spec.merge import merge_all
from harness.spec.nodes import MapNode
from harness.spec.read import read_table, wrong_seeds
from harness.spec.table import Profile, Row, TableSpec, TaskChoice
from harness.train.config import TrainConfig

DEEPEST = 20
"""Rows that start from one another's weights: a teacher's teacher's teacher is deep already."""
MOST_RUNS = 100_000
"""Cells of a profile, seeds counted: a hundred times what a large table asks for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunLabel:
    """Where a run belongs, for people."""

    table: str
    profile: str
    row: str
    seed: int | None  # None: one run serves all seeds


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One unit of work, fully resolved."""

    task: str  # its registered name
    config: Task
    identity: str
    name: str  # of its directory
    title: RunLabel  # of the first row that wants it
    depends: tuple[str, ...]  # identities
    _forms: Forms = field(default_factory=Forms, repr=False, compare=False)

    @property
    def plain(self) -> Mapping[str, Any]:
        """The config as JSON values, made when it is asked for."""
        return to_dict(self.config, self._forms)


@dataclass(frozen=True, kw_only=True, slots=True)
class ResolvedRow:
    """A row of a profile with its configuration and the runs behind its cells.

    `runs` has, for each column id, one identity per seed, one for tasks without seed, or none.
    """

    row: Row
    config: TrainConfig
    runs: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Expansion:
    """Everything a table at a profile asks for."""

    table: TableSpec
    profile: Profile
    rows: tuple[ResolvedRow, ...]
    runs: tuple[Run, ...]  # unique by identity; a run stands after those it depends on


def needed_runs(rows: Sequence[ResolvedRow], runs: Sequence[Run]) -> tuple[Run, ...]:
    """Those of `runs`, dependencies first, that stand behind cells of `rows`, and what those depend
    on.
    """
    needed = {key for row in rows for keys in row.runs.values() for key in keys}
    for run in reversed(runs):
        if run.identity in needed:
            needed.update(run.depends)
    return tuple(run for run in runs if run.identity in needed)


class SharedParts:
    """What several expansions have in common, made once: the tables that rows of others start from,
    what lies in files, and parts of configurations.
    """

    def __init__(self) -> None:
        self.tables: dict[str, TableSpec] = {}
        self.builder = Builder()
        self.materials = Materials(self.builder)
        self.forms = Forms()
        # by the id of a config, which lives as long: itself at a seed, and the runs that it takes
        # weights from
        self.seeded: dict[tuple[int, int], tuple[object, TrainConfig]] = {}
        self.weights: dict[int, tuple[object, tuple[str, ...]]] = {}


def expand(
    table: TableSpec,
    profile: str | Profile,
    *,
    rows: str | None = None,
    seeds: Sequence[int] | None = None,
    tasks: Sequence[str] | None = None,
    shared: SharedParts | None = None,
) -> Expansion:
    """The runs of `table` at `profile`, or a part: `rows` are globs of row ids, comma-separated;
    `tasks` are those that columns ask for, whose runs bring along what they depend on. Who expands
    many gives each the same `shared`.

    Raises SpecError with every problem of the table, HarnessError for an unknown profile, row or
    task.
    """
    chosen = profile if isinstance(profile, Profile) else table.profile(profile)
    if seeds is not None and (what := wrong_seeds(seeds)) is not None:
        raise HarnessError(f"seeds {what}, got {str(list(seeds))[:100]}")
    for task in tasks or ():
        TASKS.get(task)
    asked = len(chosen.rows) * len(seeds or chosen.seeds) * len(table.columns_at(chosen.name))
    if asked > MOST_RUNS:
        raise HarnessError(
            f"{table.name} at profile '{chosen.name}' asks for {asked:,} cells (rows x seeds x "
            f"columns), {MOST_RUNS:,} at most: split the table, or give fewer seeds"
        )
    expander = _Expander(table, tasks=tasks, shared=shared or SharedParts())
    expansion = expander.expand(chosen, _selected(table, chosen, rows), seeds or chosen.seeds)
    if expander.problems:
        here = [problem for problem, _ in expander.problems]
        raise SpecError(configuration_problems(table) or here)
    return expansion


def configuration_problems(table: TableSpec) -> list[Diagnostic]:
    """What is wrong with the configurations of the rows, over all profiles."""
    places_of: dict[Diagnostic, list[tuple[str, str]]] = {}
    shared = SharedParts()
    for profile in table.profiles.values():
        expander = _Expander(table, shared=shared)
        expander.expand(profile, profile.rows, profile.seeds[:1])
        for problem, row in expander.problems:
            places_of.setdefault(problem, []).append((profile.name, row))
    return [_in_context(problem, places, table) for problem, places in places_of.items()]


def _in_context(
    problem: Diagnostic, places: Sequence[tuple[str, str]], table: TableSpec
) -> Diagnostic:
    """A problem with the rows and profiles it shows up in, unless that is all of them."""
    everywhere = sum(len(profile.rows) for profile in table.profiles.values())
    if len(places) == everywhere and everywhere > 1:
        return problem
    profiles, rows = (tuple(dict.fromkeys(part)) for part in zip(*places, strict=True))
    text = f"row '{rows[0]}'" + (f" and {len(rows) - 1} more" if len(rows) > 1 else "")
    if len(profiles) < len(table.profiles):
        text += f" at profile '{profiles[0]}'"
    return Diagnostic(problem.where, f"{problem.what} ({text})")


def _selected(table: TableSpec, profile: Profile, rows: str | None) -> tuple[Row, ...]:
    if rows is None:
        return profile.rows
    wanted = [glob.strip() for glob in rows.split(",")]
    for glob in wanted:
        if not any(fnmatchcase(row.id, glob) for row in profile.rows):
            what = table.no_row(profile, glob)
            raise HarnessError(f"{table.name} at profile '{profile.name}': {what}")
    return tuple(row for row in profile.rows if any(fnmatchcase(row.id, glob) for glob in wanted))


@dataclass(frozen=True, kw_only=True, slots=True)
class Dependency:
    """The training run that a reference `table#row` stands for."""

    identity: str = ""
    config: TrainConfig | None = None  # of its row; None: it is wrong
    problems: tuple[Diagnostic, ...] = ()  # with its row
    wrong: str | None = None  # with the reference itself


class _Expander:
    """Makes each row a configuration, and the configuration the runs behind its cells.

    Collects runs, each once; follows dependencies into other tables.
    """

    def __init__(
        self, table: TableSpec, *, shared: SharedParts, tasks: Sequence[str] | None = None
    ) -> None:
        self._tasks = tasks
        self.problems: list[tuple[Diagnostic, str]] = []  # with the row they were met in
        self._table = table
        self._shared, self._builder = shared, shared.builder
        self._runs: dict[str, Run] = {}
        self._followed: dict[tuple[str, str, str], Dependency] = {}
        self._path: list[tuple[str, str, str]] = []
        # by the id of a config, which lives as long: with its trained student
        self._evaluated: dict[int, tuple[object, TrainConfig]] = {}
        # by the identity of a training that others start from: its row, before it has a seed
        self._unseeded: dict[str, tuple[TrainConfig, RunLabel]] = {}

    def expand(self, profile: Profile, rows: Sequence[Row], seeds: Sequence[int]) -> Expansion:
        """The rows of a profile and all their runs."""
        resolved = tuple(filter(None, (self._row(profile, row, seeds) for row in rows)))
        self._check_columns(profile, rows, resolved)
        # a row's teacher was followed even where only its costs are asked for
        runs = needed_runs(resolved, tuple(self._runs.values()))
        return Expansion(table=self._table, profile=profile, rows=resolved, runs=runs)

    def _check_columns(
        self, profile: Profile, rows: Sequence[Row], resolved: Sequence[ResolvedRow]
    ) -> None:
        """A column that none of its runs can fill."""
        for column in self._table.columns_at(profile.name).values():
            runs = [self._runs[key] for row in resolved for key in row.runs[column.id]]
            why = [run.config.lacks(column.metric) for run in runs]
            if why and None not in why:
                where = self._table.columns[column.id].where
                what = f"metric: no row can give '{column.metric}': {why[0]}"
                self.problems += [
                    (Diagnostic(where or row.node.where, what), row.id) for row in rows
                ]

    def _row(self, profile: Profile, row: Row, seeds: Sequence[int]) -> ResolvedRow | None:
        """The row with its runs; None if its configuration is wrong."""
        config, problems = self._configuration(self._table, profile, row)
        self.problems += [(problem, row.id) for problem in problems]
        if config is None:
            return None
        runs: dict[str, tuple[str, ...]] = {}
        filled: dict[TaskChoice, tuple[str, ...]] = {}
        for column in self._table.columns_at(profile.name).values():
            task = column.task
            if self._tasks is not None and task.name not in self._tasks:
                filled[task] = ()
            if task not in filled:
                filled[task] = self._of_task(task, config, profile, row, seeds)
            runs[column.id] = filled[task]
        return ResolvedRow(row=row, config=config, runs=runs)

    def _of_task(
        self,
        task: TaskChoice,
        config: TrainConfig,
        profile: Profile,
        row: Row,
        seeds: Sequence[int],
    ) -> tuple[str, ...]:
        cls = TASKS.get(task.name)
        if family_of(config.student.shape).labelling not in cls.labellings:
            return ()
        run = config.student.weights.run
        learned = None if run is None or config.method.trains else self._unseeded[run][0]
        if cls.asks_classifier and (why := says_at_random(config, learned)) is not None:
            advice = "train it on labels in a row of its own, or leave the column out"
            what = f"{task.name}: asks the row's classifier, and {why}: {advice}"
            self.problems.append((Diagnostic(row.node.where, what), row.id))
            return ()
        identities = []
        for seed in seeds if cls.seeded else (None,):
            try:
                first = profile.seeds[0]
                asked = self._judged_by_fold(config, first if seed is None else seed)
                asked = asked if seed is None else self._with_seed(asked, seed)
                trained = (
                    self._with_trained_student(asked, profile, row) if cls.is_evaluation else asked
                )
                if issubclass(cls, BankTask):
                    one: Task | None = cls.of(trained, task.bank)
                else:
                    one = cls.of(trained)
            except HarnessError as error:
                self.problems.append((Diagnostic(row.node.where, f"{task.name}: {error}"), row.id))
                return ()
            if one is not None:
                title = RunLabel(
                    table=self._table.name, profile=profile.name, row=row.id, seed=seed
                )
                identities.append(self._run(task.name, one, title))
        return tuple(dict.fromkeys(identities))  # what no seed changes is one run

    def _with_seed(self, config: TrainConfig, seed: int) -> TrainConfig:
        """The row at a seed, one object for all tasks. What no seed changes is not checked again,
        and seeds were checked when they were read.
        """
        known = self._shared.seeded.get((id(config), seed))
        if known is None:
            known = self._shared.seeded[id(config), seed] = (config, _changed(config, seed=seed))
        return known[1]

    def _judged_by_fold(self, config: TrainConfig, seed: int) -> TrainConfig:
        """Of a set in folds: with the fold that judges this seed, and with networks that were
        trained without it. Otherwise as it is: one teacher serves all seeds.

        HarnessError where such a network cannot be had.
        """
        data = config.data.at_seed(seed)
        if data.fold is None:
            return config
        teachers_seed = seed if config.data.fold is None else data.fold - 1
        networks = {}
        for key, model in config.networks().items():
            if model.weights.run is not None:
                run = self._of_fold(model.weights.run, teachers_seed, data)
                networks[key] = replace(model, weights=replace(model.weights, run=run))
        return replace(config, data=data, **networks)  # type: ignore[arg-type]

    def _of_fold(self, identity: str, seed: int, data: DataConfig) -> str:
        """The training run of the same row at another seed, for a network that `data` judges."""
        config, label = self._unseeded[identity]
        asked = replace(self._judged_by_fold(config, seed), seed=seed)
        if asked.data.name == data.name and asked.data.fold != data.fold:
            raise HarnessError(
                f"row '{label.row}' of {label.table} is judged by fold {asked.data.fold}, so it "
                f"was trained on fold {data.fold}, which judges here: leave its `fold` out"
            )
        training = TASKS.get("train").of(asked)
        assert training is not None
        return self._run("train", training, replace(label, seed=seed))

    def _with_trained_student(self, config: TrainConfig, profile: Profile, row: Row) -> TrainConfig:
        """The row with its trained student, whose training run becomes a dependency; as it is where
        nothing is trained.
        """
        known = self._evaluated.get(id(config))
        if known is None:
            known = (config, self._new_trained_student(config, profile, row))
            self._evaluated[id(config)] = known
        return known[1]

    def _new_trained_student(self, config: TrainConfig, profile: Profile, row: Row) -> TrainConfig:
        config_of_run = TASKS.get("train").of(config)
        if config_of_run is None:
            return config
        title = RunLabel(table=self._table.name, profile=profile.name, row=row.id, seed=config.seed)
        trained = Weights(run=self._run("train", config_of_run, title))
        return _changed(config, student=replace(config.student, weights=trained))

    def _run(self, task: str, config: Task, title: RunLabel) -> str:
        key = identity(task, config, self._shared.forms)
        if key not in self._runs:
            self._runs[key] = Run(
                task=task,
                config=config,
                identity=key,
                name=run_name(task, title, key),
                title=title,
                depends=tuple(dict.fromkeys(self._dependencies(config))),
                _forms=self._shared.forms,
            )
        return key

    def _dependencies(self, config: object) -> tuple[str, ...]:
        """The runs that a config takes weights from; of a part that many share, found once."""
        known = self._shared.weights.get(id(config))
        if known is None:
            found: tuple[str, ...] = ()
            if isinstance(config, Weights):
                found = () if config.run is None else (config.run,)
            else:
                parts: list[Any] = [getattr(config, name) for name in _names_of(config)]
                found = tuple(
                    key for part in parts if _names_of(part) for key in self._dependencies(part)
                )
            known = self._shared.weights[id(config)] = (config, found)
        return known[1]

    def _configuration(
        self, table: TableSpec, profile: Profile, row: Row
    ) -> tuple[TrainConfig | None, tuple[Diagnostic, ...]]:
        """The complete configuration of a row, with seed 0, and the problems with it."""
        # a row that another one starts from is asked for in the middle of that one
        outer, self._builder.problems = self._builder.problems, []
        node = merge_all(row.layers, TrainConfig, under=row.node)
        config = self._builder.build(node, TrainConfig)
        if isinstance(config, TrainConfig):
            config = self._completed(config, node, table, profile)
        problems, self._builder.problems = tuple(self._builder.problems), outer
        complete = isinstance(config, TrainConfig) and not problems
        return (config if complete else None), problems

    def _completed(
        self, config: TrainConfig, node: MapNode, table: TableSpec, profile: Profile
    ) -> TrainConfig:
        """With the identities and checksums of weights, and the version of the data."""
        trained: dict[str, TrainConfig] = {}
        completed: dict[str, ModelConfig] = {}
        for key, model in config.networks().items():
            weights = model.weights
            if weights.run is not None:
                dependency = self._follow(weights.run, table, profile)
                self._builder.problems += dependency.problems
                if dependency.wrong is not None:
                    where = node.find(key, "weights", "run")
                    self._builder.problem(where, f"run: {dependency.wrong}")
                if dependency.config is not None:
                    trained[key] = dependency.config
                weights = replace(weights, run=dependency.identity)
            elif weights.file is not None:
                where = node.find(key, "weights", "file")
                weights = self._shared.materials.with_checksum(weights, where)
            changed = weights is not model.weights
            completed[key] = replace(model, weights=weights) if changed else model
        data = self._shared.materials.with_version(config.data, node)
        config = replace(config, data=data, **completed)  # type: ignore[arg-type]
        self._shared.materials.check(config, trained, node)
        return config

    def _follow(self, reference: str, table: TableSpec, profile: Profile) -> Dependency:
        """The training run of `table#row` at the same profile; `#row` is a row of this table."""
        name, sign, row_id = reference.partition("#")
        if not sign or not row_id:
            what = (
                f"must be TABLE#ROW, the row of a spec that trains these weights; got '{reference}'"
            )
            return Dependency(wrong=what)
        try:
            other = table if name in ("", table.name) else self._load(name)
            at = _same_profile(other, profile)
        except SpecError as error:
            return Dependency(problems=error.problems)
        except HarnessError as error:
            return Dependency(wrong=str(error))
        row = next((row for row in at.rows if row.id == row_id), None)
        if row is None:
            what = other.no_row(at, row_id)
            return Dependency(wrong=f"{other.name} at profile '{at.name}': {what}")
        return self._train(other, at, row)

    def _train(self, table: TableSpec, profile: Profile, row: Row) -> Dependency:
        key = (table.name, profile.name, row.id)
        if key in self._path:
            circle = [f"{name}#{row}" for name, _, row in self._path[self._path.index(key) :]]
            return Dependency(wrong=f"depends on itself: {' -> '.join([*circle, circle[0]])}")
        if len(self._path) >= DEEPEST:
            chain = f"{self._path[0][0]}#{self._path[0][2]} -> ... -> {table.name}#{row.id}"
            what = f"is the end of a chain of more than {DEEPEST} rows that start from another's"
            return Dependency(wrong=f"{what} weights: {chain}")
        if key not in self._followed:
            self._path.append(key)
            self._followed[key] = self._trained(table, profile, row)
            self._path.pop()
        return self._followed[key]

    def _trained(self, table: TableSpec, profile: Profile, row: Row) -> Dependency:
        config, problems = self._configuration(table, profile, row)
        if config is None:
            return Dependency(problems=problems)
        seed = profile.seeds[0]
        try:
            asked = replace(self._judged_by_fold(config, seed), seed=seed)
        except HarnessError as error:
            return Dependency(wrong=str(error))
        training = TASKS.get("train").of(asked)
        if training is None:
            return Dependency(wrong=f"row '{row.id}' of {table.name} trains nothing")
        title = RunLabel(table=table.name, profile=profile.name, row=row.id, seed=seed)
        identity = self._run("train", training, title)
        self._unseeded[identity] = config, title
        return Dependency(identity=identity, config=config)

    def _load(self, name: str) -> TableSpec:
        if name == self._table.name:
            return self._table
        tables = self._shared.tables
        if name not in tables:
            # its rows are resolved as they are followed: two tables may need each other's rows
            table, problems = read_table(name)
            if problems:
                raise SpecError(problems)
            tables[name] = table
        return tables[name]


def _names_of(value: object) -> tuple[str, ...]:
    """The fields of a config; none of what is none."""
    cls: Any = type(value)
    return _field_names(cls)


@cache
def _field_names(cls: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(cls)) if is_dataclass(cls) else ()


def _changed(config: TrainConfig, **values: Any) -> TrainConfig:
    """With other values, whose kind makes no difference to what is right: nothing is checked."""
    other = object.__new__(type(config))
    for name in _names_of(config):
        object.__setattr__(other, name, values.get(name, getattr(config, name)))
    return other


def _same_profile(table: TableSpec, profile: Profile) -> Profile:
    """The profile of that name, or of the nearest shared one behind it, or the only one."""
    for name in (profile.name, *profile.starts_from):
        if name in table.profiles:
            return table.profiles[name]
    if len(table.profiles) == 1:
        return next(iter(table.profiles.values()))
    return table.profile(profile.name)


def run_name(task: str, title: RunLabel, key: str) -> str:
    """Of its directory: what it is for people, and the beginning of its identity."""
    parts = [
        title.row,
        *([] if task == "train" else [task]),
        *([] if title.seed is None else [f"s{title.seed}"]),
    ]
    return "-".join([*parts, key[:8]])
