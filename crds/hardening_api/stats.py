"""Mergeable integer sums and the intervals read from them.

Shards report sums; adding sums is exact, so one shard or fifty give the same figures to the last bit.
Sources: Wilson (1927); Miller (2024), arXiv 2411.00640 for cluster-robust errors; Bonett and Price (2012)
for the paired difference; Newcombe (1998) for that of two samples; McNemar's exact test; Chen et al. (2021),
arXiv 2107.03374 for success at k.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import NormalDist
from typing import Annotated, Any, Self

from pydantic import Field, model_serializer, model_validator

from hardening_api.base import Contract, Count
from hardening_api.status import Mean, Rate

Z95 = NormalDist().inv_cdf(0.975)
MICRO = 1_000_000
"""Real values are summed as whole millionths, because integer addition is associative and float addition is not."""
AGREEMENT_BINS_PER_UNIT = 4
"""R is counted in bins of asinh(R) a quarter wide: a quarter nat near zero, a quarter of R far from it."""
SignedSum = Annotated[int, Field(ge=-(2**63), le=2**63)]


class Sums(Contract):
    """A model whose every field is an integer sum; as JSON it is the list of them, to fit a termination message."""

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, value: Any) -> Any:
        if isinstance(value, list | tuple) and len(value) == len(cls.model_fields):
            return dict(zip(cls.model_fields, value, strict=True))
        return value

    @model_serializer(mode="plain")
    def _to_list(self) -> list[int]:
        return [value for _, value in self]

    def __add__(self, other: Self) -> Self:
        """Add two shards' sums."""
        added = {name: value + getattr(other, name) for name, value in self}
        return type(self)(**added)


def wilson(successes: float, samples: float, z: float = Z95) -> tuple[float, float]:
    """Return Wilson's score interval of ``successes`` in ``samples`` (which may be an effective, fractional n)."""
    if samples <= 0:
        return 0.0, 1.0
    proportion = successes / samples
    denominator = 1 + z * z / samples
    center = (proportion + z * z / (2 * samples)) / denominator
    half = z / denominator * math.sqrt(proportion * (1 - proportion) / samples + z * z / (4 * samples * samples))
    lower = 0.0 if successes <= 0 else max(0.0, center - half)
    upper = 1.0 if successes >= samples else min(1.0, center + half)
    return lower, upper


def newcombe(now: Rate, before: Rate) -> Rate:
    """Return now - before of two independent samples, with its 95 % interval; `samples` is the smaller n.

    Source: Newcombe (1998), method 10, in the form of Zou and Donner (2008) that takes each rate's own interval, and so
    allows for clusters of variants.
    """
    value = now.value - before.value
    down = math.hypot(now.value - now.lower, before.upper - before.value)
    up = math.hypot(now.upper - now.value, before.value - before.lower)
    return Rate(
        value=value,
        lower=max(-1.0, value - down),
        upper=min(1.0, value + up),
        samples=min(now.samples, before.samples),
    )


class RateSums(Sums):
    """Sums over clusters (prompts) of successes y and samples m, for a proportion with a cluster-robust interval."""

    clusters: Count = 0
    samples: Count = 0
    successes: Count = 0
    samples_squared: Count = 0
    successes_squared: Count = 0
    cross: Count = 0

    @classmethod
    def of(cls, clusters: Iterable[Sequence[bool]]) -> RateSums:
        """Sum ``clusters``, each the outcomes of one prompt; empty clusters are passed over."""
        counted = [(sum(outcomes), len(outcomes)) for outcomes in clusters if outcomes]
        return cls(
            clusters=len(counted),
            samples=sum(m for _, m in counted),
            successes=sum(y for y, _ in counted),
            samples_squared=sum(m * m for _, m in counted),
            successes_squared=sum(y * y for y, _ in counted),
            cross=sum(y * m for y, m in counted),
        )

    def effective_samples(self) -> float:
        """Return n divided by the design effect; the number of clusters when there is no variance to see."""
        if self.clusters == self.samples:
            return float(self.samples)
        n, y = self.samples, self.successes
        # n^2 times the sum of squared residuals (y_c - p m_c)^2: whole numbers, so that nothing is lost when it is 0.
        residual = n * n * self.successes_squared - 2 * n * y * self.cross + y * y * self.samples_squared
        if self.clusters < 2 or residual <= 0:
            return float(self.clusters)
        return min(float(n), y * (n - y) * n * n * (self.clusters - 1) / (self.clusters * residual))

    def rate(self) -> Rate | None:
        """Return the proportion with its interval, or None without samples."""
        if self.samples == 0:
            return None
        value = self.successes / self.samples
        effective = self.effective_samples()
        lower, upper = wilson(value * effective, effective)
        return Rate(
            value=value,
            lower=min(lower, value),
            upper=max(upper, value),
            samples=self.samples,
            effective_samples=effective,
        )


