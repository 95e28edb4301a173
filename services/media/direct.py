"""Direct uploads: the client PUTs the file into the bucket, by a URL that is signed for one key and a while.

The URL binds neither length nor type, and works until its time is over, also after the upload was called complete. So
nothing counts because it was said: completing looks whether there are as many bytes as were announced, and the job
reads them, through the same checks as any upload, into a key that no client can write to. Refuses what has not come
(409), and another size than announced (409): the client may PUT again until the upload expires.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from services.media.blobs import Blobs
from services.media.errors import BlobMissing
from services.media.incoming import promise_asset
from services.media.options import Options
from services.media.parts import PARTS_MOST, check_there, why_not
from services.media.settings import MediaSettings
from services.media.store_uploads import (
    Part,
    complete_upload,
    insert_upload,
    move_upload,
    read_asset_job,
    read_upload,
    read_upload_in,
)
from services.media.upload_folders import upload_folder
from shared.contracts.commands.media import AssembleUpload
from shared.db.tx import Tx
from shared.kernel.clock import SECOND_US, after_us, from_rfc3339, rfc3339
from shared.kernel.errors import Conflict, NotFound
from shared.kernel.ids import new_id
from shared.runtime.resources import Resources

URL_LIFE_MOST_S = 6 * 3600.0
PROTOCOL = "direct"


class DirectOff(Conflict):
    code = "direct_off"


class NotUploaded(Conflict):
    code = "not_uploaded"


class Done(NamedTuple):
    """A direct upload whose bytes are there. `keep_s`: how long it is kept from now on, while its job reads them."""

    upload: Mapping[str, Any]
    keep_s: float

    async def promise(self, tx: Tx) -> tuple[str, str]:
        """(asset, job): of now, or of the first time that it was called complete."""
        upload = self.upload
        upload_id, tenant, length = upload["id"], upload["tenant"], upload["length_bytes"]
        part = Part(0, length, _key(upload_id))
        # Its expiring waits for this transaction, and then looks at this column once more, but not at the new part.
        expires = after_us(tx.now_us, self.keep_s)
        last = await move_upload(tx, upload_id, tenant, part, parts_most=PARTS_MOST, expires=expires)
        if not last:
            return await _promised(tx, upload_id, tenant)
        asset_id, job_id = await promise_asset(
            tx, tenant, Options.parse(upload["options"]),
            lambda asset_id: AssembleUpload(asset_id=asset_id, upload_id=upload_id),
        )  # fmt: skip
        await complete_upload(tx, upload_id, asset_id)
        return asset_id, job_id


class Offer(NamedTuple):
    """A URL that is signed before there is a row of its upload: signing may have to wait for credentials."""

    upload_id: str
    url: str
    url_expires_us: int


async def make_offer(blobs: Blobs, settings: MediaSettings, now_us: int) -> Offer:
    upload_id, for_s = new_id("upl"), min(URL_LIFE_MOST_S, settings.upload_keep_s)
    return Offer(upload_id, await blobs.presign("PUT", _key(upload_id), for_s=for_s), after_us(now_us, for_s))


async def sign_again(blobs: Blobs, made: Mapping[str, Any], now_us: int) -> str:
    """The URL of an upload that `begin_direct` has told of, for what is left of its time."""
    left_s = (from_rfc3339(made["url_expires_at"]) - now_us) / SECOND_US
    return await blobs.presign("PUT", _key(made["id"]), for_s=max(1.0, left_s))


async def begin_direct(
    tx: Tx, tenant: str, settings: MediaSettings, offer: Offer, size_bytes: int, options: Options
) -> dict[str, Any]:
    """What tells the client where to PUT, but for the `url`: that opens the bucket to whoever has it, and is not kept
    with the answer to an idempotency key.
    """
    expires = after_us(tx.now_us, settings.upload_keep_s)
    await insert_upload(
        tx, id=offer.upload_id, tenant=tenant, protocol=PROTOCOL, length_bytes=size_bytes, metadata_text=None,
        options=options.wire(), expires=expires,
    )  # fmt: skip
    return {
        "id": offer.upload_id,
        "method": "PUT",
        "url_expires_at": rfc3339(offer.url_expires_us),
        "complete": f"/v1/media/direct/{offer.upload_id}/complete",
        "expires_at": rfc3339(expires),
    }


async def complete_direct(
    resources: Resources, tenant: str, blobs: Blobs, settings: MediaSettings, upload_id: str
) -> Done | None:
    """None when there is no such upload. Raises NotUploaded, Gone."""
    upload = await read_upload(resources.database, upload_id, tenant)
    if upload is None or upload["protocol"] != PROTOCOL:
        return None
    if upload["asset_id"] is None:
        check_there(upload, resources.database.clock.now_us())
        await _check_there(blobs, upload)
    return Done(upload, settings.upload_keep_s)


async def _check_there(blobs: Blobs, upload: Mapping[str, Any]) -> None:
    try:
        found = await blobs.size_bytes(_key(upload["id"]))
    except BlobMissing:
        raise NotUploaded("nothing has come to the bucket yet: PUT the file to the upload's url first") from None
    if found != upload["length_bytes"]:
        words = f"the bucket has {found} bytes of this upload, {upload['length_bytes']} were announced: PUT it again"
        raise NotUploaded(words, found_bytes=found, expected_bytes=upload["length_bytes"])


async def _promised(tx: Tx, upload_id: str, tenant: str) -> tuple[str, str]:
    upload = await read_upload_in(tx, upload_id, tenant)
    if upload is None or upload["asset_id"] is None:
        raise why_not(upload, 0, tx.now_us, upload_id)
    job_id = await read_asset_job(tx, upload["asset_id"])
    if job_id is None:
        raise NotFound(f"the asset of the upload {upload_id} has been deleted")
    return upload["asset_id"], job_id


def _key(upload_id: str) -> str:
    return f"{upload_folder(upload_id)}/{PROTOCOL}"
