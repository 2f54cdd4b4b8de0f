"""Pictures of DAGs: everything that is not plain is shown, nothing of the user's escapes, the same bytes each time."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tidemill import branch, completion_of, dag, failure_of, task, when
from tidemill.dag.build import build
from tidemill.dag.definition import Dag
from tidemill.dag.edges import EdgeKind
from tidemill.dag.picture import Drawing, Line, Node, dot, drawing_of, mermaid, svg
from tidemill.dag.picture.layout import arrange

NASTY = "</title><script>x()</script>\"'&]]>--\\\x00\n%% %%{init}%%|#`größe"


@task
def load() -> list[int]:
    return []


@task
def one(n: Any = None) -> int:
    return 1


@branch
def choose(n: Any = None) -> str:
    return "left"


def built(body: Callable[[], Any]) -> Dag:
    made = build(dag(dag_id="shapes")(body))
    assert isinstance(made, Dag), made
    return made


@pytest.fixture
def shapes() -> Dag:
    def body() -> None:
        rows = load()
        mapped = one.override(task_id="each").expand(n=rows)
        choice = choose(mapped)
        left, right = one.override(task_id="left")(), one.override(task_id="right")()
        choice >> [left, right]
        joined = one.override(task_id="join", trigger_rule="none_failed_min_one_success")()
        [left, right] >> joined
        failure_of(joined) >> one.override(task_id="repair")()
        completion_of(joined) >> one.override(task_id="report")()
        when(joined, "result > 1") >> one.override(task_id="more")()
        one.override(task_id="clean", teardown=rows)() << joined

    return built(body)


def test_drawing_shows_kinds_rules_and_edges(shapes: Dag) -> None:
    drawing = drawing_of(shapes)

    nodes = {node.name: (node.kind, node.note) for node in drawing.nodes}
    assert nodes["each"] == ("map", "for each n")
    assert nodes["choose"] == ("branch", "branch")
    assert nodes["join"] == ("task", "none_failed_min_one_success")
    assert nodes["clean"][0] == "teardown"
    names = [node.name for node in drawing.nodes]
    lines = {(names[line.above], names[line.below]): (line.kind, line.label) for line in drawing.lines}
    assert lines["join", "repair"] == (EdgeKind.FAILURE, "")
    assert lines["join", "report"] == (EdgeKind.COMPLETION, "")
    assert lines["join", "more"] == (EdgeKind.CONDITION, "result > 1")
    assert lines["load", "each"] == (EdgeKind.SUCCESS, "")


@pytest.mark.parametrize("draw", [svg, mermaid, dot])
def test_every_format_shows_every_task_and_state_and_is_the_same_each_time(
    draw: Callable[[Drawing], str], shapes: Dag
) -> None:
    states = {"load": "succeeded", "each": "running", "right": "skipped"}

    first, again = (draw(drawing_of(shapes, states=states)) for _ in range(2))

    assert first == again
    for node in shapes.tasks:
        assert node.task_id in first
    for word in ("succeeded", "running", "skipped", "none_failed_min_one_success", "failure", "completion"):
        assert word in first


def test_svg_is_xml_without_anything_that_could_run(shapes: Dag) -> None:
    nodes = [Node(name=NASTY, note=NASTY, state="failed"), Node(name="b")]
    drawing = Drawing(
        title=NASTY, nodes=nodes, lines=[Line(above=0, below=1, kind=EdgeKind.CONDITION, label=NASTY)]
    )

    for text in (svg(drawing), svg(drawing_of(shapes))):
        root = ET.fromstring(text)
        tags = {element.tag.rpartition("}")[2] for element in root.iter()}
        assert tags <= {"svg", "title", "defs", "marker", "path", "g", "rect", "text"}
        for element in root.iter():
            assert not [name for name in element.attrib if name.startswith("on") or "href" in name]


def test_mermaid_quotes_whatever_a_text_holds() -> None:
    nodes = [Node(name=NASTY), Node(name="b")]
    drawing = Drawing(
        title="t", nodes=nodes, lines=[Line(above=0, below=1, kind=EdgeKind.CONDITION, label=NASTY)]
    )

    lines = mermaid(drawing).splitlines()

    assert lines[0] == "flowchart LR"
    assert len(lines) == 4
    assert re.fullmatch(r'  t0\["[^"<>&`|]*"\]', lines[1])
    assert re.fullmatch(r'  t0 -\.->\|"[^"<>&`|]*"\| t1', lines[3])


def test_dot_quotes_whatever_a_text_holds() -> None:
    drawing = Drawing(title=NASTY, nodes=[Node(name='a" [color=red]; x -> y\\')], lines=[])

    text = dot(drawing)

    assert '  t0 [label="a\\" [color=red]; x -> y\\\\" shape="box"];' in text
    assert len(text.splitlines()) == 5


def test_layout_puts_each_task_behind_those_above_it_and_none_over_another() -> None:
    lines = [(0, 1), (0, 2), (0, 3), (1, 4), (2, 4), (3, 5), (0, 5), (4, 5)]

    layout = arrange(6, lines)

    assert list(layout.columns) == [0, 1, 1, 1, 2, 3]
    assert all(layout.columns[above] < layout.columns[below] for above, below in lines)
    for column in set(layout.columns):
        heights = sorted(h for c, h in zip(layout.columns, layout.heights, strict=True) if c == column)
        assert all(b - a >= 0.99 for a, b in itertools.pairwise(heights))
    assert [len(passed) for passed in layout.passed] == [0, 0, 0, 0, 0, 1, 2, 0]


def test_layout_uncrosses_what_can_be_uncrossed() -> None:
    layout = arrange(6, [(0, 5), (1, 4), (2, 3)])

    first, second = layout.heights[:3], [layout.heights[5], layout.heights[4], layout.heights[3]]
    assert list(first) == second


def test_chain_is_a_straight_line() -> None:
    assert set(arrange(5, [(n, n + 1) for n in range(4)]).heights) == {0.0}


def test_large_graphs_are_drawn_in_little_time() -> None:
    size = 1000
    lines = [(above, below) for below in range(1, size) for above in {below // 2, max(0, below - 7)}]
    drawing = Drawing(
        title="large",
        nodes=[Node(name=f"t{n}") for n in range(size)],
        lines=[Line(above=above, below=below) for above, below in lines if above < below],
    )

    assert svg(drawing).count("<rect") == size


def test_nothing_can_be_drawn() -> None:
    for draw in (svg, mermaid, dot):
        assert draw(Drawing(title="empty", nodes=[], lines=[]))
