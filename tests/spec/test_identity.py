"""Identity: everything that can change a number counts, nothing else does."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.data.config import DataConfig
from harness.errors import FieldError, HarnessError
from harness.masking.attention import SaliencyModelAttention
from harness.masking.random import RandomCriterion
from harness.methods import Method
from harness.methods.distillation import Distillation, Mask
from harness.methods.losses.logit import Logit
from harness.methods.supervised import Supervised
from harness.models.config import ModelConfig, Weights
from harness.models.families.cait import CaiT
from harness.models.families.vit import PlainViT
from harness.spec.expand import expand
from harness.spec.fields import fields_of, is_tagged
from harness.spec.identity import canonical_json, from_dict, identity, identity_form, to_dict
from harness.spec.load import load_table
from harness.tasks.train import TrainRun
from harness.train.config import Augment, Recipe, TrainConfig
from tests.conftest import Experiments
from tests.spec.specs import GOOD, changed

VIT = ModelConfig(arch="vit", image_size=28, patch_size=7, channels=1, width=16, depth=2, heads=2)
HUB = ModelConfig(
    arch="deit_tiny_patch16_224", weights=Weights(hub="deit_tiny_patch16_224.fb_in1k")
)
FULL = TrainConfig(
    data=DataConfig(name="folder", version="1", path="photos"),
    student=VIT,
    teacher=dataclasses.replace(VIT, weights=Weights(file="a.safetensors", sha256="0")),
    method=Distillation(loss=Logit(), mask=Mask(keep=8)),
    recipe=Recipe(epochs=20, batch_size=64, lr=1e-3, warmup_epochs=1, augment=Augment(mixup=0.8)),
)
LOOKING = dataclasses.replace(
    FULL,
    method=Distillation(mask=Mask(keep=8, criterion=SaliencyModelAttention())),
    saliency_model=VIT,
)
NOT_IDENTITY = {"data.path", "teacher.weights.file"}
NOT_ALONE = {
    "saliency_model",  # these change together with others, or not at all: see the test of weights
    "teacher",
    "method",
    "student.weights.file",
    "student.weights.hub",  # of a named network: see the same test
    "student.weights.head",
    "student.weights.key",
    "student.weights.sha256",
    "teacher.weights.hub",
    "teacher.weights.run",
    "teacher.trained",
    "teacher.init",  # a CaiT has one way
    "student.drop_path_rule",  # together with drop_path: tests/models/test_additions.py
    "teacher.drop_path_rule",
    "recipe.lr_rule",  # together with lr_batch
    "recipe.decay_power",  # together with decay, and the next ones likewise
    *("recipe.momentum", "recipe.nesterov"),
    "recipe.augment.scaled",
    "recipe.augment.photometric",  # of images with boxes or masks
    "student.detection_tokens",  # of detectors: tests/models/test_yolos.py
    "teacher.detection_tokens",
    # of sounds alone: see the test of those
    *("data.fold", "recipe.augment.frequency_mask", "recipe.augment.time_mask"),
    *(
        f"{network}.{key}"
        for network in ("student", "teacher")
        for key in ("image_width", "stride")
    ),
    *("recipe.decay_rate", "recipe.decay_from"),  # together with decay
}

VALUES: dict[Any, list[Any]] = {
    int: [1, 2, 4, 8, 14, 64, 128, 3, 56],
    float: [0.25, 0.5, 2.0, 10.0, 1e-4],
    str: ["other", "rand-m9-mstd0.5-inc1", "deit_tiny_patch16_224", "cifar10"],
    tuple: [(0.1, 0.5), (0.2, 0.6)],
}


def leaves(config: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Every field that holds no config: dotted path, type, value."""
    cls: Any = type(config)
    for field in fields_of(cls).values():
        value, at = getattr(config, field.name), f"{path}{field.name}"
        if is_tagged(field.hint):
            yield at, field.hint, value
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            yield from leaves(value, f"{at}.")
        elif not is_tagged(field.hint):
            yield at, field.hint, value


def with_leaf(config: Any, path: str, value: Any) -> Any:
    """`config` with one field changed."""
    head, _, rest = path.partition(".")
    new = with_leaf(getattr(config, head), rest, value) if rest else value
    return dataclasses.replace(config, **{head: new})


