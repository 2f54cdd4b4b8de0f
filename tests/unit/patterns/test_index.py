"""Many rules against one event."""

from __future__ import annotations

from typing import Any

import pytest

from tidemill.events.event import Event
from tidemill.patterns import Index, Rule, combine, compile_cel, compile_filters, compile_pattern, compile_sql


def event(**given: Any) -> Event:
    return Event(**{"id": "1", "source": "/shop", "type": "order", **given})


def test_index_names_matching_rules_in_the_order_given() -> None:
    index = Index(
        {
            "by data": compile_pattern({"data": {"amount": [5]}}),
            "other": compile_pattern({"type": ["invoice"]}),
            "by type": compile_pattern({"type": ["order"]}),
            "always": compile_filters([]),
            "by prefix": compile_filters([{"prefix": {"source": "/sh"}}]),
        }
    )

    assert index.match(event(data={"amount": 5})) == ["by data", "by type", "always", "by prefix"]
    assert index.match(event(type="x", source="/")) == ["always"]


def test_index_of_no_rules_matches_nothing() -> None:
    assert Index({}).match(event()) == []


def test_index_names_a_rule_once_however_it_is_found() -> None:
    either = {"$or": [{"type": ["order"]}, {"source": ["/shop"]}, {"data": {"x": [1, 2]}}]}
    index = Index({"either": compile_pattern(either), "same": compile_pattern(either)})

    assert index.match(event(data={"x": [1, 2, 1]})) == ["either", "same"]


@pytest.mark.parametrize(
    ("rule", "matching", "other"),
    [
        (compile_filters([{"exact": {"priority": "5"}}]), {"extensions": {"priority": 5}}, {}),
        (compile_filters([{"exact": {"express": "true"}}]), {"extensions": {"express": True}}, {}),
        (
            compile_pattern({"priority": [5]}),
            {"extensions": {"priority": 5}},
            {"extensions": {"priority": "5"}},
        ),
        (
            compile_pattern({"priority": ["5"]}),
            {"extensions": {"priority": "5"}},
            {"extensions": {"priority": 5}},
        ),
        (compile_pattern({"data": {"x": [1]}}), {"data": {"x": 1.0}}, {"data": {"x": True}}),
        (compile_pattern({"data": {"x": [True]}}), {"data": {"x": True}}, {"data": {"x": 1}}),
        (compile_pattern({"data": {"x": {"y": ["a"]}}}), {"data": {"x.y": "a"}}, {"data": {"y": "a"}}),
        (compile_pattern({"data": {"x": {"y": ["a"]}}}), {"data": [{"x": [[{"y": "a"}]]}]}, {"data": ["a"]}),
        (compile_pattern({"data": ["a"]}), {"data": "a"}, {"data": b"a"}),
        (compile_pattern({"data": [{"exists": False}]}), {}, {"data": 1}),
        (compile_pattern({"specversion": ["1.0"]}), {}, None),
        (compile_pattern({"data_base64": [{"prefix": "A"}]}), {"data": b"\x00"}, {"data": "A"}),
        (compile_filters([{"not": {"exact": {"type": "x"}}}]), {}, {"type": "x"}),
        (
            compile_pattern({"data": {"x": [{"numeric": [">", 1, "<=", 2]}]}}),
            {"data": {"x": 2}},
            {"data": {"x": 1}},
        ),
        (
            combine(compile_filters([{"exact": {"type": "order"}}]), compile_pattern({"data": {"x": [1]}})),
            {"data": {"x": 1}},
            {"data": {"x": 2}},
        ),
    ],
)
def test_index_finds_what_the_rule_matches(rule: Rule, matching: Any, other: Any) -> None:
    # five of the same, so that they are filed and not merely checked one by one
    index = Index({f"r{number}": rule for number in range(5)})

    assert rule.matches(event(**matching))
    assert len(index.match(event(**matching))) == 5
    if other is not None:
        assert not rule.matches(event(**other))
        assert index.match(event(**other)) == []


