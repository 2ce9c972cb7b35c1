"""The listener with all of its routes, made from the composition."""

from collections.abc import Sequence

from aiohttp import web

from gateway.composition import Gateway
from gateway.connection import House
from gateway.http.api import PersonalRoutes, StateRoutes
from gateway.http.oauth import OAuthRoutes
from gateway.http.openai import OpenAiRoutes
from gateway.http.rpc import RpcRoute
from gateway.http.stopping import UnderWay
from gateway.http.webhooks import WebhookRoutes
from gateway.http.webui import WebUi
from gateway.network import Doors
from gateway.server import Listener, peer_of


def make_listener(gateway: Gateway, more: Sequence[web.AbstractRouteDef] = ()) -> Listener:
    """The listener; `more` are routes of others."""
    server, people = gateway.loaded.settings.server, gateway.people
    doors = Doors(server)
    authenticator, under_way = people.authenticator, UnderWay()
    families = (
        StateRoutes(
            authenticator=authenticator, doors=doors, ready=lambda: gateway.phase.ready, status=gateway.status,
            metrics=gateway.metrics.render,
        ),
        PersonalRoutes(
            authenticator=authenticator, tokens=people.tokens, users=people.users, logins=people.logins,
            media=gateway.media, max_media_bytes=server.max_media_bytes,
            secure=bool(server.tls.cert) or server.tls_terminated_by_proxy, peer=peer_of,
        ),
        RpcRoute(
            dispatcher=gateway.dispatcher, authenticator=authenticator, hub=gateway.hub,
            max_bytes=server.max_message_bytes, under_way=under_way,
        ),
        OpenAiRoutes(
            chat=gateway.chat, hub=gateway.hub, access=gateway.access, turns=gateway.loop, media=gateway.media,
            authenticator=authenticator, models=gateway.model.describe,
            max_bytes=server.max_message_bytes + server.max_media_bytes * 4 // 3, under_way=under_way,
        ),
        WebhookRoutes(gateway.channels),
        OAuthRoutes(gateway.toolbox.sign_in.answered),
        WebUi(),
    )  # fmt: skip
    routes = [*(route for family in families for route in family.routes()), *gateway.toolbox.endpoint.routes(), *more]
    return Listener(
        server, house=House(gateway.dispatcher, gateway.hub, gateway.sockets), authenticator=authenticator,
        doors=doors, routes=routes, taking_in=lambda: gateway.phase.ready, under_way=under_way,
    )  # fmt: skip
