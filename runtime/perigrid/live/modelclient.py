"""How does a program outside the orbit bring models up, and ask where they are?"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any

import grpc
import msgspec

from perigrid.errors import NotRunning, UsageError
from perigrid.live.clients import CALL_TIMEOUT_S, CHANNEL_OPTIONS, REFUSALS
from perigrid.live.modelservice import ModelTable
from perigrid.live.rundir import RunDirectory
from perigrid.wire.generated import models_pb2 as protocol
from perigrid.wire.generated import models_pb2_grpc as protocol_grpc


class ModelClient:
    """A client of a run's model service. One thread at a time may use it.

    Every method raises UsageError for what is refused, NotRunning where the ground does not answer.
    """

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self._channel = grpc.insecure_channel(run.read().jobs, options=CHANNEL_OPTIONS)
        self._stub: Any = protocol_grpc.ModelServiceStub(self._channel)  # type: ignore[no-untyped-call]

    def __enter__(self) -> ModelClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()

    def push(self, sha256: str, satellites: Sequence[str], pinned: bool) -> ModelTable:
        """Order a model up that lies on the ground; on all satellites where none is named."""
        return self._ask(
            self._stub.Push, protocol.PushModelRequest(sha256=sha256, satellites=satellites, pinned=pinned)
        )

    def table(self, rehash: bool = False) -> ModelTable:
        """Where the models are, as far as the ground knows; with `rehash` every satellite looks at its own again."""
        return self._ask(self._stub.List, protocol.ListModelsRequest(rehash=rehash))

    def _ask(self, method: Any, request: Any) -> ModelTable:
        try:
            answer = method(request, timeout=CALL_TIMEOUT_S, wait_for_ready=True)
        except grpc.RpcError as error:
            if error.code() in REFUSALS:
                raise UsageError(str(error.details())) from error
            raise NotRunning(
                f"the ground of {self._run.name!r} does not answer ({error.code().name}); look at `perigrid status`."
            ) from error
        return msgspec.json.decode(answer.json, type=ModelTable)
