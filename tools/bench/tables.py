"""Writes figures as text: tables and lines for people."""


def cell(value):
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 0.1 else f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"
    return str(value)


def table(rows, columns):
    """A table as text. rows: dicts; columns: (key, heading). Empty columns are left out."""
    columns = [(key, head) for key, head in columns if any(row.get(key) is not None for row in rows)]
    if not rows or not columns:
        return ""
    lines = [[head for _, head in columns]]
    lines += [[cell(row.get(key)) for key, _ in columns] for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    numbers = [all(isinstance(row.get(key), (int, float, type(None))) for row in rows) for key, _ in columns]
    out = []
    for number, line in enumerate(lines):
        cells = [text.rjust(width) if right else text.ljust(width)
                 for text, width, right in zip(line, widths, numbers)]
        out.append("  " + "  ".join(cells).rstrip())
        if number == 0:
            out.append("  " + "  ".join("-" * width for width in widths))
    return "\n".join(out)


def pairs(values):
    """A dict as lines."""
    return "\n".join(f"  {key:24} {cell(value)}" for key, value in values.items())