class PairedSums(Sums):
    """A 2 x 2 table of the same samples under candidate and base."""

    both: Count = 0
    only_candidate: Count = 0
    only_base: Count = 0
    neither: Count = 0

    @classmethod
    def of(cls, pairs: Iterable[tuple[bool, bool]]) -> PairedSums:
        """Count ``pairs`` of (candidate, base)."""
        cells = [0, 0, 0, 0]
        for candidate, base in pairs:
            cells[2 * (not candidate) + (not base)] += 1
        return cls(both=cells[0], only_candidate=cells[1], only_base=cells[2], neither=cells[3])

    def difference(self) -> Rate | None:
        """Return candidate minus base with the adjusted Wald interval of Bonett and Price (2012)."""
        samples = self.both + self.only_candidate + self.only_base + self.neither
        if samples == 0:
            return None
        up = (self.only_candidate + 1) / (samples + 2)
        down = (self.only_base + 1) / (samples + 2)
        half = Z95 * math.sqrt((up + down - (up - down) ** 2) / (samples + 2))
        value = (self.only_candidate - self.only_base) / samples
        lower = max(-1.0, min(value, up - down - half))
        upper = min(1.0, max(value, up - down + half))
        return Rate(value=value, lower=lower, upper=upper, samples=samples)

    def mcnemar_p(self) -> float:
        """Return the exact two-sided p-value of McNemar's test; 1 without discordant pairs."""
        discordant = self.only_candidate + self.only_base
        fewer = min(self.only_candidate, self.only_base)
        tail = sum(math.comb(discordant, k) for k in range(fewer + 1))
        return min(1.0, 2 * tail / (1 << discordant))


class MeanSums(Sums):
    """Sums of a real quantity, in whole millionths."""

    samples: Count = 0
    total: SignedSum = 0
    total_squared: Annotated[int, Field(ge=0, le=2**96)] = 0

    @classmethod
    def of(cls, values: Iterable[float]) -> MeanSums:
        """Sum ``values``, each rounded to a millionth."""
        whole = [round(value * MICRO) for value in values]
        return cls(samples=len(whole), total=sum(whole), total_squared=sum(value * value for value in whole))

    def mean(self) -> Mean | None:
        """Return the mean with its normal interval, or None without samples."""
        if self.samples == 0:
            return None
        value = self.total / self.samples / MICRO
        if self.samples == 1:
            return Mean(value=value, lower=value, upper=value, samples=1)
        spread = self.total_squared * self.samples - self.total**2
        variance = spread / (self.samples * (self.samples - 1)) / MICRO**2
        half = Z95 * math.sqrt(max(0.0, variance) / self.samples)
        return Mean(value=value, lower=value - half, upper=value + half, samples=self.samples)


