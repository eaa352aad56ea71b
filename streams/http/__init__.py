"""How this project serves HTTP: one server and one door for every front.

A front is a value: a list of endpoints, a token, a health check and bounds (`Front`). `server_of(front)` is the only
way to a server, and it puts the door before every endpoint, so a new front is guarded without asking for it:

    front = Front(endpoints=[Endpoint("/v1/hello", hello)], token=read_token, token_place="hello.token", health=dict)
    await serve(server_of(front), listening)

`server.py` bounds connections, `door.py` admits requests, `refusals.py` writes the answers to refused requests.
"""

from streams.http.door import HEALTH, Endpoint, Front, door_of
from streams.http.refusals import SECURITY_HEADERS, HTTPRefusal, not_ready
from streams.http.server import Server, serve, server_of

__all__ = [
    "HEALTH",
    "SECURITY_HEADERS",
    "Endpoint",
    "Front",
    "HTTPRefusal",
    "Server",
    "door_of",
    "not_ready",
    "serve",
    "server_of",
]
