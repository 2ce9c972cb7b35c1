"""An MCP server over stdio that finds notes and gives files: a picture, and a text as an embedded resource."""

import base64
import struct
import zlib

from mcp.server import MCPServer
from mcp.server.mcpserver.utilities.types import Image
from mcp.types import BlobResourceContents, EmbeddedResource

mcp = MCPServer("pictures")
WIDTH, HEIGHT = 64, 48


def png() -> bytes:
    """A small picture with a slope of colours."""
    rows = b"".join(
        b"\0" + b"".join(bytes([x * 255 // WIDTH, y * 255 // HEIGHT, 180]) for x in range(WIDTH)) for y in range(HEIGHT)
    )

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@mcp.tool()
def search(query: str) -> str:
    """Find notes by their words."""
    return f"3 notes about {query}: flights.md, flat.md, sights.md"


@mcp.tool()
def draw() -> Image:
    """Draw a picture."""
    return Image(data=png(), format="png")


@mcp.tool(structured_output=False)
def report() -> list[EmbeddedResource]:
    """Write a page."""
    blob = base64.b64encode(b"<script>alert(1)</script>").decode()
    contents = BlobResourceContents(uri="file:///tmp/report.html", mime_type="text/html", blob=blob)
    return [EmbeddedResource(type="resource", resource=contents)]


if __name__ == "__main__":
    mcp.run()
