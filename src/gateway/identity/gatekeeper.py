"""Who may speak on a platform: one answer for every kind of event. Implements `channels.ports.Gatekeeper`.

Below it are the links (who was paired or tied), the pairing codes and the channels' settings. It
compares immutable ids only, never names, and knows nothing of what was said.
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable

from bus.errors import BadParameters, NotFound, Overloaded
from bus.events import Actor
from bus.keys import user_id
from channels.ports import Admission, Admitted, Hint, Identity, Place, Silent
from channels.settings import ChannelSettings, ChannelsSettings, GroupSettings
from gateway.identity.codes import shown
from gateway.identity.links import Links
from gateway.identity.pairing import Asking, Pairing
from gateway.identity.preferences import Preferences
from gateway.identity.roles import ROLES
from gateway.identity.tries import Tries
from gateway.identity.users import Users

log = logging.getLogger("gateway.identity")

HINT_SECONDS = 600.0
_HINTED = 10_000

HINTS = {
    "en": "I don't know you yet. Give the operator of this assistant the code {code} (10 minutes): "
    "gateway pair approve {code}",
    "zh": "我还不认识你。请把验证码 {code} 发给助手的管理员(10 分钟内有效):gateway pair approve {code}",
}


def user_of_peer(channel: str, peer: str) -> str:
    """The user that an admitted sender is when nothing ties him to another: `<channel>-<peer>`."""
    name = f"{channel}-{peer}"
    try:
        return str(user_id(name))
    except BadParameters:
        return f"{channel}-{peer.encode().hex()[:48]}"


def language_of(text: str) -> str:
    """`zh` or `en`, for what we say ourselves."""
    return "zh" if text.lower().startswith("zh") else "en"


class Gate:
    """The gatekeeper. `now` gives wall-clock seconds."""

    def __init__(
        self, settings: ChannelsSettings, users: Users, links: Links, pairing: Pairing, *,
        now: Callable[[], float] = time.time, monotonic: Callable[[], float] = time.monotonic,
        preferences: Preferences | None = None,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._users = users
        self._links = links
        self._pairing = pairing
        self._now = now
        self._monotonic = monotonic
        self._moved: Callable[[str, str, str], object] | None = None
        self._preferences = preferences
        self._hinted: OrderedDict[str, float] = OrderedDict()
        self._tries = Tries()

    def tell(self, moved: Callable[[str, str, str], object]) -> None:
        """`moved(identity, before, after)` is told from now on of identities that changed user."""
        self._moved = moved

    async def admit(self, identity: Identity, place: Place) -> Admission:
        """Admitted as a user, told how to ask, or met with silence."""
        settings = getattr(self._settings, identity.channel, None)
        if identity.bot or not isinstance(settings, ChannelSettings):
            return Silent()
        if place.kind == "group":
            return self._admitted(identity) if self._in_group(settings, identity, place) else Silent()
        if settings.dm_policy == "off":
            return Silent()
        if self._in_private(settings, identity):
            return self._admitted(identity)
        return self._hint(identity) if settings.dm_policy == "pairing" else Silent()

    def _in_private(self, settings: ChannelSettings, identity: Identity) -> bool:
        return (
            settings.dm_policy == "open"
            or identity.peer in settings.allow_from
            or "*" in settings.allow_from
            or self._links.user_of(str(identity)) is not None
        )

    def _in_group(self, settings: ChannelSettings, identity: Identity, place: Place) -> bool:
        if settings.group_policy == "off":
            return False
        entry: GroupSettings | None = settings.groups.get(place.parent or place.chat) or settings.groups.get("*")
        if entry is None:
            return False
        if entry.allow_from:
            return "*" in entry.allow_from or identity.peer in entry.allow_from
        return self._in_private(settings, identity)

    def _admitted(self, identity: Identity) -> Admitted:
        user = self._links.user_of(str(identity)) or user_of_peer(identity.channel, identity.peer)
        role = self._users.role_of(user)
        chosen = self._preferences.language(user) if self._preferences is not None else None
        return Admitted(
            actor=Actor(
                user=user, role=role, scopes=ROLES[role], channel=identity.channel, identity=str(identity),
                language=chosen or language_of(identity.language),
            )
        )  # fmt: skip

    def _hint(self, identity: Identity) -> Admission:
        moment = self._monotonic()
        name = str(identity)
        if moment - self._hinted.get(name, -HINT_SECONDS) < HINT_SECONDS:
            return Silent()
        try:
            asking = self._pairing.ask(identity.channel, identity.account, identity.peer, identity.name, self._now())
        except Overloaded as error:  # a stranger's message is no reason to take the channel down with the disk
            log.error("a pairing code could not be kept: %s", error.message)
            return Silent()
        if asking is None:
            return Silent()
        self._hinted[name] = moment
        self._hinted.move_to_end(name)
        while len(self._hinted) > _HINTED:
            self._hinted.popitem(last=False)
        return Hint(text=HINTS[language_of(identity.language)].format(code=shown(asking.code)))

    async def link(self, code: str, identity: Identity) -> str:
        """Tie `identity` to the user who made `code`. Raises NotFound, or RateLimited after five wrong ones."""
        return self.redeem(code, str(identity), user_of_peer(identity.channel, identity.peer))

    def redeem(self, code: str, identity: str, before: str) -> str:
        """The same for an identity in text form; `before` is the user it was until now, if nothing tied it."""
        moment = self._monotonic()
        self._tries.check(identity, moment)
        try:
            user, tied = self._links.redeem(code, identity, self._now())
        except NotFound:
            self._tries.wrong(identity, moment)
            raise
        if self._moved is not None:
            self._moved(identity, tied or before, user)
        return user

    def approve(self, asking: Asking, user: str | None) -> str:
        """Let a waiting sender in, as `user` or under a name of his own; that user."""
        name = user or user_of_peer(asking.channel, asking.peer)
        self._users.ensure(name)
        before = self._links.tie(asking.identity, name, by="pairing")
        if self._moved is not None:
            self._moved(asking.identity, before or user_of_peer(asking.channel, asking.peer), name)
        return name

    def release(self, identity: str, user: str) -> None:
        """Take the tie to `user` away: what is said in that account's chat from now on is no longer his to read.

        Raises NotFound where it isn't this user's.
        """
        self._links.untie(identity, user)
        channel, _, peer = identity.split(":", 2)
        if self._moved is not None:
            self._moved(identity, user, user_of_peer(channel, peer))
