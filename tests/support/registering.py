"""Models with signed verdicts, and what gets them into a registry."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from noria.records import Candidate, ChampionVersion, Run, SignedVerdict, policy_digest
from noria.registry import Registry
from noria.verdicts import Keyring, new_id
from tests.support.candidates import R2
from tests.support.learning import pipeline

KEYRING = Keyring(("a key that only these tests sign with",))
STRANGER = Keyring(("a key that somebody else has made up",))


@dataclass(frozen=True)
class Judged:
    """A model and leave to make it the champion."""

    run: Run
    candidate: Candidate
    file: Path
    verdict: SignedVerdict

    def register(self, registry: Registry) -> ChampionVersion:
        return registry.register(self.run, self.candidate, self.verdict, self.file)

    def promote(self, registry: Registry) -> ChampionVersion:
        """Register and crown."""
        return registry.crown(self.run.pipeline.name, self.register(registry).version, self.verdict)

    def but(self, keyring: Keyring = KEYRING, **changes: Any) -> Judged:
        """The same with another verdict, signed."""
        changed = self.verdict.model_copy(update={"id": new_id(), **changes})
        return Judged(self.run, self.candidate, self.file, keyring.sign(changed))


def a_run(name: str, run_id: str) -> Run:
    return Run(run_id=run_id, pipeline=pipeline(name=name), code="c", created_at="2026-01-01T00:00:00Z")


def a_candidate(content: bytes, **changes: Any) -> Candidate:
    """The candidate whose model file has these bytes."""
    facts = {"model_sha256": hashlib.sha256(content).hexdigest(), "model_types": ("numpy.dtype",), **changes}
    return R2.model_copy(update=facts)


def judged(
    folder: Path,
    name: str,
    run_id: str = "r1",
    sequence: int = 1,
    champion: str | None = None,
    keyring: Keyring = KEYRING,
    **changes: Any,
) -> Judged:
    """A model whose bytes are its run's id, and the verdict that makes it champion number `sequence`."""
    file, content = folder / f"{run_id}.model", run_id.encode()
    file.write_bytes(content)
    candidate = a_candidate(content)
    facts = {
        "id": new_id(), "action": "promote", "pipeline": name, "run_id": run_id, "model_sha256": candidate.model_sha256,
        "holdout_sha256": candidate.holdout_sha256, "policy_sha256": policy_digest(a_run(name, run_id).pipeline.gate),
        "snapshot_id": candidate.snapshot_id, "code": candidate.code, "sequence": sequence,
        "previous_champion": champion, "by": "gate", "reason": "better by 0.02", "issued_at": datetime.now(UTC),
    }  # fmt: skip
    verdict = keyring.sign(SignedVerdict.model_validate({**facts, **changes}))
    return Judged(a_run(name, run_id), candidate, file, verdict)


def judged_now(registry: Registry, folder: Path, name: str, run_id: str, **changes: Any) -> Judged:
    """The same against the champion that stands in a registry."""
    champion = registry.champion(name)
    return judged(folder, name, run_id, registry.next_sequence(name), champion.version if champion else None, **changes)


def rollback(registry: Registry, name: str, to: ChampionVersion) -> SignedVerdict:
    """Leave to go back to a version."""
    champion = registry.champion(name)
    assert to.verdict is not None
    facts = {
        "id": new_id(), "action": "rollback", "version": to.version, "sequence": registry.next_sequence(name),
        "previous_champion": champion.version if champion else None, "by": "ada", "reason": "the new one drifts",
    }  # fmt: skip
    return KEYRING.sign(to.verdict.model_copy(update=facts))
