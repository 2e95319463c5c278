"""How is perigrid's worker started alone, as it is in a constellation?

    perigrid_server.py ADDRESS HTTP_ADDRESS NAME=FILE...

ADDRESS is gRPC's, for instance unix:/tmp/worker; a model whose name is the manifest's is taken from there. The same
worker answers HTTP at HTTP_ADDRESS, for instance 127.0.0.1:18181.
"""

from __future__ import annotations

import os
import sys

from perigrid.live.models import ModelStore
from perigrid.live.pipeline import LoadedModel, load_model
from perigrid.live.serving import web
from perigrid.live.worker import OpenGate, Worker, serve


def main() -> None:
    """Serve until the standard input ends."""
    address, http_address, *named = sys.argv[1:]
    store, models = ModelStore(), dict[str, LoadedModel]()
    for name, path in (one.split("=", 1) for one in named):
        models[name] = load_model(store, name if store.knows(name) else path)
    worker = Worker("serving", models, None, OpenGate(), slots=os.cpu_count() or 1)
    server, front = serve(address, worker), web.start(http_address, worker)
    print("ready", address, flush=True)
    sys.stdin.read()
    front.stop()
    server.stop(None)


if __name__ == "__main__":
    main()
