"""Records of a whole run, as its stages leave them, for tests of what comes after them."""

from __future__ import annotations

from datetime import timedelta

from noria.pipeline import Pipeline
from noria.records import (
    Answer,
    Candidate,
    ChampionVersion,
    ColumnProfile,
    Contender,
    CurvePoint,
    ExpectationResult,
    Histogram,
    LedgerEntry,
    LedgerEvent,
    Profile,
    Record,
    Run,
    Snapshot,
    Spread,
    StageRun,
    Usage,
    ValidationReport,
    Verdict,
    policy_digest,
)
from noria.report import Document
from tests.support.judged import NOW, SHA, decision, metrics

FAMILIES = {"linear": 0.861, "ridge": 0.864, "random_forest": 0.824, "gradient_boosting": 0.838, "xgboost": 0.846}


def run_of(pipeline: Pipeline) -> Run:
    return Run(run_id="20260504T050000Z-4fd2a1", pipeline=pipeline, code="0f3a9c2b7d1e4f60", created_at=NOW)


def snapshot(pipeline: Pipeline) -> Snapshot:
    return Snapshot(
        snapshot_id="76f53579db36" + "0" * 52,
        pipeline=pipeline.name,
        source="github://octo/data/students.csv@main",
        commit="9b1c" * 10,
        sha256=SHA,
        bytes=66_077,
        rows=988,
        quarantined_rows=12,
        quarantine_reasons={"math_score: not a whole number": 9, "lunch: not among the allowed values": 3},
        extra_columns=("remarks",),
        fetched_at=NOW,
        table_schema={c.name: c.type for c in pipeline.columns},
        raw="raw",
        table="table",
    )


def validation(pipeline: Pipeline, *, success: bool = True) -> ValidationReport:
    return ValidationReport(
        snapshot_id="76f53579db36" + "0" * 52,
        success=success,
        results=(
            ExpectationResult(
                expectation="expect_column_mean_to_be_between",
                column="math_score",
                severity="critical",
                success=success,
                observed="66.089" if success else "12.5",
                expected="math_score mean must be between 40 and 90.",
            ),
            ExpectationResult(
                expectation="expect_column_distinct_values_to_equal_set",
                column="race_ethnicity",
                severity="warning",
                success=False,
                observed="missing: group E",
                expected="race_ethnicity distinct values must match this set: group A group B group C group D group E.",
            ),
        ),
        docs=f"runs/{pipeline.name}/20260504T050000Z-4fd2a1/validate/data_docs.html",
    )


def profile(pipeline: Pipeline) -> Profile:
    columns = []
    for column in pipeline.columns:
        if column.is_numeric:
            columns.append(
                ColumnProfile(
                    name=column.name,
                    type=column.type,
                    count=988,
                    nulls=0,
                    distinct=81,
                    mean=66.1,
                    sd=15.2,
                    skewness=-0.28,
                    kurtosis=0.27,
                    min=0,
                    max=100,
                    quantiles={"0.05": 40, "0.25": 57, "0.5": 66, "0.75": 77, "0.95": 90},
                    histogram=Histogram(
                        edges=tuple(range(0, 110, 10)), counts=(2, 3, 10, 27, 101, 190, 268, 222, 120, 45)
                    ),
                )
            )
        else:
            values = [str(v) for v in column.values or ("some", "other")]
            top = tuple((v, 400 - 60 * i) for i, v in enumerate(values))
            columns.append(
                ColumnProfile(name=column.name, type=column.type, count=988, nulls=0, distinct=len(values), top=top)
            )
    numeric = tuple(c.name for c in pipeline.columns if c.is_numeric)
    matrix = tuple(tuple(1.0 if a == b else 0.8 for b in numeric) for a in numeric)
    return Profile(
        snapshot_id="76f53579db36" + "0" * 52,
        rows=988,
        columns=tuple(columns),
        correlation_columns=numeric,
        correlation=matrix,
        answers=tuple(
            Answer(title=q.title, value=0.57 if q.format == "percent" else 66.1, format=q.format)
            for q in pipeline.explore.questions
        ),
        result="profile.json",
        spark_version="4.2.0",
    )


