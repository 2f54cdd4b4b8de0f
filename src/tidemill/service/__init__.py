"""The composition root: builds the stages, starts them in order, stops them in reverse."""

from tidemill.service.service import Service

__all__ = ["Service"]
