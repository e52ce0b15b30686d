"""A home in which something has happened already, for tests that each begin from there."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from noria.settings import Settings
from noria.workspace import Workspace


@dataclass(frozen=True)
class KeptHome:
    """A home and a copy of it. It is put back where it was: MLflow knows files by their whole path.

    Attributes:
        home: Where it is used.
        saved: The copy.
    """

    home: Path
    saved: Path

    @classmethod
    def of(cls, workspace: Workspace) -> KeptHome:
        """What a workspace on local disk holds now."""
        home = workspace.settings.home
        return cls(home, Path(shutil.copytree(home, home.with_name("saved"))))

    def again(self) -> Workspace:
        """The home as it was kept, opened as another process would."""
        shutil.rmtree(self.home)
        shutil.copytree(self.saved, self.home)
        # a name of its own: MLflow keeps the connections to a database that it has opened
        database = self.home / "registry" / f"{uuid4().hex}.db"
        (self.home / "registry" / "mlflow.db").rename(database)
        places = {"NORIA_PIPELINES": str(self.home / "pipelines"), "NORIA_MLFLOW_URL": f"sqlite:///{database}"}
        return Workspace.open(Settings.from_env(places, home=self.home))
