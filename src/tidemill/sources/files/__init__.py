"""Files as a source: a watched folder becomes events, one per settled version of a file."""

from tidemill.sources.files.source import FileSourceStage

__all__ = ["FileSourceStage"]
