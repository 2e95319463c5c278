"""Which models can be asked now, and which could be?

The models of one worker: loaded while it runs by their names, and unloaded. What is under way with a model keeps it
until it has ended. Loading goes one model after the other; what is served meanwhile stays so.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from perigrid.errors import MissingFile, NameInUse, PerigridError, UsageError
from perigrid.live.forms import LOADING, READY, UNAVAILABLE, Served, find, forms_of, said_of
from perigrid.live.pipeline import LoadedModel
from perigrid.live.shared_regions import Declared, Output, declared_inputs, declared_outputs

MAX_REMEMBERED = 64
"""Most names of models that are not there, of which it is remembered why; the oldest is forgotten first."""

Fetch = Callable[[str], LoadedModel]


@dataclass(frozen=True, slots=True)
class Listed:
    """A line of the repository's index."""

    name: str
    state: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Offer:
    """A name that can be asked, its model, and what a request's tensors are compared with, made once."""

    served: Served
    model: LoadedModel
    inputs: Mapping[str, Declared]
    outputs: tuple[Output, ...]


class Repository:
    """The models of one worker; used from many threads.

    Args:
        where: who serves them, for messages.
        models: name -> model, served from the start.
        fetch: gives a model that is asked to be loaded, by its name; None loads none.
        changed: told after each change whether a model can be asked and none is being loaded.
    """

    def __init__(
        self,
        where: str,
        models: Mapping[str, LoadedModel],
        fetch: Fetch | None,
        changed: Callable[[bool], None] = lambda serving: None,
    ) -> None:
        self._where = where
        self._fetch = fetch
        self._changed = changed
        self._one_at_a_time = threading.Lock()
        # Replaced as a whole at each change, so that who reads one needs no lock.
        self._offers: Mapping[str, Offer] = {}
        self._absent: dict[str, Listed] = {}
        for name, model in models.items():
            self._serve(name, model)

    def watch(self, changed: Callable[[bool], None]) -> None:
        """Whom to tell of changes from now on; told at once how it stands."""
        with self._one_at_a_time:
            self._changed = changed
            self._tell()

    def find(self, name: str, version: str) -> Offer:
        """What is served under a name; MissingFile for an unknown name or version."""
        offers = self._offers
        found = offers.get(name)
        if found is None or version:
            listed = self._absent.get(name)
            if listed is not None and found is None:
                raise MissingFile(f"{self._where} does not serve {name!r} now ({listed.reason}): load it first")
            find({key: offer.served for key, offer in offers.items()}, self._where, name, version)
        # The line above has raised for a name that is not there.
        return offers[name]

    def names(self) -> tuple[str, ...]:
        """All names that can be asked, a model's own and its forms'."""
        return tuple(self._offers)

    def index(self, ready: bool) -> list[Listed]:
        """All names with their states; with `ready` only those that can be asked."""
        found = [Listed(name, READY) for name in self._offers]
        if not ready:
            # A copy, as loading changes it in another thread.
            found += list(dict(self._absent).values())
        return found

    def load(self, name: str) -> None:
        """Serve one model more; one that is served already stays. What `fetch` raises, and UsageError without it."""
        if self._fetch is None:
            if self._has(name):
                return
            raise UsageError(f"{self._where} loads no models while it runs: start it with {name!r}")
        with self._one_at_a_time:
            if self._has(name):
                return
            self._remember(Listed(name, LOADING, "being loaded"))
            self._tell()
            try:
                self._serve(name, self._fetch(name))
            except PerigridError as error:
                self._remember(Listed(name, UNAVAILABLE, said_of(error)))
                raise
            except BaseException:
                self._absent.pop(name, None)
                raise
            else:
                self._absent.pop(name, None)
            finally:
                self._tell()

    def unload(self, name: str) -> None:
        """Serve a model and its forms no more; MissingFile for one that is not served, UsageError for a form."""
        with self._one_at_a_time:
            offer = self._offers.get(name)
            if offer is not None and not self._has(name):
                raise UsageError(f"{name!r} is a form of model {offer.served.model!r}: unload that")
            if offer is None:
                models = [key for key in self._offers if self._has(key)]
                raise MissingFile(f"{self._where} serves no model {name!r}: it serves {', '.join(models) or 'none'}")
            self._offers = {key: form for key, form in self._offers.items() if form.served.model != name}
            self._remember(Listed(name, UNAVAILABLE, "unloaded"))
            self._tell()

    def _serve(self, name: str, model: LoadedModel) -> None:
        forms = {form.name: form for form in forms_of(msgspec.structs.replace(model.entry, name=name))}
        for form in forms:
            if form in self._offers:
                raise NameInUse(f"two models of {self._where} are called {form!r}: rename one")
        self._offers = {**self._offers, **{key: _offer(served, model) for key, served in forms.items()}}

    def _has(self, name: str) -> bool:
        """Whether a model of this name is served; a form of one is none itself."""
        offer = self._offers.get(name)
        return offer is not None and offer.served.model == name

    def _remember(self, listed: Listed) -> None:
        self._absent.pop(listed.name, None)
        while len(self._absent) >= MAX_REMEMBERED:
            self._absent.pop(next(iter(self._absent)))
        self._absent[listed.name] = listed

    def _tell(self) -> None:
        loading = any(listed.state == LOADING for listed in self._absent.values())
        self._changed(bool(self._offers) and not loading)


def _offer(served: Served, model: LoadedModel) -> Offer:
    return Offer(served, model, declared_inputs(served.inputs), declared_outputs(served.outputs))
