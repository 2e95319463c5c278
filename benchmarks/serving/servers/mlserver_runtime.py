"""How does mlserver run an ONNX model? A custom runtime, as its documentation has them."""

from __future__ import annotations

from common import session
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class OnnxModel(MLModel):
    """One model, its names in the settings."""

    async def load(self) -> bool:
        self._session = session(self.settings.parameters.uri)
        self._names = self.settings.parameters.extra
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        array = NumpyCodec.decode_input(payload.inputs[0])
        found = self._session.run(None, {self._names["input"]: array})[0]
        outputs = [NumpyCodec.encode_output(self._names["output"], found)]
        return InferenceResponse(model_name=self.name, id=payload.id, outputs=outputs)
