"""The values that an option may have, written into its type: `epochs: Annotated[float, above(0)]`.

A spec's reader takes them from there, to check a value where it stands in the file, even one that
no row uses; `check_bounds` holds an object made in code against them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Final, TypeAlias, get_args, get_origin, get_type_hints

from harness.errors import FieldError, HarnessError

MANY: Final = 1e9
"""The most of anything whose own limit is not known: a slip of the keyboard is larger."""


@dataclass(frozen=True, slots=True)
class Bound:
    """An interval, and the words for it."""

    least: float = -math.inf
    most: float = MANY
    above: float = -math.inf
    below: float = math.inf
    # what is told of a value outside, before the value; none: made from the numbers
    message: str = ""
    noun: str = ""  # of what there must be at least so many

    def wrong(self, value: Any) -> str | None:
        """What is wrong with `value`; None if nothing is."""
        if self.holds(value):
            return None
        if self.message:
            return f"{self.message}{value}"
        if self.least == 0 and value < 0 and self.below == math.inf:
            return f"must not be negative, got {value}"
        return f"must be {self._wanted(value)}, got {value}"

    def holds(self, value: float) -> bool:
        """Whether it lies inside; NaN never does."""
        return self.least <= value <= self.most and self.above < value < self.below

    def _wanted(self, value: float) -> str:
        if self.least == self.most:
            return f"{self.least:g}"
        noun = f" {self.noun}" if self.noun else ""
        if (value > self.most and self.most == MANY) or value != value:
            return f"at most {self.most:,.0f}"
        low = (
            f"above {self.above:g}" if self.above > -math.inf else f"at least {self.least:g}{noun}"
        )
        if self.below < math.inf:
            return f"{low} and below {self.below:g}"
        if self.most <= 1:
            return f"{low} and at most {self.most:g}"
        return f"at most {self.most:,.0f}{noun}" if value > self.most else low


@dataclass(frozen=True, slots=True)
class Ends(Bound):
    """An interval that holds two numbers, the lower one first."""

    def wrong(self, value: Any) -> str | None:
        """What is wrong with the pair."""
        low, high = value
        if self.holds(low) and self.holds(high) and low <= high:
            return None
        start = f"{self.above:g} <" if self.above > -math.inf else f"{self.least:g} <="
        end = f" < {self.below:g}" if self.below < math.inf else f" <= {self.most:g}"
        end = "" if self.most == MANY and self.below == math.inf and high <= MANY else end
        return f"is [low, high] with {start} low <= high{end}, got {[low, high]}"


@dataclass(frozen=True, slots=True)
class KeptCount(Bound):
    """Of a number of patches that are kept: a profile's stand-ins for `keep` take its place."""


@dataclass(frozen=True, slots=True)
class Known(Bound):
    """Of a name: what it stands for must be there."""

    look_up: Callable[[str], object] = str  # raises HarnessError for a name that means nothing

    def wrong(self, value: Any) -> str | None:
        """What is wrong with the name."""
        try:
            self.look_up(value)
        except HarnessError as error:
            return str(error)
        return None


def at_least(least: float, noun: str = "", *, most: float = MANY) -> Bound:
    """`least` or more."""
    return Bound(least=least, most=most, noun=noun)


def above(limit: float, *, most: float = MANY) -> Bound:
    """More than `limit`."""
    return Bound(above=limit, most=most)


Probability: TypeAlias = Annotated[
    float, Bound(least=0, most=1, message="is a probability, from 0 to 1; got ")
]
Unit: TypeAlias = Annotated[float, Bound(least=0, most=1, message="must be from 0 to 1, got ")]
Share: TypeAlias = Annotated[float, Bound(above=0, most=1)]
Scale: TypeAlias = Annotated[tuple[float, float], Ends(above=0, most=1)]
PositiveRange: TypeAlias = Annotated[tuple[float, float], Ends(above=0)]
Positive: TypeAlias = Annotated[float, above(0)]
NotNegative: TypeAlias = Annotated[float, Bound(least=0)]
NotNegativeInt: TypeAlias = Annotated[int, Bound(least=0)]
Count: TypeAlias = Annotated[int, at_least(1)]
Patches: TypeAlias = Annotated[int, at_least(1, "patch", most=1_000_000)]
KeptPatches: TypeAlias = Annotated[int, KeptCount(least=1, most=1_000_000, noun="patch")]


def bound_of(hint: Any) -> tuple[Any, Bound | None]:
    """A type without its bound, and the bound."""
    if get_origin(hint) is not Annotated:
        return hint, None
    plain, *more = get_args(hint)
    return plain, next((one for one in more if isinstance(one, Bound)), None)


def check_bounds(config: Any) -> None:
    """Raise FieldError for the first field of a dataclass whose value lies outside its type."""
    cls: Any = type(config)
    for name, position, bound in _bounds(cls):
        value = getattr(config, name)
        values = () if value is None else (value,)
        if position is not None:
            values = value if position < 0 else value[position : position + 1]
        for one in values:
            wrong = bound.wrong(one)
            if wrong is not None:
                raise FieldError(name, wrong)


def at_default(config: Any, key: str) -> bool:
    """Whether an option of a dataclass is as it is where nobody gives it."""
    return bool(getattr(config, key) == type(config).__dataclass_fields__[key].default)


@cache
def _bounds(cls: type) -> tuple[tuple[str, int | None, Bound], ...]:
    hints = get_type_hints(cls, include_extras=True)
    return tuple(
        (field.name, position, bound)
        for field in dataclasses.fields(cls)
        for position, bound in _of_hint(hints[field.name])
    )


def _of_hint(hint: Any) -> Iterator[tuple[int | None, Bound]]:
    """The bounds in a hint, with the item of a tuple that they are of; -1: all of them."""
    parts = get_args(hint)
    bound = bound_of(hint)[1]
    if bound is not None:
        yield None, bound
    elif get_origin(hint) is tuple and parts[-1] is Ellipsis:
        yield from ((-1, one) for _, one in _of_hint(parts[0]))
    elif get_origin(hint) is tuple:
        for position, part in enumerate(parts):
            yield from ((position, one) for _, one in _of_hint(part))
    elif type(None) in parts:
        for part in parts:
            yield from _of_hint(part)
