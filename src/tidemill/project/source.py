"""Builds the sources of a definition file: webhooks, watched folders, Kafka topics."""

from __future__ import annotations

import re
from pathlib import Path

from tidemill.events import lifecycle
from tidemill.project import mapping
from tidemill.project.entry import Entry, pointer_to
from tidemill.project.locations import leads_out, locate
from tidemill.project.model import FileSource, KafkaSource, SourceSpec, WebhookSource
from tidemill.project.secrets import build_secret, check_secret
from tidemill.project.structure import check_choice, check_structure
from tidemill.project.trigger_file import FilesForm, KafkaForm, SourceEntry, WebhookForm

__all__ = ["build_source"]

#: CloudEvents attribute names (section 3.1), of a length that fits a header and a column.
_ATTRIBUTE = re.compile(r"[a-z0-9]{1,64}\Z")
_SET_BY_US = {"specversion": "is always 1.0", "data": "stands beside event, not in it"}


def build_source(entry: Entry, root: Path) -> SourceSpec | None:
    """The entry's source; None when something is wrong with it, with every problem noted."""
    before = len(entry.problems)
    form = check_structure(entry, SourceEntry)
    check_choice(entry, "webhook", "files", "kafka")
    attributes, data = _webhook_templates(entry)
    _check_folder(entry)
    for kind in ("files", "kafka"):
        _check_type(entry, f"/{kind}/type", entry.get(kind, "type"))
    if form is None or len(entry.problems) > before:
        return None
    if form.webhook is not None and attributes is not None:
        return _webhook(entry, form.webhook, attributes, data)
    if form.files is not None:
        return _files(entry, form.files, root)
    if form.kafka is not None:
        return _kafka(entry, form.kafka)
    return None


def _webhook(
    entry: Entry, form: WebhookForm, attributes: mapping.Mapping, data: mapping.Template | None
) -> WebhookSource:
    default = {"source": mapping.compile_template(f"/webhooks/{entry.name}", root="request")}
    secrets = form.secrets or ([form.secret] if form.secret else [])
    return WebhookSource(
        name=entry.name,
        attributes={**default, **attributes.templates},
        data=data,
        secrets=tuple(build_secret(secret) for secret in secrets),
        file=entry.file,
        line=entry.line,
    )


def _files(entry: Entry, form: FilesForm, root: Path) -> FileSource:
    return FileSource(
        name=entry.name,
        path=locate(root, form.path),
        include=tuple(form.include),
        exclude=tuple(form.exclude),
        complete=form.complete,
        quiet=form.quiet,
        marker=form.marker,
        event_type=form.type or lifecycle.Type.FILE_LANDED.value,
        event_source=form.source or f"/tidemill/files/{entry.name}",
        file=entry.file,
        line=entry.line,
    )


def _kafka(entry: Entry, form: KafkaForm) -> KafkaSource:
    return KafkaSource(
        name=entry.name,
        topics=tuple(form.topics),
        group=form.group,
        start=form.start,
        event_type=form.type,
        file=entry.file,
        line=entry.line,
    )


def _webhook_templates(entry: Entry) -> tuple[mapping.Mapping | None, mapping.Template | None]:
    """The compiled attributes and data of a webhook, with everything wrong in them noted."""
    attributes = data = None
    event = entry.get("webhook", "event")
    if isinstance(event, dict):
        _check_attributes(entry, event)
        try:
            attributes = mapping.compile_mapping(event, root="request")
        except mapping.MappingProblem as error:
            _note(entry, "/webhook/event", error)
        else:
            _check_constants(entry, attributes)
    if (written := entry.get("webhook", "data")) is not None:
        try:
            data = mapping.compile_template(written, root="request")
        except mapping.MappingProblem as error:
            _note(entry, "/webhook/data", error)
    if isinstance(entry.get("webhook"), dict):
        _check_secrets(entry)
    return attributes, data


def _check_attributes(entry: Entry, event: dict[str, object]) -> None:
    if event.get("type") is None:
        entry.problem("/webhook/event", "'type' is missing: every event has a type")
    for name, value in event.items():
        at = pointer_to("webhook", "event", name)
        if name in _SET_BY_US:
            entry.problem(at, f"{name!r} {_SET_BY_US[name]}")
        elif not _ATTRIBUTE.match(name):
            entry.problem(at, f"{name!r} is no attribute name: lower-case letters and digits only")
        if _has_parts(value) or (value is None and name != "type"):
            entry.problem(
                at, f"{name!r} must be text, a whole number or true/false: an attribute has no parts"
            )
    _check_type(entry, "/webhook/event/type", event.get("type"))


def _has_parts(value: object) -> bool:
    """Whether a template's value is never a CloudEvents attribute value (section 3.1)."""
    if isinstance(value, dict):
        return set(value) != {"path", "default"}
    return isinstance(value, list | float)


def _check_constants(entry: Entry, attributes: mapping.Mapping) -> None:
    for name in ("id", "type", "source"):
        template = attributes.templates.get(name)
        if template is None or not template.is_constant:
            continue
        if name == "id":
            entry.problem(
                "/webhook/event/id", "'id' must come from the request: a constant makes all events one"
            )
        elif not isinstance(template.written, str) or not template.written:
            entry.problem(f"/webhook/event/{name}", f"{name!r} must be text and not empty")


def _check_secrets(entry: Entry) -> None:
    if entry.get("webhook", "secret") is not None and entry.get("webhook", "secrets") is not None:
        entry.problem(
            "/webhook/secrets", "secret and secrets exclude each other; write all of them as secrets"
        )
    check_secret(entry, "/webhook/secret", entry.get("webhook", "secret"))
    for at, secret in entry.items("webhook", "secrets"):
        check_secret(entry, at, secret)


def _check_folder(entry: Entry) -> None:
    path = entry.get("files", "path")
    if isinstance(path, str) and leads_out(path):
        entry.problem(
            "/files/path", "the folder leads out of the project; write it absolute if that is meant"
        )


def _check_type(entry: Entry, at: str, written: object) -> None:
    if isinstance(written, str) and written.startswith(lifecycle.RESERVED_PREFIX):
        entry.problem(
            at, f"types that begin with {lifecycle.RESERVED_PREFIX} are Tidemill's own; choose another"
        )


def _note(entry: Entry, at: str, error: mapping.MappingProblem) -> None:
    for pointer, message in error.problems:
        entry.problem(at + pointer, message)
