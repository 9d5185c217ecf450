"""Arguments of a call as they travel: encoded, with a hole in the place of every answer that is not there yet."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from talkoot.core import codec, limits
from talkoot.core.codec import Hole
from talkoot.core.errors import BadInput, CodecError, TooLarge
from talkoot.sdk.connection import Connection
from talkoot.sdk.futures import TaskFuture
from talkoot.wire.messages import TaskRef


@dataclass(frozen=True, slots=True)
class Arguments:
    """The encoded (args, kwargs) of one call, and the futures whose answers fill its holes, in order."""

    data: bytes
    futures: tuple[TaskFuture[Any], ...] = ()

    def refs(self, connection: Connection) -> tuple[TaskRef, ...]:
        """The inputs as the hub knows them. Raises BadInput for a future of another connection."""
        return tuple(future.ref(connection) for future in self.futures)


def freeze(args: tuple[Any, ...], kwargs: dict[str, Any], *, what: str) -> Arguments:
    """Encode the arguments of a call. Raises CodecError and TooLarge, both naming the call (`what`)."""
    try:
        return Arguments(_encode((args, kwargs), what))
    except CodecError as error:
        # A future is not a value that the codec knows. To look for one first would cost every other call.
        futures: list[TaskFuture[Any]] = []
        replaced = _replace((args, kwargs), _collector(futures), 0)
        if not futures:
            raise CodecError(f"{what}: {error.message}", hint=error.hint) from None
    if len(futures) > limits.MAX_INPUTS_PER_TASK:
        raise BadInput(
            f"{what} takes {len(futures)} answers of other tasks; at most {limits.MAX_INPUTS_PER_TASK} are possible",
            hint="Combine them in steps: a task that takes some of them, and one that takes what those give.",
        )
    try:
        return Arguments(_encode(replaced, what), tuple(futures))
    except CodecError as error:
        raise CodecError(f"{what}: {error.message}", hint=error.hint) from None


def _encode(arguments: Any, what: str) -> bytes:
    try:
        return codec.encode(arguments, limit_bytes=limits.MAX_ARGUMENTS_BYTES)
    except TooLarge:
        raise TooLarge(
            f"the arguments of {what} have more than {limits.MAX_ARGUMENTS_BYTES:,} bytes when encoded",
            hint="Send less with each call: parts of the data, or a way to compute it in the task.",
        ) from None


def _collector(futures: list[TaskFuture[Any]]) -> Callable[[TaskFuture[Any]], Hole]:
    holes: dict[int, Hole] = {}

    def hole(future: TaskFuture[Any]) -> Hole:
        found = holes.get(id(future))
        if found is None:
            found = holes[id(future)] = Hole(len(futures))
            futures.append(future)
        return found

    return hole


def _replace(value: Any, hole: Callable[[TaskFuture[Any]], Hole], depth: int) -> Any:
    """The same value with holes for futures, in lists, tuples and dicts at any depth that the codec takes."""
    if isinstance(value, TaskFuture):
        return hole(value)
    if depth > limits.MAX_VALUE_DEPTH:
        return value  # the codec will refuse it
    if type(value) is list:
        return [_replace(item, hole, depth + 1) for item in value]
    if type(value) is tuple:
        return tuple(_replace(item, hole, depth + 1) for item in value)
    if type(value) is dict:
        return {key: _replace(item, hole, depth + 1) for key, item in value.items()}
    return value
