"""What does a request wish for, besides its tensors?

Parameters of a request, each checked for its type; one that is unknown is refused, as a misspelt wish that is silently
not granted would be believed. `timeout` and `priority` mean what they mean in Triton.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from perigrid.errors import DataError

ITEMS = "items"
"""The parameter of a gateway's request that says how many items it has computed."""

DEFAULT_PRIORITY = 10
"""Triton's 0 means this."""

LAST_PRIORITY = 20
"""The least urgent, which is what shards of jobs have; larger numbers mean this one."""

LONGEST_WAIT_S = 1e8
"""A deadline that is further off than three years is none."""

US_PER_S = 1e6
SEQUENCE = ("sequence_id", "sequence_start", "sequence_end")
TRACING = ("traceparent", "tracestate")
"""The W3C's trace context, which may come with any request."""

STREAMING = ("triton_enable_empty_final_response",)
"""What tritonclient adds to the requests of a stream; each has one response, which says that it is the final one."""

KNOWN = ("due_s", "priority", "timeout", ITEMS)
"""Of a worker's requests."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a worker's request asks for: due in emulated seconds, priority from 1, a limit in seconds of the wall."""

    due_s: float
    priority: int
    timeout_s: float


NO_WISHES = Wishes(math.inf, DEFAULT_PRIORITY, math.inf)


def read_wishes(parameters: Any) -> Wishes:
    """A worker's request parameters; DataError for what is no such thing."""
    if not parameters:
        return NO_WISHES
    check_known(parameters, KNOWN)
    timeout_us = whole_number(parameters, "timeout")
    return Wishes(
        read_due(parameters),
        priority_of(whole_number(parameters, "priority")),
        seconds_of(timeout_us / US_PER_S) if timeout_us else math.inf,
    )


def check_known(parameters: Any, known: Collection[str]) -> None:
    """DataError for a parameter that is not known, and for those of sequences."""
    for key in parameters:
        if key in SEQUENCE:
            raise DataError(
                f"the parameter {key}: no state is kept between requests, so there are no sequences; give a stateful "
                "model its state as an input, and take the next one from its outputs"
            )
        if key not in known and key not in TRACING and key not in STREAMING:
            raise DataError(f"the parameter {key!r} is unknown here: there are {', '.join(known)}")


def read_due(parameters: Any) -> float:
    """The request parameter `due_s`, emulated seconds; infinite when not given, DataError for no number."""
    if "due_s" not in parameters:
        return math.inf
    parameter = parameters["due_s"]
    kind = parameter.WhichOneof("parameter_choice")
    if kind not in ("double_param", "int64_param", "uint64_param"):
        raise DataError("the parameter due_s is no number: send it as double_param, in seconds")
    due_s = float(getattr(parameter, kind))
    if math.isnan(due_s):
        raise DataError("the parameter due_s is NaN: send the seconds at which the answer is due, or leave it out")
    return due_s


def priority_of(given: int | None) -> int:
    """Triton's number as a rank from 1, the most urgent, to LAST_PRIORITY."""
    return min(given, LAST_PRIORITY) if given else DEFAULT_PRIORITY


def seconds_of(limit_s: float | None) -> float:
    """A limit as it is, infinite for none; gRPC says centuries for a call without a deadline."""
    return math.inf if limit_s is None or limit_s > LONGEST_WAIT_S else limit_s


def text(parameters: Any, key: str) -> str | None:
    """A parameter of text; None where it is not given, DataError for any other kind."""
    if key not in parameters:
        return None
    if parameters[key].WhichOneof("parameter_choice") != "string_param":
        raise DataError(f"the parameter {key} is no text: send it as string_param")
    return str(parameters[key].string_param)


def whole_number(parameters: Any, key: str) -> int | None:
    """A parameter from 0 on; None where it is not given, DataError for any other kind."""
    if key not in parameters:
        return None
    kind = parameters[key].WhichOneof("parameter_choice")
    value = getattr(parameters[key], kind) if kind in ("int64_param", "uint64_param") else -1
    if value < 0:
        raise DataError(f"the parameter {key} is no whole number from 0 on: send it as int64_param or uint64_param")
    return int(value)
