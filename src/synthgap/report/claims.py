"""The claims of paper A, each put to the numbers of the metrics table.

The paper reads them off its figures. Here each has an estimate, an interval and a verdict: a claim
holds only where the interval lies clear of zero on the claimed side.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace

from synthgap.errors import UserError
from synthgap.figures import data
from synthgap.figures.data import BySource, Source
from synthgap.figures.scores import scores
from synthgap.metrics.rank_correlation import LEAST
from synthgap.metrics.table import Row
from synthgap.report.findings import Finding, compared, correlated, untested

ACCURACY = "accuracy on real images"
COLUMNS = (
    *("claim", "title", "paper", "verdict", "prompts", "about", "generator", "measure"),
    *("estimate", "ci_low", "ci_high", "ci_level", "n", "sentence"),
)


@dataclass(frozen=True)
class Claim:
    """A claim and what was found of it, a finding for each case (prompts, score, probes...)."""

    name: str
    title: str
    paper: str
    """where the paper says so"""
    findings: list[Finding]


def claims(
    rows: Sequence[Row],
    *,
    architecture: str | None = None,
    distribution: str | None = None,
) -> list[Claim]:
    """All claims that the table has numbers for, in the order of the paper's figures.

    Args:
        rows: of the metrics table.
        architecture, distribution: which rows, where the table holds several.

    Raises:
        UserError: rows of a source are ambiguous.
    """
    sources = data.sources(rows)
    accuracy = data.synth_to_real(rows, architecture=architecture)
    if not sources or not accuracy:
        return []
    of = _Case(rows, sources, accuracy, architecture)
    x_name = sources[0].x_name
    newer = "Newer generators make" if x_name == "release date" else f"A higher {x_name} makes"
    found = [
        Claim(
            "newer-worse",
            f"{newer} worse training data",
            "figure 1, of class-name prompts",
            of.related({s.name: s.x for s in sources}, -1, x_name),
        ),
        Claim(
            "alignment-worse",
            "Generators with better scores make worse training data",
            "figure 3, of class-name prompts",
            [
                finding
                for score in scores(rows, sources)
                for finding in of.related(_values(score.rows), -1, score.title, score.title)
            ],
        ),
        Claim(
            "texture-below-structure",
            "Texture carries over worse than structure",
            "figure 4, left",
            of.carried_over("texture", "structure"),
        ),
        Claim(
            "high-below-low",
            "High frequencies carry over worse than low ones",
            "figure 4, right",
            of.carried_over("high", "low"),
        ),
        Claim(
            "captions-help",
            "Captions make better training data than class names",
            "figures 1 and 4",
            of.captions_help(),
        ),
        Claim(
            "captions-help-structure",
            "Captions help texture and high frequencies less than the rest",
            "figure 4",
            of.captions_help_unevenly(),
        ),
        Claim(
            "coverage-helps",
            "The more real images are covered, the better the training data",
            "figure 5",
            of.distributed("coverage", distribution, 1),
        ),
        Claim(
            "density-harms",
            "The denser the generated images, the worse the training data",
            "figure 5",
            of.distributed("density", distribution, -1),
        ),
        Claim(
            "asymmetry",
            "Generated images are easier to recognise than to learn from",
            "figure 6",
            of.asymmetric(),
        ),
        Claim(
            "architectures-agree",
            "Other architectures rank the generators alike",
            "section 4.1",
            of.architectures_agree(),
        ),
    ]
    return [_told_once(claim) for claim in found if claim.findings]


def _told_once(claim: Claim) -> Claim:
    """Where all cases have too few generators, that is said once."""
    sizes = {finding.n for finding in claim.findings}
    if max(sizes) >= LEAST or claim.findings[0].measure != "rank correlation":
        return claim
    return replace(claim, findings=[untested(max(sizes))])


def claims_csv(found: Sequence[Claim]) -> str:
    """Claims as comma-separated values, a row a finding; differences are fractions."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for claim in found:
        for f in claim.findings:
            numbers = ["" if math.isnan(v) else v for v in (f.estimate, f.low, f.high)]
            where = [f.verdict, f.prompts, f.about, f.generator, f.measure]
            paper = f"paper A, {claim.paper}"
            writer.writerow(
                [claim.name, claim.title, paper, *where, *numbers, f.level, f.n, f.sentence]
            )
    return text.getvalue()


