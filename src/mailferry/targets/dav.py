"""One person's collections on a CalDAV or CardDAV server, as `targets/items.py` wants them: what both have in common.

Invariant: nothing here makes the server send an invitation: SCHEDULE-AGENT=CLIENT stands in the items, and deletions
say `Schedule-Reply: F` (RFC 6638 §8.1).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from mailferry.errors import ItemError, Permanent
from mailferry.model.groupware import Kind
from mailferry.net.dav import DavConnection, canonical
from mailferry.targets.items import NotStored, Place, Resource, Stored, Why
from mailferry.wire import dav

AT_ONCE = 50
"""Resources that one multiget asks for."""
_PLACE = (dav.RESOURCE_TYPE, dav.DISPLAY_NAME, dav.COMPONENTS, dav.CTAG, dav.SYNC_TOKEN, dav.OWNER)


@dataclass(frozen=True, slots=True)
class Service:
    """What tells CalDAV from CardDAV. `collection`: the element of resourcetype; `components`: what holds which kind;
    `ending` and `content_type`: of resources."""

    name: str
    home_set: str
    collection: str
    data: str
    ending: str
    content_type: str
    components: Mapping[Kind, str]


class DavSession:
    """One open mailbox on one service."""

    def __init__(self, service: Service, connection: DavConnection, home: str) -> None:
        self._service, self._dav, self._home = service, connection, home

    async def places(self) -> list[Place]:
        """The person's own: what others share with them stands in the same home, and is not theirs to fill."""
        shown = await self._dav.propfind(self._home, _PLACE, 1)
        owner = next((_owner(one) for one in shown if one.href.rstrip("/") == self._home.rstrip("/")), "")
        found = []
        for one in shown:
            types = one.properties.get(dav.RESOURCE_TYPE)
            if types is None or self._service.collection not in types.elements:
                continue
            if _owner(one) in (owner, "") or not owner:
                found.append(self._place(one))
        found.sort(key=lambda place: place.id)
        seen: set[Kind] = set()  # the first that holds a kind is where clients look
        marked = []
        for place in found:
            marked.append(Place(place.id, place.name, place.kinds, not place.kinds <= seen, place.token))
            seen |= place.kinds
        return marked

    def _place(self, one: dav.Response) -> Place:
        components = self._service.components
        told = one.properties[dav.COMPONENTS].names if dav.COMPONENTS in one.properties else []
        kinds = frozenset(kind for kind, component in components.items() if not told or component in told)
        token = one.text(dav.CTAG) or one.text(dav.SYNC_TOKEN)
        return Place(one.href, one.text(dav.DISPLAY_NAME), kinds, token=token)

    async def create(self, name: str, display_name: str, kind: Kind) -> Place:
        href = canonical(f"{self._home}{name}/")
        if component := self._service.components[kind]:
            method, body = "MKCALENDAR", dav.make_calendar(display_name, [component])
        else:
            method, body = "MKCOL", dav.make_address_book(display_name)
        status, _, answer = await self._dav.request(
            method, href, body, {"Content-Type": "application/xml; charset=utf-8"}
        )
        if status not in (200, 201, 405) and not (status in (403, 409) and b"resource-must-be-null" in answer):
            raise ItemError(f"the server does not make a collection ({status})", about=href)
        for place in await self.places():
            if place.id == href:
                return place
        raise ItemError("the collection was made, and is not there", about=href)

    async def listing(self, place: Place) -> Mapping[str, str]:
        return {
            one.href: one.text(dav.ETAG)
            async for one in self._dav.multistatus("PROPFIND", place.id, dav.propfind([dav.ETAG]), 1)
            if one.href.rstrip("/") != place.id.rstrip("/") and one.status == 200
        }

    def href(self, place: Place, uid: str, kind: Kind) -> str:
        return canonical(place.id + dav.resource_name(uid, self._service.ending))

    async def put(self, place: Place, href: str, data: bytes, etag: str | None) -> Stored | NotStored:
        condition = {"If-None-Match": "*"} if etag is None else {"If-Match": etag}
        headers = {"Content-Type": self._service.content_type, **condition}
        status, answered, body = await self._dav.request("PUT", href, data, headers)
        if status in (200, 201, 204):
            now = answered.get("etag") or await self._dav.etag(href)
            if now is None:
                return NotStored(Why.REFUSED, "the server took it, and does not have it")
            return Stored(href, now)
        if status == 412:
            now = await self._dav.etag(href)
            if now != etag:
                return NotStored(Why.CHANGED, "it was changed there meanwhile")
            return NotStored(Why.TOO_LARGE, f"the server does not take it: {len(data)} bytes are most likely too many")
        if b"no-uid-conflict" in body:
            return NotStored(Why.UID, "the server has another item of the same UID in this collection")
        if status == 413 or b"max-resource-size" in body:
            return NotStored(Why.TOO_LARGE, f"{len(data)} bytes are more than the server takes")
        if status in (404, 409):
            raise ItemError(f"the collection is not there any more ({status})", about=place.id)
        if status == 403 and b"need-privileges" in body:
            raise Permanent("we may not write there (403)", about=place.id, advice="check whose the collection is")
        return NotStored(Why.REFUSED, f"the server refuses it ({status})")

    async def read(self, place: Place, hrefs: Sequence[str]) -> AsyncIterator[Resource]:
        for start in range(0, len(hrefs), AT_ONCE):
            body = dav.multiget(self._service.collection, hrefs[start : start + AT_ONCE])
            async for one in self._dav.multistatus("REPORT", place.id, body, 1):
                if one.status == 200 and self._service.data in one.properties:
                    data = one.properties[self._service.data].text
                    yield Resource(one.href, one.text(dav.ETAG), data.encode())

    async def delete(self, place: Place, href: str, etag: str) -> bool:
        status, _, _ = await self._dav.request("DELETE", href, b"", {"If-Match": etag, "Schedule-Reply": "F"})
        if status in (200, 204, 404, 410):
            return True
        if status == 412:
            return await self._dav.etag(href) is None
        raise ItemError(f"the server does not remove it ({status})", about=href)

    async def close(self) -> None:
        await self._dav.close()


def _owner(one: dav.Response) -> str:
    """Whose it is (RFC 3744 §5.1); "" where the server does not say."""
    found = one.properties.get(dav.OWNER)
    return canonical(found.hrefs[0]).rstrip("/") if found is not None and found.hrefs else ""


async def open_session(service: Service, connection: DavConnection) -> DavSession:
    """Log in and find the person's home. The connection is closed where that fails."""
    try:
        return DavSession(service, connection, await connection.home(service.name, service.home_set))
    except BaseException:
        await connection.close()
        raise