def candidate(pipeline: Pipeline) -> Candidate:
    contenders = tuple(
        Contender(
            name=name,
            params={"alpha": 1.83} if name == "ridge" else {},
            trials=0 if name == "linear" else 6,
            cv={"r2": Spread(mean=r2 - 0.004, sd=0.012)},
            holdout=metrics(r2),
            seconds=1.5,
        )
        for name, r2 in FAMILIES.items()
    )
    return Candidate(
        snapshot_id="76f53579db36" + "0" * 52,
        task="regression",
        target=pipeline.target,
        features=pipeline.features,
        estimator="ridge",
        params={"alpha": 1.83},
        primary_metric="r2",
        metrics=metrics(FAMILIES["ridge"]),
        spread={"r2": Spread(mean=0.860, sd=0.012)},
        baselines={"dummy": metrics(-0.003), "linear": metrics(FAMILIES["linear"])},
        contenders=contenders,
        learning_curve=tuple(
            CurvePoint(share=share, rows=int(690 * share), metrics={"r2": Spread(mean=r2, sd=sd)})
            for share, r2, sd in ((0.5, 0.852, 0.009), (0.7, 0.858, 0.006), (0.9, 0.863, 0.003))
        ),
        trials=24,
        train_rows=690,
        holdout_rows=298,
        holdout_sha256=SHA,
        seed=42,
        code="0f3a9c2b7d1e4f60",
        model="model.skops",
        model_sha256=SHA,
        model_bytes=48_211,
        training_rows="training_rows.bin",
        training_rows_sha256=SHA,
        policy_sha256=policy_digest(pipeline.gate),
        cluster="2 Dask workers of 1 thread on this machine",
    )


def history() -> tuple[ChampionVersion, ...]:
    return tuple(
        ChampionVersion(
            version=str(version),
            is_champion=version == 3,
            created_at=NOW - timedelta(days=3 - version),
            run_id=f"run-{version}",
            snapshot_id=SHA,
            estimator="ridge",
            metrics=metrics(r2),
            model_sha256=SHA,
        )
        for version, r2 in ((3, 0.864), (2, 0.858), (1, 0.849))
    )


def ledger(pipeline: Pipeline) -> tuple[LedgerEntry, ...]:
    """How version 3 came to be the champion, the oldest entry first."""
    told: list[tuple[LedgerEvent, str | None, str | None, str, str]] = [
        ("promoted", None, "1", "gate", "there was no champion"),
        ("promoted", "1", "2", "gate", "r2 is better by 0.009, and by more than luck"),
        ("rejected", "2", "2", "gate", "r2 0.71 is not at least 0.8"),
        ("forced", "2", "4", "grace", "the old model is wrong about winter"),
        ("rolled_back", "4", "2", "ada", "winter was right after all"),
        ("kept", "2", "2", "gate", "r2 is better by 0.005, which luck can explain"),
        ("promoted", "2", "3", "gate", "r2 is better by 0.006, and by more than luck"),
    ]
    return tuple(
        LedgerEntry(
            pipeline=pipeline.name,
            at=NOW - timedelta(days=len(told) - day),
            event=event,
            run_id=f"run-{day}",
            model_sha256=SHA,
            holdout_sha256=SHA,
            policy_sha256=SHA,
            version=after,
            champion_before=before,
            champion_after=after,
            by=by,
            reasons=(reason,),
        )
        for day, (event, before, after, by, reason) in enumerate(told)
    )


def envelope(run: Run, stage: str, record: Record, seconds: float = 5.0) -> StageRun:
    return StageRun(
        pipeline=run.pipeline.name,
        run_id=run.run_id,
        stage=stage,
        started_at=NOW,
        finished_at=NOW + timedelta(seconds=seconds),
        usage=Usage(
            wall_seconds=seconds, cpu_seconds=seconds * 1.4, peak_rss_bytes=410_000_000, vcpu_seconds=2 * seconds
        ),
        record=record.model_dump(mode="json"),
    )


def document(pipeline: Pipeline, *, verdict: Verdict = "promote") -> Document:
    """A run that reached its verdict."""
    run = run_of(pipeline)
    records: dict[str, tuple[Record, float]] = {
        "ingest": (snapshot(pipeline), 0.4),
        "validate": (validation(pipeline), 5.2),
        "explore": (profile(pipeline), 8.1),
        "train": (candidate(pipeline), 17.9),
        "promote": (decision(verdict), 4.4),
    }
    return Document(
        run=run,
        written_at=NOW,
        stages={stage: envelope(run, stage, record, seconds) for stage, (record, seconds) in records.items()},
        snapshot=snapshot(pipeline),
        quarantine=(("17", "math_score", "n/a?", "not a whole number"), ("40", "lunch", "brunch", "not allowed")),
        validation=validation(pipeline),
        data_docs="../validate/data_docs.html",
        profile=profile(pipeline),
        candidate=candidate(pipeline),
        decision=decision(verdict),
        history=history(),
        ledger=ledger(pipeline),
    )
