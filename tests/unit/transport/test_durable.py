"""What makes a function durable, what is refused and in which words, and what its handler is given."""

import inspect
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Annotated, Any

import pytest
from pydantic import ValidationError
from taskiq import TaskiqDepends

from services.api.tasks import send_welcome
from shared.contracts.commands.api import SendWelcomeEmail
from shared.contracts.retry import ONCE
from shared.transport.durable import NotDurable, durable, durable_of, tasks_of
from shared.transport.injection import Injection


def clock() -> str:
    return "noon"


@durable(task="shop.receipt", queue="shop", timeout_s=5, retry=ONCE)
async def receipt(
    order: str, total: Decimal, day: date = date(2026, 1, 2), *, at: Annotated[str, TaskiqDepends(clock)] = ""
) -> tuple[Any, ...]:
    return order, total, day, at


async def plain(order: str) -> None: ...


def test_parameters_become_the_fields_of_a_command() -> None:
    made = durable_of(receipt).command
    assert (made.task, made.queue, made.timeout_s, made.retry) == ("shop.receipt", "shop", 5, ONCE)
    assert list(made.model_fields) == ["order", "total", "day"]
    command = durable_of(receipt).command_of("o1", total=Decimal("1.10"))
    again = made.model_validate_json(command.model_dump_json())
    assert again == command
    assert again.model_dump() == {"order": "o1", "total": Decimal("1.10"), "day": date(2026, 1, 2)}


async def test_the_handler_gives_them_back_with_what_is_injected() -> None:
    found = durable_of(receipt)
    (handler,) = tasks_of(receipt).values()
    assert inspect.iscoroutinefunction(handler)
    assert next(iter(inspect.signature(handler).parameters.values())).annotation is found.command
    given = Injection(handler, {}).flat({})
    assert given == {"at": "noon"}
    command = found.command_of("o1", Decimal(2))
    assert await handler(command, **given) == ("o1", Decimal(2), date(2026, 1, 2), "noon")
    assert await receipt("o2", Decimal(3), at="now") == ("o2", Decimal(3), date(2026, 1, 2), "now")


@pytest.mark.parametrize(("args", "kwargs"), [((), {}), (("o", 1, date(2026, 1, 1), 4), {}), (("o", 1), {"totl": 2})])
def test_a_call_that_would_fail_fails_where_it_is_written(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        durable_of(receipt).command_of(*args, **kwargs)


def test_a_wrong_type_fails_there_too() -> None:
    with pytest.raises(ValidationError, match="total"):
        durable_of(receipt).command_of("o", "much")


def test_a_handler_of_a_command_that_there_is() -> None:
    values = {"user_id": "user_1", "email": "a@b.cd", "name": "Ada"}
    found = durable_of(send_welcome)
    assert found.command_of(**values) == SendWelcomeEmail(**values)
    assert found.command_of(SendWelcomeEmail(**values)) == SendWelcomeEmail(**values)
    with pytest.raises(TypeError, match="name"):
        found.command_of(user_id="user_1", email="a@b.cd")


def test_what_is_not_durable_is_told_what_to_do() -> None:
    with pytest.raises(NotDurable, match=r"plain is not durable.*@durable\(task=.*tasks_of\(plain\).*BackgroundTasks"):
        durable_of(plain)


def sync(order: str) -> None: ...
async def untyped(order) -> None: ...
async def many(*orders: str) -> None: ...
async def named(**orders: str) -> None: ...
async def opaque(order: Callable[[], None]) -> None: ...


@pytest.mark.parametrize(
    ("function", "says"),
    [(sync, "not async"), (untyped, "a type"), (many, "a name"), (named, "a name"), (opaque, "nothing that JSON")],
)
def test_what_could_not_run_again_from_its_arguments_is_refused(function: Any, says: str) -> None:
    with pytest.raises(NotDurable, match=says):
        durable(task="shop.x", queue="shop")(function)
