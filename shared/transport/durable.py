"""Durable functions: an async function with typed parameters that stands for a command and its handler.

    @durable(task="orders.send_receipt", queue="shop")
    async def send_receipt(order_id: str, email: str) -> None: ...

The parameters become the fields of a command, so they must be what JSON can hold; those that are `TaskiqDepends` are
given to the handler when it runs. `@durable(SomeCommand)` marks a handler of a command that there is. Refuses what
could not be run again from its arguments alone: sync functions, `*args`, missing types. Nothing is registered globally:
a worker is given `tasks_of(send_receipt, …)`.
"""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, cast, get_args, get_origin, get_type_hints, overload

from pydantic import create_model
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticSchemaGenerationError
from taskiq_dependencies.dependency import Dependency

from shared.contracts.command import Command
from shared.contracts.retry import Exponential, RetryPolicy

Function = TypeVar("Function", bound=Callable[..., Awaitable[Any]])
_MARK = "__durable__"
_NAMED = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY}


class NotDurable(TypeError):
    """A function that cannot be, or has not been, made durable: a defect of the caller; says what to do."""


@dataclass(frozen=True, slots=True)
class Durable:
    command: type[Command]
    handler: Callable[..., Awaitable[Any]]
    call: inspect.Signature  # of the fields alone

    def command_of(self, *args: Any, **kwargs: Any) -> Command:
        """As the function would be called. Raises TypeError as a call would, ValidationError for a wrong type."""
        if len(args) == 1 and not kwargs and isinstance(args[0], self.command):
            return args[0]
        return self.command(**self.call.bind(*args, **kwargs).arguments)


@overload
def durable(command: type[Command], /) -> Callable[[Function], Function]: ...
@overload
def durable(
    *, task: str, queue: str, timeout_s: float = ..., retry: RetryPolicy = ...
) -> Callable[[Function], Function]: ...
def durable(
    command: type[Command] | None = None,
    /,
    *,
    task: str = "",
    queue: str = "",
    timeout_s: float = 60.0,
    retry: RetryPolicy | None = None,
) -> Callable[[Function], Function]:
    """The function stays what it is, and can be called as before. Raises NotDurable."""

    def mark(function: Function) -> Function:
        is_async: bool = inspect.iscoroutinefunction(function)
        if not is_async:
            raise NotDurable(f"{_name(function)} is not async: a durable function must not block the event loop")
        if command is not None:
            found = Durable(command, function, _fields_of(command))
        else:
            settings = {"task": task, "queue": queue, "timeout_s": timeout_s, "retry": retry or Exponential()}
            found = _made(function, settings)
        setattr(function, _MARK, found)
        return function

    return mark


def durable_of(function: Callable[..., Any]) -> Durable:
    """Raises NotDurable for a function that was not marked."""
    found = getattr(function, _MARK, None)
    if not isinstance(found, Durable):
        name = _name(function)
        raise NotDurable(
            f"{name} is not durable, so it would be lost with this process: put @durable(task=…, queue=…) over it and"
            f" give it to a worker with tasks_of({name}); if it may be lost, keep it on FastAPI's BackgroundTasks"
        )
    return found


def tasks_of(*functions: Callable[..., Any]) -> dict[type[Command], Callable[..., Any]]:
    """TASKS of a worker: `make_broker(tasks=tasks_of(send_receipt, …), …)`."""
    return {one.command: one.handler for one in map(durable_of, functions)}


def _made(function: Callable[..., Awaitable[Any]], settings: dict[str, Any]) -> Durable:
    hints = get_type_hints(function, include_extras=True)
    own: list[inspect.Parameter] = []
    given: list[inspect.Parameter] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in _NAMED or parameter.name not in hints:
            raise NotDurable(f"{_name(function)}: {parameter} needs a name and a type, which become a command's field")
        (given if _is_dependency(parameter, hints[parameter.name]) else own).append(parameter)
    fields: dict[str, Any] = {
        one.name: (hints[one.name], ... if one.default is one.empty else one.default) for one in own
    }
    title = "".join(part.title() for part in function.__name__.split("_"))
    try:
        made = create_model(title, __base__=Command, __module__=function.__module__, **fields)
        made.model_json_schema()
    except (PydanticSchemaGenerationError, PydanticInvalidForJsonSchema) as wrong:
        raise NotDurable(f"{_name(function)}: a parameter is nothing that JSON can hold: {wrong}") from None
    for name, value in settings.items():
        setattr(made, name, value)

    async def handler(command: Command, **injected: Any) -> Any:
        return await function(**{one.name: getattr(command, one.name) for one in own}, **injected)

    handler.__name__, handler.__qualname__ = function.__name__, function.__qualname__
    handler.__module__, handler.__doc__ = function.__module__, function.__doc__
    first = inspect.Parameter("command", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=made)
    rest = [one.replace(annotation=hints[one.name], kind=inspect.Parameter.KEYWORD_ONLY) for one in given]
    handler.__signature__ = inspect.Signature([first, *rest])  # type: ignore[attr-defined]
    handler.__annotations__ = {"command": made, **{one.name: hints[one.name] for one in given}}
    return Durable(made, handler, inspect.Signature(own))


def _fields_of(command: type[Command]) -> inspect.Signature:
    empty = inspect.Parameter.empty
    parameters = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=empty if info.is_required() else None)
        for name, info in command.model_fields.items()
    ]
    return inspect.Signature(parameters)


def _is_dependency(parameter: inspect.Parameter, hint: Any) -> bool:
    marks = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return isinstance(parameter.default, Dependency) or any(isinstance(mark, Dependency) for mark in marks)


def _name(function: Callable[..., Any]) -> str:
    return cast("str", getattr(function, "__qualname__", repr(function)))
