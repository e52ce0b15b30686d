"""Records of runs that tests construct instead of computing them."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from noria.costs.budgets import Action, Answer, BoundKey, BoundUse, Judgement
from noria.costs.estimate import Estimate
from noria.records import (
    Candidate,
    Decision,
    ExpectationResult,
    Failure,
    Profile,
    Record,
    Rule,
    Run,
    StageRun,
    ValidationReport,
    policy_digest,
)
from noria.stages.validate import VALIDATION_FILE
from noria.workspace import Workspace, run_path, to_json

USAGE = {"wall_seconds": 1, "cpu_seconds": 1, "peak_rss_bytes": 1, "vcpu_seconds": 1}


def done(workspace: Workspace, run: Run, stage: str, record: Record) -> None:
    """Leave a stage's record, as its job does."""
    now = workspace.clock()
    envelope = StageRun(
        pipeline=run.pipeline.name,
        run_id=run.run_id,
        stage=stage,
        started_at=now,
        finished_at=now,
        usage=USAGE,
        record=record.model_dump(mode="json"),
    )
    workspace.lake.create(run_path(run.pipeline.name, run.run_id, stage), to_json(envelope))


def explored(workspace: Workspace, run: Run, snapshot_id: str) -> None:
    """Leave an exploration that has found nothing: Spark takes longer than what is tested."""
    nothing = {"columns": (), "correlation_columns": (), "correlation": (), "answers": ()}
    profile = {"snapshot_id": snapshot_id, "rows": 0, "result": "", "spark_version": "", **nothing}
    done(workspace, run, "explore", Profile.model_validate(profile))


def failed(workspace: Workspace, run: Run, stage: str, message: str, *, exit_code: int = 1) -> None:
    """Leave a stage's failure and two lines of log, as its job does."""
    failure = Failure(
        stage=stage,
        error="Error",
        message=message,
        retryable=False,
        exit_code=exit_code,
        failed_at=workspace.clock(),
    )
    workspace.lake.replace(run_path(run.pipeline.name, run.run_id, f"{stage}.failed.json"), to_json(failure))
    log = workspace.settings.log_file(run.pipeline.name, run.run_id, stage)
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("".join(f"INFO line {i}\n" for i in range(30)) + f"ERROR {message}\n")


def rule(kind: str, detail: str, *, passed: bool = False) -> Rule:
    """A required rule of the gate."""
    return Rule(name=kind, kind=kind, passed=passed, required=True, detail=detail)


def decision(verdict: str, **changes: object) -> Decision:
    """A verdict over a champion, with a rule that decided."""
    passed = verdict == "promote"
    values = {
        "verdict": verdict,
        "rules": (rule("threshold", "r2 0.871 against at least 0.8", passed=passed),),
        "reasons": ("r2 0.871 against at least 0.8",),
        "candidate_metrics": {"r2": 0.871, "mae": 4.3, "rmse": 5.4, "rae": 0.35, "rse": 0.13},
        "champion_metrics": {"r2": 0.861, "mae": 4.4, "rmse": 5.5, "rae": 0.36, "rse": 0.14},
        "previous_champion": "2",
        "champion_version": "3" if passed else "2",
    }
    return Decision.model_validate({**values, **changes})


def validation(run: Run, workspace: Workspace, *, docs: str = "<html>docs</html>") -> ValidationReport:
    """What a validation that failed leaves: its account and its page, but no record."""
    report = ValidationReport(
        snapshot_id="0" * 64,
        success=False,
        results=(
            ExpectationResult(
                expectation="expect_column_mean_to_be_between",
                column="math_score",
                severity="critical",
                success=False,
                observed="12.5",
                expected="40 to 90",
            ),
            ExpectationResult(
                expectation="expect_table_row_count_to_be_between",
                column=None,
                severity="critical",
                success=True,
                observed="1000",
                expected="at least 100",
            ),
        ),
        docs=run_path(run.pipeline.name, run.run_id, "validate/data_docs.html"),
    )
    workspace.lake.replace(report.docs, docs.encode())
    workspace.lake.replace(run_path(run.pipeline.name, run.run_id, VALIDATION_FILE), to_json(report))
    return report


def judgement(action: Action, key: BoundKey = "per_day", by: str = "") -> Judgement:
    """Of a run that breaks a bound of 9 EUR by one; where `by` says who, that person has said no."""
    at = datetime(2026, 3, 2, 12, tzinfo=UTC)
    bound = BoundUse(pipeline="students", key=key, limit=Decimal(9), spent=Decimal(), expected=Decimal(10))
    estimate = Estimate(currency="EUR", cost=Decimal(10), low=Decimal(9), high=Decimal(11), runs=3)
    answer = Answer(approved=False, by=by, reason="too dear", at=at) if by else None
    return Judgement(action=action, judged_at=at, estimate=estimate, bounds=(bound,), answer=answer)


def candidate(run: Run) -> Candidate:
    """A trained model, by its figures."""
    return Candidate.model_validate(
        {
            "snapshot_id": "0" * 64,
            "task": "regression",
            "target": run.pipeline.target,
            "features": run.pipeline.features,
            "estimator": "ridge",
            "params": {"alpha": 1.0},
            "primary_metric": "r2",
            "metrics": {"r2": 0.871, "mae": 4.3, "rmse": 5.4, "rae": 0.35, "rse": 0.13},
            "spread": {},
            "baselines": {"dummy": {"r2": -0.01, "mae": 12.2}, "linear": {"r2": 0.87, "mae": 4.31}},
            "contenders": (),
            "learning_curve": (),
            "trials": 4,
            "train_rows": 700,
            "holdout_rows": 300,
            "holdout_sha256": "0" * 64,
            "seed": 42,
            "code": run.code,
            "model": "model.skops",
            "model_sha256": "0" * 64,
            "model_bytes": 1,
            "training_rows": "training_rows.bin",
            "training_rows_sha256": "0" * 64,
            "policy_sha256": policy_digest(run.pipeline.gate),
            "cluster": "test",
        }
    )
