"""What is made of a job's tiles at the end: one mask, a stack, or what the user's own function says?

A reduction is found, imported and checked before any work starts. A function of the user's own is called once, on the
client, with all tiles in order; those without a result are among them and say so in `error`. What it returns must be an
array, a dict of arrays, or something that JSON can hold.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from perigrid.app.merging import Arrays, MaskMerger, Merger
from perigrid.app.results import TileResult, stacked
from perigrid.errors import UsageError
from perigrid.job.spec import Capture

VOTES, NONE = "votes", "none"
OWN_ARRAY = "reduced"
"""Name of the one array that a function returned without a name."""

Reducer = Callable[[Sequence[TileResult]], Any]
Wish = str | Reducer | None
"""How a user names a reduction: "votes", "none", "module:function", the function itself, or None for the usual one."""


@dataclass(frozen=True, slots=True)
class Reduction:
    """A reduction that was found; `name` is "" where the data shall choose, `function` is the user's own."""

    name: str
    function: Reducer | None = None

    def fitting(self, capture: Capture) -> Reduction:
        """The reduction for data of this kind; UsageError for votes on tiles that have no place in a scene."""
        if self.name == VOTES and capture.is_stack:
            raise UsageError(
                f"reduce {VOTES!r} merges the masks of a scene, and {capture.dataset} is a stack of tiles: use "
                f"{NONE!r}, or a function of your own as module:function."
            )
        if self.name:
            return self
        return Reduction(NONE if capture.is_stack else VOTES)

    @property
    def keeps_outputs(self) -> bool:
        """Whether it needs the outputs of all tiles at the end."""
        return self.name != VOTES


@dataclass(frozen=True, slots=True)
class Reduced:
    """What a reduction made: its value, and the form in which it is saved, arrays or a JSON text."""

    name: str
    value: Any
    arrays: Arrays | None = None
    text: bytes | None = None


def find_reduction(wish: Wish) -> Reduction:
    """The reduction that a user names; UsageError with the place where it is none."""
    if wish is None:
        return Reduction("")
    if callable(wish):
        name = f"{getattr(wish, '__module__', '?')}:{getattr(wish, '__qualname__', type(wish).__qualname__)}"
        return Reduction(name, _checked(wish, name))
    if wish in (VOTES, NONE):
        return Reduction(wish)
    module, colon, attribute = wish.partition(":")
    if not (module and colon and attribute):
        raise UsageError(
            f"reduce {wish!r} is not known: use {VOTES!r}, {NONE!r} or module:function, such as count:clouds for the "
            "function `clouds` of count.py in the current folder."
        )
    return Reduction(wish, _checked(_imported(module, attribute, wish), wish))


def reduced(reduction: Reduction, tiles: Sequence[TileResult], merger: Merger) -> Reduced:
    """Make of the tiles what the reduction says; UsageError where the user's function fails, with the place."""
    if reduction.function is not None:
        return _called(reduction.name, reduction.function, tiles)
    if reduction.name == VOTES and isinstance(merger, MaskMerger):
        mask = merger.reducer.mask()
        return Reduced(VOTES, mask, {"mask": mask})
    arrays = stacked(tiles)
    return Reduced(NONE, arrays, arrays)


def _imported(module: str, attribute: str, wish: str) -> Any:
    try:
        with _current_folder_first():
            found = importlib.import_module(module)
    except ImportError as error:
        raise UsageError(
            f"reduce {wish!r}: the module {module!r} cannot be imported from {Path.cwd()} ({error}); run from the "
            f"folder that holds {module.partition('.')[0]}.py, or install it."
        ) from error
    except Exception as error:
        # Whatever a user's module raises while it is imported is the user's to mend.
        raise UsageError(f"reduce {wish!r}: importing {module!r} failed: {_place(error)}; mend it there.") from error
    try:
        return attrgetter(attribute)(found)
    except AttributeError as error:
        raise UsageError(
            f"reduce {wish!r}: {getattr(found, '__file__', None) or module} has no {attribute!r}; name one of its "
            "functions."
        ) from error


def _checked(function: Any, name: str) -> Reducer:
    if not callable(function):
        raise UsageError(f"reduce {name!r} is {type(function).__name__}, which cannot be called; name a function.")
    try:
        inspect.signature(function).bind(())
    except TypeError as error:
        raise UsageError(
            f"reduce {name!r} cannot be called with the sequence of tiles alone ({error}); give it one argument."
        ) from error
    except ValueError:
        # Some functions written in C do not tell their arguments; calling them will.
        pass
    made: Reducer = function
    return made


def _called(name: str, function: Reducer, tiles: Sequence[TileResult]) -> Reduced:
    try:
        with _current_folder_first():
            value = function(tiles)
    except Exception as error:
        raise UsageError(
            f"reduce {name!r} failed: {_place(error)}; mend it, and run the job again under its id, or take the "
            "outputs that were saved."
        ) from error
    arrays = _as_arrays(value)
    if arrays is not None:
        held = [key for key, array in arrays.items() if array.dtype.hasobject]
        if held:
            raise UsageError(f"reduce {name!r} returned Python objects in the array {held[0]!r}; return numbers.")
        return Reduced(name, value, arrays)
    try:
        text = msgspec.json.format(msgspec.json.encode(value, enc_hook=_plain), indent=1)
    except (TypeError, msgspec.MsgspecError, RecursionError) as error:
        raise UsageError(
            f"reduce {name!r} returned {type(value).__name__}, which cannot be saved ({error}); return an array, a "
            "dict of arrays, or what JSON can hold."
        ) from error
    return Reduced(name, value, text=text + b"\n")


def _as_arrays(value: Any) -> Arrays | None:
    if isinstance(value, np.ndarray):
        return {OWN_ARRAY: value}
    named = isinstance(value, dict) and value and all(isinstance(key, str) for key in value)
    if named and all(isinstance(each, np.ndarray) for each in value.values()):
        return dict(value)
    return None


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"a {type(value).__name__} is nothing that JSON knows")


def _place(error: Exception) -> str:
    """The error with the file and line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}: {error}{where}"


@contextmanager
def _current_folder_first() -> Iterator[None]:
    """The current folder is where modules are looked for first, as with `python script.py`."""
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
