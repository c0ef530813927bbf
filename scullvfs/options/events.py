"""The events that a mount can trace, by name: what a TAB offers without asking a mount."""

from __future__ import annotations

from scullvfs.mm import trace_events as machine
from scullvfs.scull import trace_events as drivers

__all__ = ["event_names"]


def event_names() -> list[str]:
    """The subsystems, then SUBSYSTEM:EVENT of each."""
    events = (*machine.EVENTS, *drivers.EVENTS)
    names = [f"{event.system}:{event.name}" for event in events]
    return [*dict.fromkeys(event.system for event in events), *names]
