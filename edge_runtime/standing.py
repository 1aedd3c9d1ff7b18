"""How the node stands beside its counters, for whoever looks at the page: broker, outbox, camera, temperature."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edge_runtime.health import board_temperature_c

if TYPE_CHECKING:
    from edge_runtime.pipeline import Pipeline
    from edge_runtime.publishing.desk import EventDesk
    from edge_runtime.publishing.presence import Presence


def standing(desk: EventDesk, pipeline: Pipeline, presence: Presence | None) -> dict[str, Any]:
    """What is so now, as JSON.

    Returns:
        `broker`: its `name`, without secrets, and the `trouble` with it (None: it is connected), or None: there is no
        broker; `events_waiting`: those it has not acknowledged; `tamper`: what is wrong with the camera, None: nobody
        watches for that; `temperature_c`: the board's, or None.
    """
    return {
        "broker": None if presence is None else {"name": presence.broker, "trouble": presence.trouble},
        "events_waiting": desk.waiting,
        "tamper": pipeline.tampered,
        "temperature_c": board_temperature_c(),
    }
