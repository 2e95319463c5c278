"""perigrid: an orbital edge-compute runtime on a desk.

Real processes, real ONNX inference behind gRPC, ZeroMQ buses that carry the light-speed delay, the bandwidth and the
outages of laser links, and a ground controller that shards jobs over the mesh and gets every result exactly once.

    import perigrid

    with perigrid.launch("three-body-12") as c:
        result = c.run(model="tinycloud")

What is named in HOMES is imported when it is asked for (PEP 562), so that `import perigrid` costs nothing;
`__init__.pyi` says the same to type checkers.
"""

import importlib

__version__ = "0.1.0"

HOMES = {
    "launch": "perigrid.app.api",
    "attach": "perigrid.app.api",
    "assert_exactly_once": "perigrid.app.exactly_once",
    "Constellation": "perigrid.app.handles",
    "Status": "perigrid.app.handles",
    "Why": "perigrid.app.handles",
    "Job": "perigrid.app.job_handle",
    "JobResult": "perigrid.app.results",
    "ShardResult": "perigrid.app.results",
    "TileResult": "perigrid.app.results",
    "Inference": "perigrid.app.inference_client",
    "InferenceClient": "perigrid.app.inference_client",
    "ModelMetadata": "perigrid.app.inference_client",
    "open_sky": "perigrid.app.sky.view",
    "Sky": "perigrid.app.sky.view",
    "Scenario": "perigrid.scenario.model",
    "DataSource": "perigrid.scenario.model",
    "PerigridError": "perigrid.errors",
    "UsageError": "perigrid.errors",
    "ScenarioError": "perigrid.errors",
    "DataError": "perigrid.errors",
    "ModelError": "perigrid.errors",
    "EnvironmentProblem": "perigrid.errors",
    "NotRunning": "perigrid.errors",
    "NameInUse": "perigrid.errors",
    "MissingFile": "perigrid.errors",
    "CorruptFile": "perigrid.errors",
    "JobFailed": "perigrid.errors",
    "LinkBroken": "perigrid.errors",
    "ProtocolError": "perigrid.errors",
    "Bug": "perigrid.errors",
}
"""Each public name with the module that has it."""

__all__ = list(HOMES)


def __getattr__(name: str) -> object:
    if name not in HOMES:
        raise AttributeError(f"module 'perigrid' has no attribute {name!r}")
    value: object = getattr(importlib.import_module(HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *HOMES})