def test_index_checks_everything_the_lookup_did_not_prove() -> None:
    rules = {
        "both": compile_filters(
            [{"any": [{"all": [{"exact": {"type": "a"}}, {"suffix": {"source": "x"}}]}]}]
        ),
        "twice": combine(
            compile_pattern({"type": ["a"]}), compile_pattern({"$or": [{"type": ["b"]}, {"type": ["c"]}]})
        ),
        "mixed": compile_pattern({"type": ["a", {"anything-but": "b"}], "source": ["/x"]}),
    }

    assert Index(rules).match(event(type="a", source="/shop")) == []
    assert Index(rules).match(event(type="c", source="/x")) == ["mixed"]


class CountingStr(str):
    """A type that tells how often it is compared."""

    compared = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        CountingStr.compared += 1
        return str.__eq__(self, other)


@pytest.mark.parametrize("count", [10, 1_000])
def test_index_does_not_look_at_rules_of_other_values(count: int) -> None:
    pattern = {"data": {"amount": [{"numeric": [">", 0]}]}}
    index = Index(
        {f"r{number}": compile_pattern({"type": [f"type{number}"], **pattern}) for number in range(count)}
    )
    CountingStr.compared = 0

    matched = index.match(event(type=CountingStr("type7"), data={"amount": 1}))

    assert matched == ["r7"]
    assert CountingStr.compared <= 3


def test_index_files_overlapping_ranges() -> None:
    bands = {
        f"{low}-{low + 30}": compile_pattern({"data": {"t": [{"numeric": [">=", low, "<", low + 30]}]}})
        for low in range(0, 100, 10)
    }
    index = Index({**bands, "cold": compile_pattern({"data": {"t": [{"numeric": ["<", 0]}]}})})

    assert index.match(event(data={"t": 45})) == ["20-50", "30-60", "40-70"]
    assert index.match(event(data={"t": -1})) == ["cold"]
    assert index.match(event(data={"t": 120})) == []
    assert index.match(event(data={"t": "45"})) == []


@pytest.mark.parametrize("value", [0, 1, 1.0, 2, 3, 4, 4.5, -7, 10**15])
def test_index_finds_ranges_at_their_ends(value: float) -> None:
    bounds = [[op, number] for op in ("=", "<", "<=", ">", ">=") for number in range(5)]
    bounds += [[low, 1, high, 4] for low in (">", ">=") for high in ("<", "<=")]
    rules = {str(one): compile_pattern({"data": {"x": [{"numeric": one}]}}) for one in bounds}
    asked = event(data={"x": value})

    assert Index(rules).match(asked) == [name for name, rule in rules.items() if rule.matches(asked)]


WORDS = [f"{one}{two}{three}" for one in "aB" for two in "bc" for three in "xyZ"]
OPERATORS: list[Any] = [
    *WORDS[:4],
    *[{"prefix": word[:length]} for word in WORDS for length in (1, 2, 3)],
    *[{"suffix": word[-length:]} for word in WORDS for length in (1, 2, 3)],
    *[{"equals-ignore-case": word} for word in WORDS],
    *[{"prefix": {"equals-ignore-case": word[:2]}} for word in WORDS],
    *[{"suffix": {"equals-ignore-case": word[-2:]}} for word in WORDS],
    *[{"wildcard": f"*{word}*"} for word in WORDS],
    *[{"wildcard": f"{word[0]}*{word[1]}*{word[2]}"} for word in WORDS],
    *[{"wildcard": pattern} for pattern in ("*", "a*", "*y", "abx", "*a*b*", "")],
    *[{"cidr": f"10.{number}.0.0/{bits}"} for number in range(3) for bits in (8, 15, 16, 31)],
    *[{"cidr": f"2001:db8::/{bits}"} for bits in (0, 16, 32, 127)],
    *["10.1.0.1", "::1", {"exactly": "::1"}, {"anything-but": "abx"}, {"anything-but": {"prefix": "a"}}],
    *[{"numeric": ["=", 2**53 + 2]}, 2**53 + 1, 2**63, True, None, 1, {"exists": True}, {"exists": False}],
    {"equals-ignore-case": "äß"},
    {"prefix": {"equals-ignore-case": "ä"}},
    {"prefix": {"equals-ignore-case": "k"}},
]
VALUES: list[Any] = [
    *WORDS,
    *[word.swapcase() for word in WORDS],
    *[
        "",
        "a",
        "--abx--Bcy",
        "abxBcZ",
        "a" * 20_000 + "abx" + "c" * 20_000,
        "a" * 16_383 + "bx",
        "äSS",
        "\u212a",
    ],
    *["10.0.0.1", "10.1.0.1", "10.1.255.255", "10.01.0.1", "11.0.0.1", "2001:db8::7", "::1", "0:0::1", "::"],
    *[True, False, 1, 1.0, 0, 2**53 + 1, 2**53 + 2, 2**63, float(2**63), None, {}, [], {"y": 1}],
    *[["abx", "10.1.0.1"], [{"x": 1}], [["Bcy"]], [None]],
]