@dataclass(frozen=True)
class _Case:
    """The table, and what most claims need of it."""

    rows: Sequence[Row]
    sources: list[Source]
    accuracy: BySource
    architecture: str | None

    def by_kind(self, names: Set[str]) -> list[tuple[str, list[Source]]]:
        """Kinds of prompt with those of their sources that are named, if any."""
        found = [
            (kind, [s for s in self.sources if s.prompts == kind and s.name in names])
            for kind in data.prompt_kinds(self.sources)
        ]
        return [(kind, series) for kind, series in found if series]

    def related(
        self, by: dict[str, float], expected: int, title: str, about: str = ""
    ) -> list[Finding]:
        """Accuracy on real images against another number, within each kind of prompt."""
        return [
            correlated(
                [(by[s.name], self.accuracy[s.name].value) for s in series],
                expected,
                what=ACCURACY,
                by=title,
                prompts=kind,
                about=about,
            )
            for kind, series in self.by_kind(set(by) & set(self.accuracy))
        ]

    def distributed(self, metric: str, distribution: str | None, expected: int) -> list[Finding]:
        by = _values(data.distribution(self.rows, metric, name=distribution))
        return self.related(by, expected, metric)

    def relative(self, probe: str) -> BySource:
        """Synth->Real over Real->Real."""
        return data.synth_to_real(
            self.rows, probe=probe, architecture=self.architecture, metric=data.RELATIVE
        )

    def carried_over(self, worse: str, better: str) -> list[Finding]:
        low, high = self.relative(worse), self.relative(better)
        return [
            finding
            for kind, series in self.by_kind(set(low) & set(high))
            for finding in compared(
                {s.generator: [(1, low[s.name]), (-1, high[s.name])] for s in series},
                -1,
                what=f"accuracy relative to real images in {data.PROBES[worse]}",
                than=f"that in {data.PROBES[better]}",
                prompts=kind,
                about=f"{worse}, {better}",
            )
        ]

    def asymmetric(self) -> list[Finding]:
        forth = data.real_to_synth(self.rows, architecture=self.architecture)
        back = self.accuracy
        return [
            finding
            for kind, series in self.by_kind(set(forth) & set(back))
            for finding in compared(
                {s.generator: [(1, forth[s.name]), (-1, back[s.name])] for s in series},
                1,
                what="Real→Synth accuracy",
                than="Synth→Real accuracy",
                prompts=kind,
            )
        ]

    def described(self, found: BySource) -> dict[str, list[tuple[int, Row]]]:
        """By generator, its row with captions less that with class names, where it has both."""
        kinds = {(s.generator, s.prompts): found.get(s.name) for s in self.sources}
        terms = {}
        for generator in dict.fromkeys(s.generator for s in self.sources):
            captions = kinds.get((generator, "caption"))
            names = kinds.get((generator, "classname"))
            if captions and names:
                terms[generator] = [(1, captions), (-1, names)]
        return terms

    def captions_help(self) -> list[Finding]:
        return compared(
            self.described(self.accuracy),
            1,
            what="Synth→Real accuracy with caption prompts",
            than="that with class-name prompts",
        )

    def captions_help_unevenly(self) -> list[Finding]:
        found = []
        for more, less in (
            ("rgb", "texture"),
            ("structure", "texture"),
            ("rgb", "high"),
            ("low", "high"),
        ):
            gains = [self.described(self.relative(probe)) for probe in (more, less)]
            terms = {
                generator: [*gains[0][generator], *((-s, row) for s, row in gains[1][generator])]
                for generator in gains[0]
                if generator in gains[1]
            }
            found += compared(
                terms,
                1,
                what=f"what captions add to relative accuracy in {data.PROBES[more]}",
                than=f"what they add in {data.PROBES[less]}",
                about=f"{more}, {less}",
            )
        return found

    def architectures_agree(self) -> list[Finding]:
        found = []
        for probe in data.architectures(self.rows):
            other = data.synth_to_real(self.rows, probe=probe)
            for kind, series in self.by_kind(set(other) & set(self.accuracy)):
                first = {self.accuracy[s.name].architecture for s in series}
                names = {other[s.name].architecture for s in series}
                found.append(
                    correlated(
                        [(self.accuracy[s.name].value, other[s.name].value) for s in series],
                        1,
                        what=f"the accuracy of {_one(names, probe)}",
                        by=f"that of {_one(first, 'rgb')}",
                        prompts=kind,
                        about=probe,
                    )
                )
        return found


def _one(names: set[str | None], otherwise: str) -> str:
    if len(names) > 1:
        raise UserError(f"metrics: one probe with several architectures: {sorted(map(str, names))}")
    return names.pop() or otherwise


def _values(rows: BySource) -> dict[str, float]:
    return {name: row.value for name, row in rows.items()}
