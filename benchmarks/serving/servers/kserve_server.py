"""kserve: its model server with a model class of ours. `kserve_server.py PORT NAME=FILE=IN=OUT...`

It listens on all addresses, so it is only run in a network of its own.
"""

from __future__ import annotations

import logging
import sys

from common import given, session, tell_when

PORT, MODELS = given()
sys.argv[1:] = []

from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer  # noqa: E402


class OnnxModel(Model):
    """One model."""

    def __init__(self, name: str, path: str, put: str, got: str) -> None:
        super().__init__(name)
        self._put, self._got = put, got
        self._session = session(path)
        self.ready = True

    def predict(self, payload: InferRequest, headers=None, response_headers=None) -> InferResponse:  # type: ignore
        found = self._session.run(None, {self._put: payload.inputs[0].as_numpy()})[0]
        output = InferOutput(name=self._got, shape=list(found.shape), datatype="FP32")
        output.set_data_from_numpy(found, binary_data=True)
        return InferResponse(response_id=payload.id or "1", model_name=self.name, infer_outputs=[output])


if __name__ == "__main__":
    logging.disable(logging.INFO)
    tell_when(PORT)
    server = ModelServer(http_port=PORT + 1, grpc_port=PORT, enable_grpc=True, enable_latency_logging=False)
    server.start([OnnxModel(*one) for one in MODELS])
