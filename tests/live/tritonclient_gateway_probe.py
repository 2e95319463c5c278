"""Does an unmodified tritonclient, synchronous and asyncio, work against the gateway? A script, run by the Python of a
virtual environment of its own.

tritonclient wants another protobuf than perigrid, so no test imports it. Usage: tritonclient_gateway_probe.py <address>
<folder>; the folder holds inputs and outputs to expect as .npy files.

It reads a command a line, and writes what came of it, both as JSON. `{"n": 1, "checks": "aio"}` makes all checks with
that client; `{"n": 2, "way": ..., "model": ..., "inputs": {name: file}}` makes one inference, and `{"cancel": 2}` gives
it up. Ways are "sync", "callback" (the synchronous client's own concurrency) and "aio".
"""

import asyncio
import hashlib
import json
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException
from tritonclient_table import (
    Arrays,
    Asker,
    check_models,
    check_no_device,
    check_server,
    check_statistics,
    check_stream,
    tensor,
)

STAGES = ("uplink_s", "lasers_s", "queue_s", "inference_s", "downlink_s", "waiting_s")
RATE, SERVICE_S = 0.25, 0.02
"""The constellation's clock, and what an item takes in orbit."""


async def check_metadata(ask: Asker) -> None:
    """What is said of models of the user's own."""
    for model, ready in (("mine", True), ("mine.tiles", True)):
        assert await ask("is_model_ready", model) is ready
    own = await ask("get_model_metadata", "mine.tiles")
    assert [(i.name, list(i.shape)) for i in own.inputs] == [("tiles", [-1, -1])]
    index = await ask("get_model_repository_index")
    assert {"mine", "mine.tiles", "tinycloud.mask"} <= {m.name for m in index.models if m.state == "READY"}


async def check_what_is_not_in_orbit(ask: Asker) -> None:
    """Shared memory, loading and unloading: what would do nothing is fine, the rest says why not and what to do."""
    assert not (await ask("get_system_shared_memory_status")).regions
    await ask("unregister_system_shared_memory")
    assert "orbit" in await ask.expect("UNIMPLEMENTED", "register_system_shared_memory", "given", "given", 8)
    await ask("load_model", "mine")
    assert "perigrid model push" in await ask.expect("UNIMPLEMENTED", "load_model", "nothing")
    assert "satellite's own worker" in await ask.expect("UNIMPLEMENTED", "unload_model", "mine")


async def check_inference(ask: Asker, arrays: Arrays) -> None:
    """Outputs equal to the bare model's bit for bit, in each form, and the parameters that come with them."""
    answer = await ask("infer", "tinycloud", [tensor("input", arrays["tile"])], request_id="seven")
    assert answer.as_numpy("output").tobytes() == arrays["scores"].tobytes()
    response = answer.get_response()
    assert (response.id, response.model_name, response.model_version) == ("seven", "tinycloud", "1")
    check_parameters(response.parameters)

    inputs = [tensor("capture", arrays["capture"]), tensor("windows", arrays["windows"])]
    answer = await ask("infer", "tinycloud.mask", inputs, outputs=[triton.InferRequestedOutput("mask")])
    assert answer.as_numpy("mask").tobytes() == arrays["mask"].tobytes()
    assert answer.get_response().parameters["inference_s"].double_param > 2.5 * SERVICE_S, "three windows"

    tiles = [tensor("tiles", arrays["stack"])]
    answer = await ask("infer", "mine.tiles", tiles)
    assert answer.as_numpy("scaled").tobytes() == arrays["scaled"].tobytes()
    assert answer.as_numpy("shifted").tobytes() == arrays["shifted"].tobytes()
    answer = await ask("infer", "mine.tiles", tiles, outputs=[triton.InferRequestedOutput("shifted")])
    assert [o.name for o in answer.get_response().outputs] == ["shifted"]
    assert answer.as_numpy("shifted").tobytes() == arrays["shifted"].tobytes()

    # Typed contents instead of raw ones, as clients in other languages send them.
    row = arrays["stack"][:1]
    typed = triton.InferInput("x", list(row.shape), "FP32")
    typed._input.contents.fp32_contents.extend(row.ravel().tolist())
    answer = await ask("infer", "mine", [typed])
    assert answer.as_numpy("shifted").tobytes() == arrays["shifted"][:1].tobytes()