def others(hint: Any, value: Any) -> list[Any]:
    """Other values that a field of this type might take."""
    if hint is bool:
        return [not value]
    if is_tagged(hint):
        classes = [hint.registry.get(name) for name in hint.registry.names()]
        return [cls() for cls in classes if not isinstance(value, cls)]
    if get_origin(hint) is Literal:
        return [word for word in get_args(hint) if word != value]
    found = VALUES.get(get_origin(hint) or hint, [])
    return [other for other in found if other != value]


def changed_at(path: str, hint: Any, value: Any) -> TrainConfig:
    """The full config with another valid value at `path`."""
    for other in others(hint, value):
        try:
            config = with_leaf(FULL, path, other)
        except (FieldError, TypeError):
            continue
        assert isinstance(config, TrainConfig)
        return config
    raise AssertionError(f"no other valid value of {hint} is known for {path}")


def key(config: TrainConfig) -> str:
    """The identity of a training run."""
    return identity("train", TrainRun(train=config))


LEAVES = {
    path: (hint, value)
    for path, hint, value in leaves(FULL)
    if path not in NOT_ALONE and others(hint, value)
}


def test_the_leaves_are_all_there() -> None:
    some = {"seed", "data.path", "recipe.augment.scale", "method.loss.temperature"}
    assert some <= LEAVES.keys()
    assert len(LEAVES) > 50


@pytest.mark.parametrize("path", LEAVES)
def test_every_leaf_counts_but_those_that_change_no_number(path: str) -> None:
    config = changed_at(path, *LEAVES[path])
    assert config != FULL
    assert (key(config) == key(FULL)) == (path in NOT_IDENTITY)


@pytest.mark.parametrize("path", LEAVES)
def test_every_leaf_comes_back_from_the_plain_form(path: str) -> None:
    run = TrainRun(train=changed_at(path, *LEAVES[path]))
    again = from_dict("train", json.loads(json.dumps(to_dict(run))))
    assert again == run
    assert identity("train", again) == identity("train", run)


def test_a_change_of_a_familys_code_changes_the_runs_of_its_networks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = key(FULL)
    monkeypatch.setattr(CaiT, "version", 2)
    assert key(FULL) == before  # no network of this run is one
    monkeypatch.setattr(PlainViT, "version", 2)
    assert key(FULL) != before


def test_fields_that_came_later_count_only_when_they_are_used() -> None:
    form = identity_form(FULL)
    assert "saliency_model" not in form
    assert "trained" not in form["student"]
    assert "init" not in form["student"]
    assert "head" not in form["teacher"]["weights"]
    assert "probe" not in form
    assert not {"registers", "layer_scale", "mlp", "drop_path_rule"} & form["student"].keys()
    assert not {"lr_rule", "patch_embed_rate"} & form["recipe"].keys()
    assert "teacher_accuracy" not in form["method"]
    used = [
        dataclasses.replace(LOOKING, saliency_model=dataclasses.replace(VIT, depth=3)),
        with_leaf(FULL, "student.trained", "head"),
        with_leaf(FULL, "student.init", "moco"),
        with_leaf(FULL, "teacher.weights.head", "new"),
        with_leaf(FULL, "method.teacher_accuracy", True),
        with_leaf(FULL, "student.registers", 4),
        with_leaf(FULL, "recipe.patch_embed_rate", 0.2),
        with_leaf(with_leaf(FULL, "recipe.lr_batch", 64), "recipe.lr_rule", "sqrt"),
    ]
    assert len({key(config) for config in [FULL, LOOKING, *used]}) == 10


def test_options_of_sounds_count_and_are_left_out_elsewhere() -> None:
    form = identity_form(FULL)
    assert "fold" not in form["data"]
    assert not {"image_width", "stride"} & form["student"].keys()
    assert not {"optimizer", "decay_rate", "decay_from"} & form["recipe"].keys()
    assert not {"frequency_mask", "time_mask"} & form["recipe"]["augment"].keys()
    sounds = TrainConfig(
        data=DataConfig(name="esc50"),
        student=ModelConfig(arch="ast_small"),
        method=Supervised(),
        recipe=Recipe(
            epochs=25,
            batch_size=48,
            lr=1e-4,
            decay="exponential",
            augment=Augment(crop="none", flip=0.0),
        ),
    )
    changes: dict[str, Any] = {
        "data.fold": 2,
        "student.stride": 9,
        "recipe.optimizer": "adam",
        "recipe.decay_rate": 0.5,
        "recipe.decay_from": 3,
        "recipe.augment.frequency_mask": 24,
        "recipe.augment.time_mask": 96,
    }
    changed_ones = [with_leaf(sounds, path, value) for path, value in changes.items()]
    by_sgd = with_leaf(sounds, "recipe.optimizer", "sgd")
    changed_ones += [with_leaf(by_sgd, "recipe.nesterov", True)]
    assert len({key(config) for config in [sounds, by_sgd, *changed_ones]}) == 3 + len(changes)


