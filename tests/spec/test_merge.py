"""Layers: later ones win, leaf by leaf; naming another thing starts afresh."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from harness.methods import Method
from harness.models.config import ModelConfig
from harness.spec.fields import expand_shorthand
from harness.spec.merge import merge
from harness.spec.nodes import ListNode, MapNode, Node, ScalarNode
from harness.spec.strict_yaml import parse_yaml

LEAVES = st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from("abc")
VALUES = LEAVES | st.lists(LEAVES, max_size=2)


def maps(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Mappings with few keys, so that layers meet."""
    return st.dictionaries(st.sampled_from("stuvw"), VALUES | inner, max_size=4)


TREES = st.recursive(maps(VALUES), maps, max_leaves=12)


def node(value: object, file: str = "f") -> Node:
    """A tree of nodes; JSON is YAML."""
    found, problems = parse_yaml(json.dumps(value), file)
    assert not problems
    return found


def value(tree: Node) -> Any:
    """The plain values of a tree."""
    if isinstance(tree, MapNode):
        return {key: value(child) for key, _, child in tree}
    if isinstance(tree, ListNode):
        return [value(item) for item in tree.items]
    assert isinstance(tree, ScalarNode)
    return tree.value


def over(lower: Any, upper: Any) -> Any:
    """What merging means, on plain values."""
    if not isinstance(lower, dict) or not isinstance(upper, dict):
        return upper
    return lower | {
        key: over(lower[key], new) if key in lower else new for key, new in upper.items()
    }


@given(TREES, TREES)
def test_mappings_merge_key_by_key(lower: dict[str, Any], upper: dict[str, Any]) -> None:
    assert value(merge(node(lower), node(upper), None)) == over(lower, upper)


@given(TREES)
def test_a_layer_over_itself_or_nothing_changes_nothing(tree: dict[str, Any]) -> None:
    for lower, upper in ((tree, tree), ({}, tree), (tree, {})):
        assert value(merge(node(lower), node(upper), None)) == tree


@given(TREES, TREES)
def test_every_leaf_keeps_the_place_it_was_written_at(
    lower: dict[str, Any], upper: dict[str, Any]
) -> None:
    first, second = node(lower, "lower"), node(upper, "upper")
    before = {id(leaf): leaf for tree in (first, second) for leaf in leaves(tree)}
    for leaf in leaves(merge(first, second, None)):
        assert before[id(leaf)].where == leaf.where


def leaves(tree: Node) -> list[Node]:
    """All nodes that are no mapping."""
    if isinstance(tree, MapNode):
        return [leaf for child in tree.entries.values() for leaf in leaves(child)]
    return [tree]


def merged(lower: object, upper: object, hint: type) -> Any:
    """The plain values of a merge."""
    return value(merge(node(lower), node(upper), hint))


def test_another_method_drops_the_options_of_the_old_one() -> None:
    lower = {"name": "distillation", "weight": 2, "mask": {"keep": 8}}
    assert merged(lower, "supervised", Method) == {"name": "supervised"}
    assert merged(lower, {"name": "supervised"}, Method) == {"name": "supervised"}


def test_the_same_method_keeps_them() -> None:
    lower = {"name": "distillation", "weight": 2, "mask": {"keep": 8, "criterion": "random"}}
    assert merged(lower, "distillation", Method) == lower
    changed = merged(lower, {"mask": {"keep": 4}}, Method)
    assert changed == lower | {"mask": {"keep": 4, "criterion": "random"}}


def test_the_rule_holds_inside_a_method() -> None:
    lower = {"name": "distillation", "loss": {"name": "logit", "temperature": 4}}
    changed = merged(lower, {"loss": {"name": "manifold"}}, Method)
    assert changed["loss"] == {"name": "manifold"}


def test_another_architecture_drops_dimensions_and_weights() -> None:
    lower = {"arch": "deit_small_patch16_224", "image_size": 384, "weights": {"hub": "x"}}
    assert merged(lower, {"arch": "vit", "width": 8}, ModelConfig) == {"arch": "vit", "width": 8}
    assert merged(lower, {"drop_path": 0.1}, ModelConfig) == lower | {"drop_path": 0.1}
    assert merged({"drop_path": 0.1}, "vit", ModelConfig) == {"drop_path": 0.1, "arch": "vit"}


def test_another_source_of_weights_replaces_the_old_one() -> None:
    lower = {"arch": "vit", "weights": {"file": "x", "sha256": "y"}}
    assert merged(lower, {"weights": {"hub": "z"}}, ModelConfig)["weights"] == {"hub": "z"}
    assert merged(lower, {"weights": {"file": "z"}}, ModelConfig)["weights"] == {"file": "z"}
    assert merged(lower, {"weights": {"sha256": "z"}}, ModelConfig)["weights"] == {
        "file": "x",
        "sha256": "z",
    }


def test_null_takes_away_what_lies_below() -> None:
    lower = {"name": "distillation", "mask": {"keep": 8}}
    assert merged(lower, {"mask": None}, Method) == {"name": "distillation", "mask": None}


def test_a_bare_name_stands_for_its_mapping() -> None:
    assert value(expand_shorthand(node("supervised"), Method)) == {"name": "supervised"}
    assert value(expand_shorthand(node("vit"), ModelConfig)) == {"arch": "vit"}
    assert value(expand_shorthand(node(None), Method)) is None
