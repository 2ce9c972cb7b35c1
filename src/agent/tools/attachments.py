"""Files that came along earlier in a talk, read again: the tool `read_attachment`.

In its own turn a file goes to the model as it is (`files.py`); in later turns it is named, with a handle, and what
was too long for its turn is named too. Above is `executor.py`, which offers the tool where there are such files and
gives a long text page by page; below is the media folder, which knows whose file it is. A picture cannot be a tool's
result: it is named here, and `modes/attached.py` shows it.
"""

from collections.abc import Callable, Mapping

from agent import files
from agent.ports.media import MediaReader
from agent.ports.tools import ToolResult, ToolSpec
from agent.tools.results import problem
from bus.errors import GatewayError
from bus.events import MediaRef

READ_ATTACHMENT = "read_attachment"
SHOWN = "(this picture is shown to you)"
MAX_CHARS = 2_000_000

READ_ATTACHMENT_SPEC = ToolSpec(
    name=READ_ATTACHMENT,
    description="Read a file that came along earlier in this talk, or was cut, by the handle beside its name.",
    input_schema={
        "type": "object",
        "properties": {"attachment": {"type": "string", "description": "the handle, as in (attachment HANDLE)"}},
        "required": ["attachment"],
        "additionalProperties": False,
    },
    read_only=True,
    idempotent=True,
)


class AttachmentReader:
    """The files of one session for one person. `known` gives those its window holds, by handle."""

    def __init__(
        self, media: MediaReader, owner: str, known: Callable[[], Mapping[str, MediaRef]], *, sees: bool = False
    ) -> None:
        self._media = media
        self._owner = owner
        self._known = known
        self._sees = sees

    @property
    def any(self) -> bool:
        """Whether there is something to read."""
        return bool(self._known())

    async def read(self, handle: str) -> ToolResult:
        """The text of one, whole. What can't be read is said, so that the model can tell."""
        ref = self._known().get(handle)
        if ref is None:
            return problem("There is no such attachment in this talk. The handles stand beside the files' names.")
        if self._sees and ref.mime in files.SEEN_AS_IMAGE and ref.size <= files.IMAGE_BYTES:
            return _text(SHOWN)
        try:
            text = await files.text_of(ref, self._media, self._owner, MAX_CHARS)
        except (GatewayError, OSError):
            return problem("This file is no longer kept, or it is somebody else's.")
        if text is None:
            return problem(f"A file of type {ref.mime} can't be read as text.")
        return _text(text)


def _text(text: str) -> ToolResult:
    return ToolResult(content=({"type": "text", "text": text},))
