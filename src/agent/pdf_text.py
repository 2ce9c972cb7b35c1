"""The text of a PDF, read in a process of its own: `python -P pdf_text.py PAGES CHARACTERS < file > text`.

PDFium is C++ that reads whatever strangers send: where a file breaks it, this process dies and nothing else.
`files.py` starts it with time and memory bounds. Stands on the standard library and `pypdfium2` (extra `media`)
alone. Exit code 3: the extra is missing; 4: this is no PDF that can be read.
"""

import sys

MISSING, UNREADABLE = 3, 4
MEMORY_BYTES = 1024 * 1024 * 1024


def text_of_pdf(data: bytes, pages: int, characters: int) -> str:
    """The text of the first `pages` pages, at most so many `characters`; '' where there is none (a scan).

    Raises ImportError without the extra, pypdfium2.PdfiumError for what is no PDF or is encrypted.
    """
    import pypdfium2

    out: list[str] = []
    room = characters
    document = pypdfium2.PdfDocument(data)
    try:
        for number in range(min(len(document), pages)):
            page = document[number]
            read = page.get_textpage()
            text = read.get_text_bounded()[:room].replace("\r\n", "\n").strip()
            read.close()
            page.close()
            if text:
                out.append(text)
                room -= len(text)
            if room <= 0:
                break
        if len(document) > pages:
            out.append(f"[only the first {pages} of {len(document)} pages were read]")
    finally:
        document.close()
    return "\n\n".join(out)


def main() -> int:
    """The process."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    except (ImportError, ValueError, OSError):
        pass  # not on this system
    try:
        text = text_of_pdf(sys.stdin.buffer.read(), int(sys.argv[1]), int(sys.argv[2]))
    except ImportError:
        return MISSING
    except Exception:  # whatever the library makes of a broken file
        return UNREADABLE
    sys.stdout.buffer.write(text.encode("utf-8", "replace"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
