"""A DAG as a picture: SVG, Mermaid and DOT. Pure; the same graph gives the same bytes."""

from __future__ import annotations

from tidemill.dag.picture.dot import dot
from tidemill.dag.picture.drawing import Drawing, Line, Node, drawing_of
from tidemill.dag.picture.mermaid import mermaid
from tidemill.dag.picture.svg import svg

__all__ = ["Drawing", "Line", "Node", "dot", "drawing_of", "mermaid", "svg"]
