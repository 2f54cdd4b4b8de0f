"""Checks and builds the enrichments of an entry: its functions are found and can be called as written."""

from __future__ import annotations

from pathlib import Path

from tidemill.project import mapping
from tidemill.project.durations import parse_duration
from tidemill.project.enrichment import Enrichment
from tidemill.project.entry import Entry, pointer_to
from tidemill.project.functions import FunctionProblem, check_call, load_function
from tidemill.project.trigger_file import EnrichmentForm
from tidemill.project.upcast import Upcasts

__all__ = ["build_enrichments", "enriched_names"]

_ZERO = parse_duration(1) * 0


def enriched_names(entry: Entry) -> list[str]:
    """The names that `$.enriched` has in the entry's templates."""
    written = entry.get("enrich")
    return list(written) if isinstance(written, dict) else []


def build_enrichments(
    entry: Entry, forms: dict[str, EnrichmentForm] | None, *, root: Path, upcasts: Upcasts | None
) -> tuple[Enrichment, ...]:
    """The entry's enrichments, with everything wrong in them noted."""
    found = []
    for name, form in (forms or {}).items():
        at = pointer_to("enrich", name)
        arguments = _arguments(entry, f"{at}/arguments", form, upcasts)
        default = _default(entry, f"{at}/default", form, is_given="default" in form.model_fields_set)
        try:
            function = load_function(root, form.function)
        except FunctionProblem as problem:
            entry.problem(f"{at}/function", str(problem))
            continue
        if reason := check_call(function, form.arguments):
            entry.problem(f"{at}/arguments", f"{form.function!r} cannot be called so: {reason}")
        if arguments is not None:
            found.append(
                Enrichment(
                    name=name,
                    reference=form.function,
                    function=function,
                    arguments=arguments,
                    ttl=_ZERO if form.ttl is None else form.ttl,
                    max_entries=form.max_entries,
                    timeout=form.timeout,
                    default=default,
                )
            )
    return tuple(found)


def _arguments(
    entry: Entry, at: str, form: EnrichmentForm, upcasts: Upcasts | None
) -> mapping.Mapping | None:
    try:
        return mapping.compile_mapping(form.arguments, cast=upcasts.lookup if upcasts else None)
    except mapping.MappingProblem as error:
        for pointer, message in error.problems:
            entry.problem(at + pointer, message)
        return None


def _default(entry: Entry, at: str, form: EnrichmentForm, *, is_given: bool) -> mapping.Template | None:
    if not is_given:
        return None
    try:
        return mapping.compile_template(form.default)
    except mapping.MappingProblem as error:
        for pointer, message in error.problems:
            entry.problem(at + pointer, message)
        return None
