"""`python -m shared.runtime.keys create --name ci --tenant acme --scopes jobs:read,media:write`: API keys, by hand.

The first key of a cluster cannot come from a route, because every route wants one. Prints one JSON line; the key itself
is shown here and never again. `revoke ID` ends one within seconds.
"""

import argparse
import asyncio
import json
import sys
from typing import Any

from shared.db.tx import open_tx
from shared.kernel.errors import HoldfastError, NotFound
from shared.kernel.settings import CoreSettings, load
from shared.runtime.callers import create_key, revoke_key
from shared.runtime.resources import open_resources


async def create(settings: CoreSettings, *, name: str, tenant: str, scopes: list[str]) -> dict[str, Any]:
    """{id, key, tenant, scopes}. Raises BadInput for an unknown scope or an unfit tenant."""
    async with open_resources(settings) as resources, open_tx(resources.database) as tx:
        key_id, key = await create_key(tx, name=name, tenant=tenant, scopes=scopes)
    return {"id": key_id, "key": key, "tenant": tenant, "scopes": sorted(set(scopes))}


async def revoke(settings: CoreSettings, key_id: str) -> dict[str, Any]:
    """{id, revoked}. Raises NotFound when there is no such key, or it has been revoked before."""
    async with open_resources(settings) as resources, open_tx(resources.database) as tx:
        if not await revoke_key(tx, key_id):
            raise NotFound(f"there is no live key {key_id[:100]}")
    return {"id": key_id, "revoked": True}


def main() -> int:
    parser = argparse.ArgumentParser(description="create or revoke an API key")
    actions = parser.add_subparsers(dest="action", required=True)
    making = actions.add_parser("create")
    making.add_argument("--name", required=True)
    making.add_argument("--tenant", default="default")
    making.add_argument("--scopes", default="*", help="comma-separated; * is everything")
    actions.add_parser("revoke").add_argument("id")
    given = parser.parse_args()
    try:
        settings = load(CoreSettings)
        if given.action == "create":
            wanted = [scope.strip() for scope in given.scopes.split(",")]
            answer = asyncio.run(create(settings, name=given.name, tenant=given.tenant, scopes=wanted))
        else:
            answer = asyncio.run(revoke(settings, given.id))
    except HoldfastError as wrong:
        sys.stderr.write(f"{wrong}\n")
        return 1 if isinstance(wrong, NotFound) else 2
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