@pytest.mark.parametrize("path", ["subject", "data.x", "data.x.y", "exta"])
def test_index_finds_by_every_operator_what_the_rules_match(path: str) -> None:
    rules = {str(one): compile_pattern({path: [one]}) for one in OPERATORS}
    pairs = {
        f"{one}|{other}": compile_pattern({path: [one, other]})
        for one, other in zip(OPERATORS, reversed(OPERATORS), strict=True)
    }
    index = Index({**rules, **pairs})

    for value in VALUES:
        asked = asked_at(path, value)
        if asked is not None:
            assert index.match(asked) == [
                name for name, rule in (rules | pairs).items() if rule.matches(asked)
            ]


def asked_at(path: str, value: Any) -> Event | None:
    match path:
        case "subject":
            return event(subject=value) if isinstance(value, str) else None
        case "data.x":
            return event(data={"x": value})
        case "data.x.y":
            return event(data={"x": [{"y": value}, {"y": "abx"}]})
        case _:
            return event(extensions={"exta": value}) if isinstance(value, str | bool | int) else None


def test_index_files_what_can_be_filed() -> None:
    filed = Index(
        {str(number): compile_pattern({"data": {"x": [one]}}) for number, one in enumerate(OPERATORS)}
    )
    residual = Index(
        {
            "absent": compile_pattern({"subject": [{"exists": False}]}),
            "not": compile_filters([{"not": {"exact": {"type": "a"}}}]),
            "computed": compile_cel("true"),
            "some of it": compile_sql("LENGTH(id) = 1 AND type = 'a'"),
        }
    )

    assert filed.residual == 1  # exists: false
    assert residual.residual == 3


def test_index_of_many_inner_texts_looks_at_what_holds_one() -> None:
    index = Index({word: compile_pattern({"data": {"x": [{"wildcard": f"*{word}*"}]}}) for word in WORDS})

    assert index.match(event(data={"x": "1abx2Bcy3ab"})) == ["abx", "Bcy"]
    assert index.match(event(data={"x": "-" * 40_000 + "acZ"})) == ["acZ"]
    assert index.match(event(data={"x": ["none", "abZ"]})) == ["abZ"]


def test_index_takes_rules_of_every_dialect() -> None:
    index = Index(
        {
            "filters": compile_filters([{"sql": "type LIKE 'ord%'"}, {"suffix": {"source": "op"}}]),
            "pattern": compile_pattern({"data": {"amount": [{"numeric": [">", 4]}]}}),
            "cesql": compile_sql("type IN ('order', 'x') AND NOT EXISTS subject"),
            "cel": compile_cel("data.amount * 2 == 10"),
        }
    )

    assert index.match(event(data={"amount": 5})) == ["filters", "pattern", "cesql", "cel"]
    assert index.match(event(type="x", subject="s", data={"amount": 4})) == []
