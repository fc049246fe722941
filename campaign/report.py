"""Write the table of docs/reliability.md from the campaign's result file.

python -m campaign.report [--check]
"""

import argparse
import sys
from collections import defaultdict
from pathlib import Path

from campaign import rows
from campaign.rows import Row

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs/reliability.md"
BEGIN, END = "<!-- campaign: begin -->", "<!-- campaign: end -->"
HEADER = "| part | fault | times | as without it | refused with one line | other | losses |"
AS_WITHOUT = (rows.RECOVERED, rows.RIGHT)


def table(found: list[Row]) -> str:
    """Return the lines between the markers: a line a fault, in each part's order."""
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in found:
        groups[row["part"], row["fault"]].append(row)
    lines = [HEADER, "| --- | --- | ---: | ---: | ---: | --- | ---: |"]
    for (part, fault), some in sorted(groups.items()):
        times = sum(row["times"] for row in some)
        kept = sum(row["times"] for row in some if row["outcome"] in AS_WITHOUT)
        refused = sum(row["times"] for row in some if row["outcome"] == rows.REFUSED)
        losses = sum(row["losses"] for row in some)
        cells = [part, fault, times, kept, refused, other(some), losses]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join([*lines, *stages(found), *requests(found), *loops(found)])


def other(some: list[Row]) -> str:
    """Return all outcomes but the two usual ones, with their numbers."""
    counts: dict[str, int] = defaultdict(int)
    for row in some:
        defect = row["outcome"].startswith(
            (rows.DEFECT, rows.OPEN)
        )  # tells even where the fault was not made
        if row["outcome"] not in (*AS_WITHOUT, rows.REFUSED) and (row["times"] or defect):
            outcome = row["outcome"].split("\n")[0].replace("|", "/")
            counts[outcome[:160]] += max(1, row["times"])
    return "; ".join(f"{number} {outcome}" for outcome, number in sorted(counts.items()))


def stages(found: list[Row]) -> list[str]:
    """Return how often each stage was at work when it, or what had started it, was killed."""
    counts: dict[str, int] = defaultdict(int)
    for row in found:
        if row["part"] == "kills" and row["times"]:
            counts[row["stages"][0]] += row["times"]
    if not counts:
        return []
    listed = ", ".join(f"`{name}` {number}" for name, number in sorted(counts.items()))
    return ["", f"**Kills**: {sum(counts.values())} over {len(counts)} stages: {listed}."]


def requests(found: list[Row]) -> list[str]:
    """Return what was asked of services."""
    asked = [row for row in found if row["part"] == "services" and "requests" in row]
    if not asked:
        return []
    sent, images = (sum(row[name] for row in asked) for name in ("requests", "images"))
    return ["", f"**Services**: {sent:,} requests for {images:,} captions."]


def loops(found: list[Row]) -> list[str]:
    """Return how long and how often stages were looped."""
    looped = [row for row in found if row["part"] == "long-run" and "loops" in row]
    if not looped:
        return []
    names, times = {row["hit"] for row in looped}, sum(row["loops"] for row in looped)
    minutes = sum(row["seconds"] for row in looped) / 60
    told = f"{len(names)} stages, {times:,} loops, {minutes:.0f} minutes in all"
    return ["", f"**Long run**: {told}."]


def page(text: str, found: list[Row]) -> str:
    """Return the page with a new table between its markers."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table(found)}\n{END}{after}"


def main() -> None:
    """Write the page, or with `--check` say whether it agrees with the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=HERE / "results.jsonl")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    text = PAGE.read_text(encoding="utf-8")
    new = page(text, rows.read(args.results))
    if args.check:
        sys.exit(
            0 if new == text else f"{PAGE} is not of {args.results}: python -m campaign.report"
        )
    PAGE.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
