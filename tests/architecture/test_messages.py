"""Every command has one handler, in the service that its queue is named after, and nothing else is handled.

A service may have a queue beside its own: `<service>-<part>`, served by `create_<part>_broker` of its worker module.
"""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import pytest

from shared.contracts.command import Command
from shared.contracts.commands import ALL, QUEUES, service_of
from shared.contracts.events import EVENTS
from tests.architecture.tree import services


def tasks_of(service: str) -> dict[type[Command], Any]:
    return importlib.import_module(f"services.{service}.tasks").TASKS


def defined_in(module: Any, kind: type) -> set[type]:
    return {
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, kind) and value.__module__ == module.__name__
    }


def test_a_queue_is_a_service_or_a_part_of_one() -> None:
    assert sorted({service_of(queue) for queue in QUEUES}) == services()
    assert set(services()) <= set(QUEUES)
    for queue in QUEUES:
        service, _, part = queue.partition("-")
        worker = importlib.import_module(f"services.{service}.worker")
        assert callable(getattr(worker, f"create_{part}_broker" if part else "create_broker"))


@pytest.mark.parametrize("service", services())
def test_every_command_of_a_service_has_one_handler_there_and_nothing_else_has(service: str) -> None:
    commands = defined_in(importlib.import_module(f"shared.contracts.commands.{service}"), Command)
    tasks = tasks_of(service)
    assert set(tasks) == commands
    assert {service_of(command.queue) for command in commands} == {service}
    handlers = list(tasks.values())
    assert len({id(handler) for handler in handlers}) == len(handlers), "two commands share a handler"
    assert [handler.__name__ for handler in handlers if not inspect.iscoroutinefunction(handler)] == []
    for command, handler in tasks.items():
        first = next(iter(inspect.signature(handler, eval_str=True).parameters.values()))
        assert first.annotation is command, f"{handler.__name__} takes {first.annotation}, it is bound to {command}"


def test_the_union_of_the_tables_is_what_has_handlers() -> None:
    handled = {command.task: command for service in services() for command in tasks_of(service)}
    assert handled == ALL


def test_every_event_that_is_defined_is_known() -> None:
    from shared.contracts import events

    assert set(EVENTS.values()) == defined_in(events, events.Event) - {events.Event}


@pytest.mark.parametrize("command", ALL.values(), ids=lambda command: command.task)
def test_a_command_ends(command: type[Command]) -> None:
    """Nothing runs for ever: each command has a bounded time and a bounded number of attempts."""
    assert 0 < command.timeout_s <= 3600
    assert 1 <= command.retry.max_attempts <= 100
    waits = [command.retry.delay_s(number, max) for number in range(1, command.retry.max_attempts + 1)]
    assert all(0 <= wait <= 7 * 86_400 * 1.5 for wait in waits)