def test_a_run_of_before_those_fields_keeps_its_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    # computed by the code of before they existed, for the shipped teacher's smoke run
    monkeypatch.setattr(TrainRun, "version", 1)
    table = load_table("teachers/fashion-mnist")
    (run,) = expand(table, "smoke").runs
    assert run.identity == "eb4630ef3078d3c41e2df3e60f078e09fc8e742fd1b9985eca0b49b94a2f1efa"


def test_the_rule_of_the_rate_counts_and_needs_its_batch() -> None:
    linear = dataclasses.replace(FULL, recipe=dataclasses.replace(FULL.recipe, lr_batch=16))
    root = dataclasses.replace(FULL, recipe=dataclasses.replace(linear.recipe, lr_rule="sqrt"))
    assert "lr_rule" not in identity_form(linear.recipe)
    assert identity_form(linear) != identity_form(root)
    assert (linear.recipe.peak_lr, root.recipe.peak_lr) == pytest.approx((4e-3, 2e-3))
    with pytest.raises(FieldError, match="sqrt needs `lr_batch`, the batch that `lr` is meant for"):
        dataclasses.replace(FULL.recipe, lr_rule="sqrt")


def test_where_weights_come_from_counts() -> None:
    known = dataclasses.replace(FULL, teacher=HUB)
    sources = [Weights(hub="deit_tiny_patch16_224.b"), HUB.weights, Weights(), Weights(run="x")]
    sources += [Weights(file="f", sha256="x"), Weights(file="f", sha256="y")]
    keys = {key(with_leaf(known, "teacher.weights", weights)) for weights in sources}
    assert len(keys) == len(sources)


def test_another_method_is_another_run() -> None:
    base = dataclasses.replace(FULL, teacher=None, method=Supervised())
    assert key(base) != key(FULL)


