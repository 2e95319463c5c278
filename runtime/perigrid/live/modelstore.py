"""Where do models lie that cross links: on the ground, and in each satellite's flash?

On the ground, in `ground/models/`, a model is its bytes under their SHA-256, and beside them what its user called it
and what a worker must know of it. In a satellite's flash it is `<sha256>.pieces` while pieces arrive, or when a byte
of it was found wrong, and `<sha256>.onnx` once all of it has been hashed and found right; `<sha256>.order` beside it
is the order under which it is kept, and `<sha256>.served` says that the worker serves it, so that a worker that starts
anew does. A worker finds only what is called `.onnx`, and hashes it once more before it loads it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from perigrid.errors import CorruptFile, MissingFile, ModelError, PerigridError
from perigrid.live.blobs import HeldBlob, held, mapped, view_of
from perigrid.live.config import ModelFile
from perigrid.live.models import ModelEntry
from perigrid.live.pipeline import LoadedModel, Session
from perigrid.node.actions import KeepPiece
from perigrid.node.blobs import Blob
from perigrid.node.events import HeldModel, ModelRehashed, PieceKept
from perigrid.node.manifest import MAX_ENTRY_BYTES, MAX_MODEL_BYTES, Manifest, Order, is_model_name, piece_bytes

ORDER, PIECES, WHOLE, SERVED = ".order", ".pieces", ".onnx", ".served"
GROUND_FOLDER = Path("ground/models")


class PushedFile(msgspec.Struct, frozen=True):
    """A model on the ground that is to go up: what is known of it, and how its user named it."""

    entry: ModelEntry
    label: str


class FlashModels:
    """The models in one satellite's flash; `folder` is theirs. One thread at a time may change it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._views: dict[bytes, memoryview] = {}

    def booted(self) -> tuple[HeldModel, ...]:
        """What a satellite finds after a boot: each piece hashed, as nothing is trusted that lay there meanwhile."""
        found = []
        for order in self._orders():
            manifest = order.manifest
            if self._place(manifest.digest).stat().st_size != manifest.length:
                self.drop(manifest.digest)
                continue
            right = [i for i in range(len(manifest.pieces)) if self._hash(order, i) == manifest.pieces[i]]
            found.append(HeldModel(order, tuple((i, self._blob(order, i)) for i in right)))
        return tuple(found)

    def open(self, order: Order) -> None:
        """Make room for a model, or keep a newer order of one that is there."""
        digest = order.manifest.digest
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._path(digest, WHOLE).exists() and not self._path(digest, PIECES).exists():
            with self._path(digest, PIECES).open("wb") as file:
                file.truncate(order.manifest.length)
        part = self._path(digest, f"{ORDER}.part")
        part.write_bytes(msgspec.msgpack.encode(order))
        part.replace(self._path(digest, ORDER))

    def keep(self, action: KeepPiece) -> PieceKept:
        """Write a piece, if its bytes are what its hash says."""
        views = [view_of(piece) for piece in action.pieces]
        found = hashlib.sha256(b"".join(views)).digest()
        order = self._order(self._path(action.model, ORDER))
        if found != action.digest or order is None:
            return PieceKept(action.model, action.index, found, None)
        descriptor = os.open(self._place(action.model), os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwritev(descriptor, views, order.manifest.offset(action.index))
        finally:
            os.close(descriptor)
        return PieceKept(action.model, action.index, found, self._blob(order, action.index))

    def rehash(self, model: bytes) -> ModelRehashed | None:
        """Hash all of a model; what is right a worker may load, what is wrong none finds. None where it is gone."""
        order = self._order(self._path(model, ORDER))
        if order is None:
            return None
        place = self._place(model)
        with place.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").digest()
        if found == model:
            place.replace(self._path(model, WHOLE))
            return ModelRehashed(model, found)
        self._path(model, SERVED).unlink(missing_ok=True)
        place.replace(self._path(model, PIECES))
        digests = order.manifest.pieces
        return ModelRehashed(model, found, tuple(i for i in range(len(digests)) if self._hash(order, i) != digests[i]))

    def serves(self, model: bytes) -> None:
        """The worker serves a model: one that starts anew shall too."""
        if self._path(model, WHOLE).exists():
            self._path(model, SERVED).touch()

    def withdrawn(self, name: str) -> None:
        """The worker is to serve a model of this name no more."""
        for order in self._orders():
            if order.manifest.name == name:
                self._path(order.manifest.digest, SERVED).unlink(missing_ok=True)

    def drop(self, model: bytes) -> None:
        """Delete a model."""
        self._views.pop(model, None)
        for suffix in (SERVED, ORDER, PIECES, WHOLE):
            self._path(model, suffix).unlink(missing_ok=True)

    # --- for a worker, which is another process

    def served(self) -> tuple[str, ...]:
        """The models that the worker shall serve from its start."""
        orders = (order for order in self._orders() if self._path(order.manifest.digest, SERVED).exists())
        return tuple(order.manifest.name for order in orders)

    def load(self, name: str) -> LoadedModel | None:
        """A model that is whole and found right, ready to run; None where there is none of this name.

        CorruptFile, with both hashes, where its bytes are not those of its name any more, ModelError and what `Session`
        raises where they are no model as described.
        """
        for order in self._orders():
            manifest, path = order.manifest, self._path(order.manifest.digest, WHOLE)
            if manifest.name != name or not path.exists():
                continue
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").digest()
            if found != manifest.digest:
                raise CorruptFile(
                    f"model {name!r} in {path} has sha256 {found.hex()}, but was pushed as {manifest.digest.hex()}: "
                    "it is not loaded; push it again."
                )
            entry = read_entry(manifest.entry)
            return LoadedModel(entry, Session(path, entry))
        return None

    # --- files

    def _path(self, model: bytes, suffix: str) -> Path:
        return self.folder / f"{model.hex()}{suffix}"

    def _place(self, model: bytes) -> Path:
        whole = self._path(model, WHOLE)
        return whole if whole.exists() else self._path(model, PIECES)

    def _orders(self) -> Iterator[Order]:
        for path in sorted(self.folder.glob(f"*{ORDER}")):
            order = self._order(path)
            if order is not None and self._place(order.manifest.digest).exists():
                yield order

    def _order(self, path: Path) -> Order | None:
        """An order in flash; None where there is none, or none that can be read."""
        try:
            order = msgspec.msgpack.decode(path.read_bytes(), type=Order)
            order.manifest.check()
        except (OSError, msgspec.MsgspecError, PerigridError):
            return None
        return order if order.manifest.digest.hex() == path.stem else None

    def _blob(self, order: Order, index: int) -> HeldBlob:
        manifest = order.manifest
        return held(self._view(order, index), manifest.pieces[index])

    def _hash(self, order: Order, index: int) -> bytes:
        return hashlib.sha256(self._view(order, index)).digest()

    def _view(self, order: Order, index: int) -> memoryview:
        """A piece, mapped: what is written later shows in it, and it stays when the file has another name."""
        manifest = order.manifest
        view = self._views.get(manifest.digest)
        if view is None:
            view = self._views[manifest.digest] = mapped(self._place(manifest.digest), manifest.digest).data
        at = manifest.offset(index)
        return view[at : at + manifest.size_bytes(index)]


class GroundModels:
    """The ground's own copies, in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def stow(self, source: Path, file: PushedFile) -> Path:
        """Copy a model's file here, under the hash that its entry states; where it lies."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{file.entry.sha256}{WHOLE}"
        part = path.with_suffix(".part")
        part.write_bytes(source.read_bytes())
        part.replace(path)
        named = self.named(file.entry)
        named.parent.mkdir(exist_ok=True)
        named.unlink(missing_ok=True)
        named.hardlink_to(path)
        part = path.with_suffix(".json.part")
        part.write_bytes(msgspec.json.encode(file))
        part.replace(path.with_suffix(".json"))
        return path

    def named(self, entry: ModelEntry) -> Path:
        """The same file under the name that the model bears, for whoever wants to load it as a user's own."""
        return self.folder / "named" / f"{entry.name}{WHOLE}"

    def files(self) -> tuple[ModelFile, ...]:
        """What was ever stowed, with where it lies."""
        found = []
        for path in sorted(self.folder.glob("*.json")):
            file = msgspec.json.decode(path.read_bytes(), type=PushedFile)
            found.append(ModelFile(file.entry, str(path.with_suffix(WHOLE))))
        return tuple(found)

    def read(self, sha256: str) -> tuple[Manifest, tuple[Blob, ...]]:
        """A model's manifest, made of its bytes as they are, and its pieces; MissingFile where it is not here."""
        path = self.folder / f"{sha256}{WHOLE}"
        try:
            file = msgspec.json.decode(path.with_suffix(".json").read_bytes(), type=PushedFile)
            view = mapped(path, b"").data
        except (OSError, msgspec.MsgspecError) as error:
            raise MissingFile(f"there is no model {sha256} in {self.folder} ({error}); push its file again.") from error
        manifest = make_manifest(file.entry, view)
        size = manifest.piece_bytes
        pieces = tuple(held(view[i * size : (i + 1) * size], digest) for i, digest in enumerate(manifest.pieces))
        return manifest, pieces

    def booted(self) -> tuple[tuple[bytes, tuple[Blob, ...]], ...]:
        """All that can be read, for a controller that starts; those whose bytes have changed are left out."""
        found = []
        for file in self.files():
            try:
                manifest, pieces = self.read(file.entry.sha256)
            except PerigridError:
                continue
            if manifest.digest.hex() == file.entry.sha256:
                found.append((manifest.digest, pieces))
        return tuple(found)


def make_manifest(entry: ModelEntry, view: memoryview) -> Manifest:
    """The manifest of these bytes. ModelError for a name or a size that cannot cross links."""
    text = msgspec.json.encode(entry)
    if not is_model_name(entry.name):
        raise ModelError(f"model {entry.name!r}: to be pushed, use letters, digits, '-', '_' and '.'; rename the file.")
    if not 0 < len(view) <= MAX_MODEL_BYTES or len(text) > MAX_ENTRY_BYTES:
        raise ModelError(
            f"model {entry.name!r} has {len(view)} bytes, and its description {len(text)}: the limits are "
            f"{MAX_MODEL_BYTES} and {MAX_ENTRY_BYTES}."
        )
    size = piece_bytes(len(view))
    pieces = tuple(hashlib.sha256(view[at : at + size]).digest() for at in range(0, len(view), size))
    return Manifest(entry.name, hashlib.sha256(view).digest(), len(view), size, pieces, text)


def read_entry(text: bytes) -> ModelEntry:
    """What a manifest says to a worker; CorruptFile where that is none."""
    try:
        return msgspec.json.decode(text, type=ModelEntry)
    except msgspec.MsgspecError as error:
        raise CorruptFile(f"a pushed model's description cannot be read ({error}); push it again.") from error
