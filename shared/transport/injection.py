"""What a handler is given besides its command: Taskiq's dependency graphs, flattened where that changes nothing.

Taskiq walks a graph for every call, about 9 µs a node. A graph of plain functions (each called once, none a generator,
a coroutine or a class) is the same as calling them in order, which is done here; any other graph is left to Taskiq's
own resolver. Every attempt gets values of its own: nothing is shared between concurrent jobs.
"""

import inspect
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import _AsyncGeneratorContextManager, _GeneratorContextManager, asynccontextmanager
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any

from taskiq import Context, TaskiqState
from taskiq_dependencies import DependencyGraph

_LAZY = (AsyncGeneratorType, CoroutineType, GeneratorType, _AsyncGeneratorContextManager, _GeneratorContextManager)
Step = tuple[Any, Callable[..., Any], tuple[tuple[str, Any], ...]]  # key, function, (parameter, key of its value)


class Injection:
    """Of one handler, with the broker's overrides already in it."""

    def __init__(self, handler: Callable[..., Any], overrides: Mapping[Any, Any]) -> None:
        self._graph = DependencyGraph(handler, dict(overrides) or None)
        self.is_empty = self._graph.is_empty()
        self._plan = None if self.is_empty else _flatten(self._graph)
        keys = {dependency.dependency for dependency in self._graph.ordered_deps}
        self.needs_context = Context in keys or TaskiqState in keys or (not self.is_empty and self._plan is None)

    @asynccontextmanager
    async def resolved(self, values: Mapping[Any, Any]) -> AsyncIterator[dict[str, Any]]:
        """The handler's keyword arguments; what Taskiq opened is closed at the end, with the handler's exception."""
        resolver = self._graph.async_ctx(dict(values))
        raised: BaseException | None = None
        try:
            yield await resolver.resolve_kwargs()
        except BaseException as error:
            raised = error
            raise
        finally:
            await resolver.close(type(raised) if raised else None, raised, raised.__traceback__ if raised else None)

    def flat(self, values: Mapping[Any, Any]) -> dict[str, Any] | None:
        """The keyword arguments, with nothing to close; None where Taskiq must resolve them."""
        if self._plan is None:
            return None
        steps, wanted = self._plan
        found = dict(values)
        for key, function, parameters in steps:
            if key in found:
                continue
            value = function(**{name: found[source] for name, source in parameters})
            if isinstance(value, _LAZY):
                self._plan = None  # a plain function returned what must be awaited or opened: not flat after all
                if isinstance(value, CoroutineType):
                    value.close()
                return None
            found[key] = value
        return {name: found[source] for name, source in wanted}


def _flatten(graph: DependencyGraph) -> tuple[list[Step], tuple[tuple[str, Any], ...]] | None:
    """The calls in order and the handler's own parameters; None when a node is more than a plain function."""
    steps: list[Step] = []
    *inner, target = graph.ordered_deps
    for dependency in inner:
        function: Any = dependency.dependency
        if function in (Context, TaskiqState):
            continue
        if not dependency.use_cache or dependency.kwargs or not _is_plain(function):
            return None
        steps.append((function, function, _parameters(graph, dependency)))
    return steps, _parameters(graph, target)


def _parameters(graph: DependencyGraph, dependency: Any) -> tuple[tuple[str, Any], ...]:
    return tuple((part.param_name, part.dependency) for part in graph.dependencies[dependency])


def _is_plain(function: Any) -> bool:
    if not inspect.isfunction(function):
        return False
    inside = inspect.unwrap(function)
    return not (
        inspect.isgeneratorfunction(inside) or inspect.iscoroutinefunction(inside) or inspect.isasyncgenfunction(inside)
    )
