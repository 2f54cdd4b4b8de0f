"""Results as the arguments of tasks: decoded by the serializer of the task that made them; never a reference. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson

from tidemill.runs.claims import claim_in
from tidemill.runs.output import Results

__all__ = ["DecodedResults", "GivenResults", "ResultElsewhere"]


class ResultElsewhere(Exception):  # noqa: N818 - whoever makes the arguments has the result fetched
    """The result of the task at `index` is kept elsewhere."""

    def __init__(self, index: int) -> None:
        self.index = index
        super().__init__(f"the result of task {index} is kept elsewhere")


class GivenResults(Results):
    """Results of tasks by index; raises `ResultElsewhere` for one that is a reference."""

    __slots__ = ("_decoders",)

    def __init__(self, texts: dict[int, bytes], decoders: Mapping[int, Callable[[Any], Any]] | None) -> None:
        """`decoders` make values of decoded JSON, by index of the task; None where no task needs one."""
        super().__init__(texts)
        self._decoders = decoders

    def __getitem__(self, index: int) -> Any:
        text = self._texts.get(index)
        if text is None:
            return None
        value = orjson.loads(text)
        if type(value) is dict and "$claim" in value and claim_in(value) is not None:
            raise ResultElsewhere(index)
        if self._decoders is not None and index in self._decoders:
            return self._decoders[index](value)
        return value


class DecodedResults(Mapping[int, Any]):
    """Results that were decoded from JSON already, as the values that the tasks returned."""

    __slots__ = ("_decoders", "_results")

    def __init__(self, results: Any, decoders: Mapping[int, Callable[[Any], Any]]) -> None:
        self._results = results
        self._decoders = decoders

    def __getitem__(self, index: int) -> Any:
        decode = self._decoders.get(index)
        value = self._results[index]
        return value if decode is None else decode(value)

    def __iter__(self) -> Iterator[int]:
        return iter(self._results)

    def __len__(self) -> int:
        return len(self._results)
