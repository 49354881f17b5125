"""A receipt in pages that fit one answer of the wire: 24 lines of 48 signs, a line feed after each.

A page holds whole lines, so that a module can print each as it comes; put together, the pages are the receipt.
"""

PAGE_BYTES_MAX = 24 * (48 + 1)


def paginate(encoded: bytes, most: int = PAGE_BYTES_MAX) -> tuple[bytes, ...]:
    """Split an encoded receipt into pages of whole lines of at most `most` bytes, as few as can be; none for no text.

    Raises:
        ValueError: a line is longer than a page, or the last one has no line feed.

    """
    if not encoded.endswith(b"\n") and encoded:
        raise ValueError("the last line of a receipt must end with a line feed")
    pages = []
    start = 0
    while len(encoded) - start > most:
        end = encoded.rfind(b"\n", start, start + most) + 1
        if end == 0:
            raise ValueError(f"a line of a receipt is longer than a page of {most} bytes")
        pages.append(encoded[start:end])
        start = end
    if start < len(encoded):
        pages.append(encoded[start:])
    return tuple(pages)
