"""The headers of a request to an endpoint: what every request has, and Dowse's key. Used by `dowse.models.endpoint`.

The `openai` client also sends what OPENAI_CUSTOM_HEADERS, OPENAI_ORG_ID and OPENAI_PROJECT_ID say, which is meant for
one service and not for whatever address is asked; a header from there even takes the place of the key. Writes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx2

_OF_EVERY_REQUEST = frozenset(
    {"accept", "accept-encoding", "authorization", "connection", "content-length", "content-type", "host", "user-agent"}
)


def keep_own_headers(request: httpx2.Request, key: str) -> None:
    """Take from a request what the environment put into its headers, and write the key, which may be empty.

    A request that was redirected to another host comes without authorization, and stays so; a name and password in the
    address were written into it by the user, and count for more than a key.
    """
    for name in set(request.headers) - _OF_EVERY_REQUEST:
        del request.headers[name]
    if "authorization" in request.headers and not request.url.userinfo:
        del request.headers["Authorization"]
        if key:
            request.headers["Authorization"] = f"Bearer {key}"
