"""Moments as Kubernetes writes them. In that form they sort like the times that they stand for."""

from __future__ import annotations

from datetime import UTC, datetime


def timestamp(moment: datetime) -> str:
    """A moment in the form that Kubernetes uses."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_timestamp(text: str) -> datetime:
    """The moment that `timestamp` or Kubernetes has written."""
    return datetime.fromisoformat(text)