class OutcomeSums(Contract):
    """Pairwise outcomes of candidate against base, by cluster, with ties and errored ones counted apart."""

    wins: RateSums = RateSums()
    """Wins among win + loss + tie."""
    decided: RateSums = RateSums()
    """Wins among win + loss."""
    points: RateSums = RateSums()
    """Half-points among two a comparison: a win is two, a tie one."""
    ties: Count = 0
    """Ties."""
    errored: Count = 0
    """Errored or unparsable comparisons."""

    def __add__(self, other: OutcomeSums) -> OutcomeSums:
        """Add two shards' outcomes."""
        return OutcomeSums(
            wins=self.wins + other.wins,
            decided=self.decided + other.decided,
            points=self.points + other.points,
            ties=self.ties + other.ties,
            errored=self.errored + other.errored,
        )

    @classmethod
    def of(cls, clusters: Sequence[Sequence[str]]) -> OutcomeSums:
        """Sum ``clusters``, each the outcomes (win, loss, tie, errored) of one prompt's comparisons."""
        told = [[outcome for outcome in cluster if outcome != "errored"] for cluster in clusters]
        half_points = {"win": (True, True), "tie": (True, False), "loss": (False, False)}
        return cls(
            wins=RateSums.of([outcome == "win" for outcome in cluster] for cluster in told),
            decided=RateSums.of([outcome == "win" for outcome in cluster if outcome != "tie"] for cluster in told),
            points=RateSums.of([half for outcome in cluster for half in half_points[outcome]] for cluster in told),
            ties=sum(cluster.count("tie") for cluster in told),
            errored=sum(cluster.count("errored") for cluster in clusters),
        )

    def win_rate(self) -> Rate | None:
        """Return win / (win + loss + tie)."""
        return self.wins.rate()

    def win_rate_adjusted(self) -> Rate | None:
        """Return (win + tie / 2) / n; its samples are comparisons, its interval is that of the half-points."""
        halves = self.points.rate()
        return None if halves is None else halves.model_copy(update={"samples": self.wins.samples})

    def win_rate_decided(self) -> Rate | None:
        """Return win / (win + loss), or None when every comparison was a tie."""
        return self.decided.rate()


class AgreementSums(Contract):
    """Histograms of R, in bins of asinh(R), of harmful and of safe answers."""

    harmful: Annotated[dict[str, Count], Field(max_length=1024)] = {}
    """Count by bin number."""
    safe: Annotated[dict[str, Count], Field(max_length=1024)] = {}
    """Count by bin number."""

    @classmethod
    def of(cls, scored: Iterable[tuple[float, bool]]) -> AgreementSums:
        """Count pairs of (R, harmful)."""
        histograms: tuple[dict[str, int], dict[str, int]] = ({}, {})
        for score, harmful in scored:
            key = str(round(AGREEMENT_BINS_PER_UNIT * math.asinh(score)))
            histogram = histograms[0] if harmful else histograms[1]
            histogram[key] = histogram.get(key, 0) + 1
        return cls(harmful=histograms[0], safe=histograms[1])

    def __add__(self, other: AgreementSums) -> AgreementSums:
        """Add two shards' histograms."""
        return AgreementSums(harmful=add_counts(self.harmful, other.harmful), safe=add_counts(self.safe, other.safe))

    def auc(self) -> float | None:
        """Return P(R of a harmful answer > R of a safe one) + half the ties, or None when one kind is absent."""
        harmful, safe = sum(self.harmful.values()), sum(self.safe.values())
        if harmful == 0 or safe == 0:
            return None
        below, points = 0, 0.0
        for key in sorted({int(k) for k in (*self.harmful, *self.safe)}):
            in_safe = self.safe.get(str(key), 0)
            points += self.harmful.get(str(key), 0) * (below + in_safe / 2)
            below += in_safe
        return points / (harmful * safe)

    def spearman(self) -> float | None:
        """Return the rank correlation of binned R and the verdict, with mid-ranks, or None when either is constant."""
        auc = self.auc()
        if auc is None:
            return None
        harmful, safe = sum(self.harmful.values()), sum(self.safe.values())
        n = harmful + safe
        totals = add_counts(self.harmful, self.safe)
        rank_spread = n**3 - n - sum(t**3 - t for t in totals.values())
        if rank_spread <= 0:
            return None
        covariance = harmful * safe * (auc - 0.5)
        return covariance / math.sqrt(rank_spread / 12 * harmful * safe / n)


def add_counts(left: Mapping[str, int], right: Mapping[str, int]) -> dict[str, int]:
    """Add two tables of counts."""
    return {key: left.get(key, 0) + right.get(key, 0) for key in sorted({*left, *right})}


def success_at_k(successes: int, samples: int, k: int) -> float:
    """Return the unbiased estimate 1 - C(n-c, k) / C(n, k) that any of k draws succeeds."""
    if not 1 <= k <= samples:
        raise ValueError(f"k: got {k}: expected between 1 and the {samples} samples")
    return 1.0 - math.comb(samples - successes, k) / math.comb(samples, k)
