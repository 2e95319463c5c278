"""What are the messages about models as bytes? A part of the codec; the rest is in `codec.py`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import get_args

from perigrid.errors import ProtocolError
from perigrid.node.frames import (
    Body,
    ModelAsk,
    ModelHave,
    ModelOffer,
    ModelPiece,
    ModelQuery,
    ModelState,
    ModelStateWord,
)
from perigrid.node.manifest import DIGEST_BYTES, MAX_NAMED_SATELLITES, MAX_PIECES, Manifest, Order
from perigrid.units import NodeId
from perigrid.wire.generated import link_pb2

MAX_CAUSE_LENGTH = 1024
STATES: dict[str, ModelStateWord] = {word: word for word in get_args(ModelStateWord)}


def encode_model_body(message: link_pb2.Frame, body: Body) -> None:
    """Put a body about a model into a frame's message."""
    match body:
        case ModelOffer(order, root):
            message.model_offer.CopyFrom(_offer(order, root))
        case ModelHave(model, serial, pieces):
            message.model_have.CopyFrom(link_pb2.ModelHave(model=model, serial=serial, pieces=pieces))
        case ModelAsk(model, asked, order, doubted):
            message.model_ask.CopyFrom(link_pb2.ModelAsk(model=model, pieces=asked, order=order, doubted=doubted))
        case ModelPiece(model, index):
            message.model_piece.CopyFrom(link_pb2.ModelPiece(model=model, index=index))
        case ModelQuery(model, rehash):
            message.model_query.SetInParent()
            message.model_query.model, message.model_query.rehash = model, rehash
        case ModelState():
            message.model_state.CopyFrom(
                link_pb2.ModelState(
                    model=body.model,
                    state=body.state,
                    pieces=body.pieces,
                    rehashed_sky_s=body.rehashed_sky_s,
                    cause=body.cause[:MAX_CAUSE_LENGTH],
                    found=body.found,
                )
            )


def _offer(order: Order, root: bool) -> link_pb2.ModelOffer:
    manifest = order.manifest
    return link_pb2.ModelOffer(
        manifest=link_pb2.Manifest(
            name=manifest.name,
            digest=manifest.digest,
            length=manifest.length,
            piece_bytes=manifest.piece_bytes,
            pieces=b"".join(manifest.pieces),
            entry=manifest.entry,
        ),
        serial=order.serial,
        targets=order.targets,
        carriers=order.carriers,
        pinned=order.pinned,
        root=root,
        refused=order.refused,
    )


def _read_offer(message: link_pb2.ModelOffer) -> ModelOffer:
    said = message.manifest
    if len(said.pieces) > DIGEST_BYTES * MAX_PIECES:
        raise ProtocolError(f"a manifest with {len(said.pieces)} bytes of hashes: the limit is {MAX_PIECES} pieces")
    if len(message.targets) + len(message.carriers) > MAX_NAMED_SATELLITES:
        raise ProtocolError(f"an order that names more than {MAX_NAMED_SATELLITES} satellites")
    hashes = tuple(said.pieces[at : at + DIGEST_BYTES] for at in range(0, len(said.pieces), DIGEST_BYTES))
    manifest = Manifest(said.name, said.digest, said.length, said.piece_bytes, hashes, said.entry)
    manifest.check()
    targets = tuple(NodeId(node) for node in message.targets)
    carriers = tuple(NodeId(node) for node in message.carriers)
    if len(message.refused) not in (0, DIGEST_BYTES):
        raise ProtocolError(f"an order of a model that is refused for {len(message.refused)} bytes of a hash")
    order = Order(manifest, message.serial, targets, carriers, message.pinned, message.refused)
    return ModelOffer(order, message.root)


def _read_have(message: link_pb2.ModelHave) -> ModelHave:
    if len(message.pieces) > MAX_PIECES // 8:
        raise ProtocolError(f"a message of more than {MAX_PIECES} pieces that somebody has")
    return ModelHave(_model(message.model), message.serial, message.pieces)


def _read_ask(message: link_pb2.ModelAsk) -> ModelAsk:
    if len(message.pieces) > MAX_PIECES:
        raise ProtocolError(f"a message that asks for more than {MAX_PIECES} pieces")
    return ModelAsk(_model(message.model), tuple(message.pieces), message.order, message.doubted)


def _read_state(message: link_pb2.ModelState) -> ModelState:
    state = STATES.get(message.state)
    if state is None or len(message.found) not in (0, DIGEST_BYTES) or len(message.cause) > MAX_CAUSE_LENGTH:
        raise ProtocolError(f"a model in the state {message.state[:DIGEST_BYTES]!r}, or what is said of it, is none")
    if not math.isfinite(message.rehashed_sky_s) or message.pieces > MAX_PIECES:
        raise ProtocolError(f"a model of {message.pieces} pieces that was rehashed at {message.rehashed_sky_s} s")
    return ModelState(
        _model(message.model), state, message.pieces, message.rehashed_sky_s, message.cause, message.found
    )


def _model(digest: bytes) -> bytes:
    if len(digest) != DIGEST_BYTES:
        raise ProtocolError(f"a model named by {len(digest)} bytes: its SHA-256 has {DIGEST_BYTES}")
    return digest


MODEL_READERS: dict[str, Callable[[link_pb2.Frame], Body]] = {
    "model_offer": lambda m: _read_offer(m.model_offer),
    "model_have": lambda m: _read_have(m.model_have),
    "model_ask": lambda m: _read_ask(m.model_ask),
    "model_piece": lambda m: ModelPiece(_model(m.model_piece.model), m.model_piece.index),
    "model_query": lambda m: ModelQuery(
        _model(m.model_query.model) if m.model_query.model else b"", m.model_query.rehash
    ),
    "model_state": lambda m: _read_state(m.model_state),
}
