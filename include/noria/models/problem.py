"""What is to be learned: the part of a pipeline that every fit needs, small enough to travel to every worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from noria.pipeline import Column, Pipeline

Task = Literal["regression", "classification"]
Label = str | int | bool


@dataclass(frozen=True)
class Problem:
    """Task, columns and metrics.

    Attributes:
        task: Regression or classification.
        target: Column that is predicted.
        features: Columns it is predicted from, in the order of the model's input.
        metrics: Names of the metrics; the first one decides.
        classes: Labels in order, of a classification; the last one is the positive class where there are two.
    """

    task: Task
    target: Column
    features: tuple[Column, ...]
    metrics: tuple[str, ...]
    classes: tuple[Label, ...] = ()

    @classmethod
    def of(cls, pipeline: Pipeline, classes: tuple[Label, ...] = ()) -> Problem:
        """The problem that a pipeline poses."""
        return cls(
            task=pipeline.task,
            target=pipeline.column(pipeline.target),
            features=tuple(pipeline.column(name) for name in pipeline.features),
            metrics=pipeline.metrics,
            classes=classes,
        )

    @property
    def primary_metric(self) -> str:
        """The metric that decides."""
        return self.metrics[0]
