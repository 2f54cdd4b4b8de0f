"""Sets of worlds: which outcomes of which tasks, which answers to which conditions. Pure.

A set is a list of terms, each a conjunction of constraints; the set holds every world that fulfils one of them. Sets
are only ever taken too large, never too small: an empty one is proof.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass

__all__ = ["ANY_WORLD", "NO_WORLD", "Allowed", "Term", "Worlds", "all_of", "any_of", "only"]

#: Terms of one set; a larger set is taken as every world.
_MAX_TERMS = 64


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a variable may be: these values, or everything but these."""

    values: frozenset[Hashable]
    is_except: bool = False

    def both(self, other: Allowed) -> Allowed:
        """What is allowed by this and by `other`."""
        match self.is_except, other.is_except:
            case False, False:
                return Allowed(self.values & other.values)
            case False, True:
                return Allowed(self.values - other.values)
            case True, False:
                return Allowed(other.values - self.values)
            case _:
                return Allowed(self.values | other.values, is_except=True)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is allowed."""
        return not self.values and not self.is_except


#: Variable to what it may be; variables that are not named may be anything.
Term = Mapping[Hashable, Allowed]
Worlds = tuple[Term, ...]

ANY_WORLD: Worlds = ({},)
NO_WORLD: Worlds = ()


def only(variable: Hashable, *values: Hashable, but: bool = False) -> Worlds:
    """Worlds in which the variable is one of `values`; with `but`, none of them."""
    return ({variable: Allowed(frozenset(values), is_except=but)},)


def any_of(sets: Iterable[Worlds]) -> Worlds:
    """Worlds of one set or another."""
    terms: dict[frozenset[tuple[Hashable, Allowed]], Term] = {}
    for one in sets:
        for term in one:
            if not term:
                return ANY_WORLD
            terms[frozenset(term.items())] = term
            if len(terms) > _MAX_TERMS:
                return ANY_WORLD
    return tuple(terms.values())


def all_of(sets: Iterable[Worlds]) -> Worlds:
    """Worlds that are in every one of the sets."""
    found: Worlds = ANY_WORLD
    for one in sets:
        joined = (_joined(term, other) for term in found for other in one)
        found = any_of([tuple(term for term in joined if term is not None)])
        if not found:
            return NO_WORLD
    return found


def _joined(term: Term, other: Term) -> Term | None:
    if not other:
        return term
    made = dict(term)
    for variable, allowed in other.items():
        known = made.get(variable)
        both = allowed if known is None else known.both(allowed)
        if both.is_empty:
            return None
        made[variable] = both
    return made