@pytest.mark.parametrize("cls", [Distillation, Logit, TrainRun])
def test_a_raised_version_changes_identity(cls: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.spec import identity as module

    before = key(FULL)
    monkeypatch.setattr(cls, "version", cls.version + 1)
    module._kind.cache_clear()
    try:
        assert key(FULL) != before
    finally:
        monkeypatch.undo()
        module._kind.cache_clear()
    assert key(FULL) == before


def test_defaults_count_by_value() -> None:
    implicit = Distillation(mask=Mask(keep=8))
    explicit = Distillation(loss=Logit(temperature=1.0, hard=False), weight=1.0, mask=Mask(keep=8))
    assert key(dataclasses.replace(FULL, method=implicit)) == key(
        dataclasses.replace(FULL, method=explicit)
    )


def test_a_whole_number_is_one_number_however_it_is_written() -> None:
    ints = dataclasses.replace(FULL, recipe=dataclasses.replace(FULL.recipe, epochs=20))
    floats = dataclasses.replace(FULL, recipe=dataclasses.replace(FULL.recipe, epochs=20.0))
    assert key(ints) == key(floats)


def test_the_identity_is_a_sha256_of_canonical_json() -> None:
    import hashlib

    run = TrainRun(train=FULL)
    form = {"schema": 1, "kind": "train", "version": TrainRun.version, "config": identity_form(run)}
    text = json.dumps(form, sort_keys=True, separators=(",", ":"))
    assert identity("train", run) == hashlib.sha256(text.encode()).hexdigest()


def test_canonical_json_refuses_what_json_has_not() -> None:
    assert canonical_json({"b": 1, "a": [None, "ü"]}) == '{"a":[null,"ü"],"b":1}'
    with pytest.raises(ValueError, match="JSON"):
        canonical_json({"a": float("nan")})


MODELS = st.builds(
    lambda width, depth, drop, weights: dataclasses.replace(
        VIT, width=width, depth=depth, drop_path=drop, weights=weights
    ),
    width=st.sampled_from([8, 16, 32]),
    depth=st.integers(1, 4),
    drop=st.floats(0, 0.9),
    weights=st.sampled_from([Weights(), Weights(run="ab"), Weights(file="f", sha256="1")]),
) | st.just(HUB)
METHODS: st.SearchStrategy[Method] = st.builds(
    Distillation,
    loss=st.builds(Logit, temperature=st.floats(0.1, 9), hard=st.booleans()),
    weight=st.floats(0, 9),
    mask=st.none() | st.builds(Mask, keep=st.integers(1, 16), criterion=st.just(RandomCriterion())),
)
CONFIGS = st.builds(
    TrainConfig,
    data=st.builds(
        DataConfig,
        name=st.just("folder"),
        path=st.none() | st.text(max_size=5),
        version=st.text(max_size=5),
    ),
    student=MODELS,
    teacher=MODELS,
    method=METHODS,
    recipe=st.builds(
        Recipe, epochs=st.floats(0.5, 300), batch_size=st.integers(1, 64), lr=st.floats(1e-6, 1)
    ),
    seed=st.integers(0, 2**31),
)


@given(CONFIGS)
@settings(max_examples=50)
def test_any_config_comes_back_from_json(config: TrainConfig) -> None:
    run = TrainRun(train=config)
    again = from_dict("train", json.loads(json.dumps(to_dict(run))))
    assert again == run
    assert identity("train", again) == identity("train", run)


@given(CONFIGS, CONFIGS)
@settings(max_examples=50)
def test_identities_are_equal_when_only_places_differ(
    first: TrainConfig, second: TrainConfig
) -> None:
    assert (key(first) == key(second)) == (identity_form(first) == identity_form(second))
    moved = with_leaf(first, "data.path", "elsewhere")
    assert key(moved) == key(first)


def shuffled(value: Any, order: random.Random) -> Any:
    """The same JSON value with the keys of every mapping in another order."""
    if isinstance(value, list):
        return [shuffled(item, order) for item in value]
    if not isinstance(value, dict):
        return value
    keys = list(value)
    order.shuffle(keys)
    return {name: shuffled(value[name], order) for name in keys}


@given(order=st.randoms(use_true_random=False))
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_order_of_keys_changes_nothing(order: random.Random, experiments: Experiments) -> None:
    import yaml

    document = yaml.safe_load(GOOD.replace("1e-2", "0.01"))
    columns = document["columns"]
    mixed = shuffled(document, order) | {"columns": columns}
    runs = []
    for name, value in (("paper/one", document), ("paper/two", mixed)):
        table = load_table(experiments.table(name, json.dumps(value)))
        runs.append(
            {run.identity for profile in table.profiles for run in expand(table, profile).runs}
        )
    assert runs[0] == runs[1]


def test_an_explicit_default_in_a_spec_is_the_same_run(experiments: Experiments) -> None:
    for name, text in (
        ("one", GOOD),
        (
            "two",
            changed(
                "{name: distillation, mask", "{name: distillation, weight: 1, loss: logit, mask"
            ),
        ),
    ):
        experiments.table(f"paper/{name}", text)
    one, two = (expand(load_table(f"paper/{name}"), "paper") for name in ("one", "two"))
    assert [run.identity for run in one.runs] == [run.identity for run in two.runs]


def test_resources_are_no_part_of_identity(experiments: Experiments) -> None:
    text = changed(
        "  paper: {}",
        "  paper: {resources: {device: cuda, threads: 8, workers: 4, micro_batch: 16}}",
    )
    one = expand(load_table(experiments.table("paper/one", GOOD)), "paper")
    two = expand(load_table(experiments.table("paper/two", text)), "paper")
    assert two.profile.resources.threads == 8
    assert [run.identity for run in one.runs] == [run.identity for run in two.runs]


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("train", "recipe", "lr_decay"), 1, "unknown key 'lr_decay'"),
        (("train", "method", "version"), 99, "Distillation was version 99"),
        (("train", "method", "name"), "alchemy", "unknown method 'alchemy'"),
        (("train", "method", "mask", "keep"), "8", "must be a whole number"),
    ],
)
def test_a_run_of_another_version_is_refused(
    path: tuple[str, ...], value: object, words: str
) -> None:
    form = json.loads(json.dumps(to_dict(TrainRun(train=FULL))))
    inner = form
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    with pytest.raises(HarnessError, match=f"planned by another version of harness .*{words}"):
        from_dict("train", form)