def check_parameters(parameters: Any) -> None:
    """Where it was computed, and where its time went."""
    assert parameters["satellite"].string_param.startswith("sat-")
    assert parameters["hops"].int64_param >= 2 and parameters["attempt"].int64_param == 1
    assert parameters["rate"].double_param == RATE
    stages = {name: parameters[name].double_param for name in STAGES}
    assert abs(sum(stages.values()) - parameters["total_s"].double_param) < 1e-9
    assert stages["uplink_s"] > 0 and stages["downlink_s"] > 0 and stages["inference_s"] >= SERVICE_S - 1e-9
    assert parameters["cpu_s"].double_param > 0 and "desk_wait_s" in parameters


async def check_wishes(ask: Asker, arrays: Arrays) -> None:
    """Request parameters choose satellite, placement, priority and deadline."""
    inputs = [tensor("x", arrays["stack"][:1])]

    async def where(**named: Any) -> str:
        return (await ask("infer", "mine", inputs, **named)).get_response().parameters["satellite"].string_param

    assert await where(parameters={"satellite": "sat-07"}) == "sat-07"
    assert await where(parameters={"satellite": "SAT-12", "placement": "nearest"}) == "sat-12"
    assert await where(parameters={"placement": "nearest"}) == "sat-01"
    assert (
        await where(parameters={"placement": "balanced"}, priority=1, timeout=30_000_000, client_timeout=30) == "sat-01"
    )
    assert await where(priority=0, timeout=0) == "sat-01"
    long = [tensor("tiles", np.ones((100, 4), np.float32))]
    said = await ask.expect("DEADLINE_EXCEEDED", "infer", "mine.tiles", long, timeout=100_000)
    assert "0.1" in said and "emulated" in said
    await ask.expect("DEADLINE_EXCEEDED", "infer", "mine.tiles", long, client_timeout=0.3)


async def check_refusals(ask: Asker, arrays: Arrays) -> None:
    """The status codes of what cannot be."""
    tile = arrays["tile"]
    whole, row = [tensor("input", tile)], [tensor("x", arrays["stack"][:1])]
    await ask.expect("NOT_FOUND", "infer", "nothing", whole)
    await ask.expect("NOT_FOUND", "infer", "tinycloud", whole, model_version="2")
    outside = [tensor("capture", arrays["capture"]), tensor("windows", arrays["windows"] - 1)]
    wrong = [
        ("tinycloud", [tensor("input", np.ascontiguousarray(tile[:, :3]))], {}, "shape"),
        ("tinycloud", [tensor("input", tile.astype(np.float64))], {}, "FP64"),
        ("tinycloud", [tensor("image", tile)], {}, "image"),
        ("tinycloud", whole, {"outputs": [triton.InferRequestedOutput("nothing")]}, "nothing"),
        ("mine", row, {"parameters": {"colour": "red"}}, "colour"),
        ("mine", row, {"parameters": {"satellite": "sat-99"}}, "sat-99"),
        ("mine", row, {"parameters": {"satellite": "below"}}, "below is no satellite"),
        ("mine", row, {"parameters": {"satellite": 7}}, "no text"),
        ("mine", row, {"parameters": {"placement": "far"}}, "far"),
        ("mine", row, {"timeout": -1}, "timeout"),
        ("mine", row, {"sequence_id": 5}, "sequence"),
        # These the satellite's worker refuses; no other would take them.
        ("mine", [tensor("x", arrays["stack"][:2])], {}, "batch"),
        ("tinycloud.mask", outside, {}, "row -1"),
    ]
    for model, inputs, named, match in wrong:
        said = await ask.expect("INVALID_ARGUMENT", "infer", model, inputs, **named)
        assert match in said, f"{match!r} is not in {said!r}"
    shared = triton.InferInput("input", list(tile.shape), "FP32")
    shared.set_shared_memory("given", tile.nbytes)
    assert "shared memory" in await ask.expect("INVALID_ARGUMENT", "infer", "tinycloud", [shared])


