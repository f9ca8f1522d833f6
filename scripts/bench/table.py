"""The table of results: medians, spread, and the ratio of snet to every peer in the same round."""

from statistics import median


class Row:
    """One thing measured, for every contestant, once a round."""

    def __init__(self, name, unit, target=None):
        self.name, self.unit, self.target = name, unit, target
        self.values = {}

    def add(self, contestant, value):
        self.values.setdefault(contestant, []).append(value)

    def ratio(self, peer):
        """Median over the rounds of snet / peer."""
        pairs = zip(self.values.get("snet", []), self.values.get(peer, []))
        ratios = [ours / theirs for ours, theirs in pairs if theirs]
        return median(ratios) if ratios else None


def cell(values):
    low, middle, high = min(values), median(values), max(values)
    digits = 1 if middle >= 20 else 2
    if len(values) == 1 or low == high:
        return f"{middle:.{digits}f}"
    return f"{middle:.{digits}f} ({low:.{digits}f}-{high:.{digits}f})"


def render(rows):
    lines = ["| what | unit | snet | peers | snet / peer | target |",
             "|---|---|---|---|---|---|"]
    for row in rows:
        if not row.values:
            continue
        ours = cell(row.values["snet"]) if "snet" in row.values else "-"
        peers = [name for name in row.values if name != "snet"]
        theirs = "; ".join(f"{name} {cell(row.values[name])}" for name in peers)
        ratios = "; ".join(f"{name} {ratio:.2f}" for name in peers
                           if (ratio := row.ratio(name)) is not None)
        lines.append(f"| {row.name} | {row.unit} | {ours} | {theirs} | {ratios} | "
                     f"{row.target or ''} |")
    return "\n".join(lines)
