"""HTTP, the destination of nearly every endpoint: a POST of the signed body, by the process's sender.

Its URL, client certificate and OAuth2 are members of the endpoint itself, so its `Config` is empty.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from services.webhooks.access import Access, open_access
from services.webhooks.answers import Answer
from services.webhooks.destinations.base import Destination, To
from shared.runtime.addresses import AddressPolicy
from shared.runtime.bodies import Body


class Nothing(Body):
    pass


class Http(Destination):
    kind: ClassVar[str] = "http"
    Config: ClassVar[type[Body]] = Nothing

    @classmethod
    def location(cls, config: Any, policy: AddressPolicy) -> str:  # noqa: ARG003 - never asked: see `services.webhooks.reach`
        return ""

    @classmethod
    def shown(cls, config: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG003 - see `services.webhooks.access`
        return {}

    @classmethod
    def open(cls, config: dict[str, Any], endpoint_id: str) -> Access | None:
        return open_access(config, endpoint_id)

    async def send(self, to: To, event_id: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> Answer:  # noqa: ARG002
        return await self.sender.send(to.url, body, headers, timeout_s, access=to.config)


DESTINATION = Http