class Probe:
    """Does what the commands say, several at a time."""

    def __init__(self, address: str, folder: Path) -> None:
        self._folder = folder
        self._clients = {
            "sync": triton.InferenceServerClient(address),
            "aio": triton_aio.InferenceServerClient(address),
        }
        self._cancels: dict[int, Any] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            command = json.loads(line)
            if "cancel" in command:
                self._cancels.pop(command["cancel"])()
                continue
            task = asyncio.create_task(self._do(command))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            if "checks" not in command:
                self._cancels[command["n"]] = task.cancel

    async def _do(self, command: dict[str, Any]) -> None:
        found: dict[str, Any]
        try:
            found = await (self._check(command["checks"]) if "checks" in command else self._infer(command))
        except InferenceServerException as error:
            found = {"status": str(error.status()).removeprefix("StatusCode."), "said": error.message()}
        except asyncio.CancelledError:
            found = {"status": "CANCELLED"}
        except Exception:
            found = {"status": "BROKEN", "said": traceback.format_exc()}
        print(json.dumps({"n": command["n"], **found}), flush=True)

    async def _check(self, way: str) -> dict[str, Any]:
        arrays = {path.stem: np.load(path) for path in self._folder.glob("*.npy")}
        ask = Asker(self._clients[way])
        await check_server(ask, "perigrid gateway")
        await check_models(ask)
        await check_metadata(ask)
        await check_inference(ask, arrays)
        row = [tensor("x", arrays["stack"][:1])]
        await check_statistics(ask, "mine", row, compute_ns=round(0.9e9 * SERVICE_S))
        expected = {name: arrays[name] for name in ("scaled", "shifted")}
        await check_stream(ask, "mine", arrays["stack"], expected)
        await check_no_device(ask)
        await check_what_is_not_in_orbit(ask)
        await check_wishes(ask, arrays)
        await check_refusals(ask, arrays)
        return {"status": "OK"}

    async def _infer(self, command: dict[str, Any]) -> dict[str, Any]:
        inputs = [tensor(name, np.load(self._folder / file)) for name, file in command["inputs"].items()]
        client, named = self._clients["aio" if command["way"] == "aio" else "sync"], command.get("named", {})
        if command["way"] == "aio":
            answer = await client.infer(command["model"], inputs, **named)
        elif command["way"] == "sync":
            answer = await asyncio.to_thread(client.infer, command["model"], inputs, **named)
        else:
            answer = await self._called_back(command["n"], client, command["model"], inputs, named)
        response = answer.get_response()
        parameters = {k: getattr(v, v.WhichOneof("parameter_choice")) for k, v in response.parameters.items()}
        digests = {o.name: hashlib.sha256(answer.as_numpy(o.name).tobytes()).hexdigest() for o in response.outputs}
        return {"status": "OK", "parameters": parameters, "sha256": digests}

    async def _called_back(self, number: int, client: Any, model: str, inputs: list[Any], named: dict[str, Any]) -> Any:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[Any] = loop.create_future()

        def end(result: Any, error: Any) -> None:
            if error is None:
                loop.call_soon_threadsafe(ended.set_result, result)
            else:
                loop.call_soon_threadsafe(ended.set_exception, error)

        self._cancels[number] = client.async_infer(model, inputs, end, **named).cancel
        return await ended


async def main() -> None:
    """Do what standard input says, until it ends."""
    await Probe(sys.argv[1], Path(sys.argv[2])).run()


if __name__ == "__main__":
    asyncio.run(main())
