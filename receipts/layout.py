"""Words on paper of a fixed width: label left, value right, long texts wrapped by words.

Two things must hold whatever comes in: no line is longer than the paper, and an amount is never cut: it moves to a line
of its own, even where that leaves its label alone. Only a single word longer than the paper is split, since there is no
other way to print all of it. Whoever calls has transliterated the texts; here one sign is one column.
"""


def wrap(text: str, columns: int) -> list[str]:
    """Break a text into lines by words; a word longer than a line is split."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        if line and len(line) + 1 + len(word) <= columns:
            line = f"{line} {word}"
            continue
        if line:
            lines.append(line)
        while len(word) > columns:
            lines.append(word[:columns])
            word = word[columns:]  # noqa: PLW2901 - what is left of the word
        line = word
    return [*lines, line] if line else lines


def centred(text: str, columns: int) -> list[str]:
    """Break a text into lines by words, each in the middle, without blanks behind it."""
    return [" " * ((columns - len(line)) // 2) + line for line in wrap(text, columns)]


def pair(label: str, value: str, columns: int) -> list[str]:
    """Put a label left and its value right, on one line where a blank fits between them.

    Otherwise the label is wrapped and the value stands on the label's last line, or on lines of its own. A value that
    fits the paper is never broken. Blanks before a label indent it, by a quarter of the paper at most.
    """
    indent = " " * min(len(label) - len(label.lstrip(" ")), columns // 4)
    lines = [indent + line for line in wrap(label, columns - len(indent))]
    last = len(lines[-1]) if lines else 0
    if last + (last > 0) + len(value) <= columns and lines:
        return [*lines[:-1], lines[-1] + value.rjust(columns - last)]
    values = [value] if len(value) <= columns else wrap(value, columns)
    return lines + [line.rjust(columns) for line in values]
