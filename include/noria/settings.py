"""The only reader of environment variables.

Nothing here is read at import; callers say `Settings.from_env()` once, at the edge (CLI, job, Airflow task).
"""

from __future__ import annotations

import json
import os
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, cast

from noria.errors import InputError
from noria.pipeline.source import hide_credentials

Profile = Literal["local", "azure"]
CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Node:
    """This machine among those that one job runs on, as Azure ML tells a distributed job of the kind PyTorch.

    Attributes:
        rank: Its number; 0 is the first.
        count: How many there are.
        first: Address of the first one.
        port: A port that is free on the first one.
    """

    rank: int
    count: int
    first: str
    port: int


@dataclass(frozen=True)
class TrackedRun:
    """The MLflow run that a platform keeps for the job that this process is.

    Attributes:
        tracking_url: MLflow's tracking URI.
        run_id: Id of the run.
    """

    tracking_url: str = field(repr=False)
    run_id: str


@dataclass(frozen=True)
class Settings:
    """Where things live and which back ends are used.

    Attributes:
        home: All state is under it (NORIA_HOME, default ./var).
        profile: Back ends to use (NORIA_PROFILE).
        pipelines: Folders whose sub-folders are pipelines (NORIA_PIPELINES beside include/pipelines).
        lake_url: Root of the lake (NORIA_LAKE_URL, default home/lake; the profile azure has no default).
        registry_url: MLflow tracking and registry URI (NORIA_MLFLOW_URL, default SQLite under home); the profile azure
            has its registry in Azure ML instead, unless this is set.
        production_url: MLflow URI of a registry for champions only (NORIA_MLFLOW_PRODUCTION_URL); registry_url is then
            where candidates wait. Without it one registry is both.
        dask_address: Existing Dask scheduler (NORIA_DASK_ADDRESS); none starts a cluster of worker processes.
        spark_master: Master of the explore job (NORIA_SPARK_MASTER).
        github_raw_url, github_api_url: Bases of GitHub's raw and API endpoints (GitHub Enterprise, tests).
        costs_file: Price sheet, total budget and who gets the cost report (NORIA_COSTS, default include/costs.yaml).
        ui_url: Base URL of the Airflow UI for links in mails and reports (NORIA_UI_URL), or none.
        machine: What jobs run on here, as the price sheet calls it (NORIA_MACHINE, default local).
    """

    home: Path
    profile: Profile = "local"
    pipelines: tuple[Path, ...] = ()
    lake_url: str = ""
    registry_url: str = field(default="", repr=False)  # it may hold a password
    production_url: str = field(default="", repr=False)
    dask_address: str | None = None
    spark_master: str = "local[2]"
    github_raw_url: str = "https://raw.githubusercontent.com"
    github_api_url: str = "https://api.github.com"
    costs_file: Path = CHECKOUT / "include" / "costs.yaml"
    ui_url: str | None = None
    machine: str = "local"
    _environ: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, *, home: Path | None = None) -> Settings:
        """Read the environment.

        Raises:
            InputError: NORIA_PROFILE is neither local nor azure, or the profile azure has no lake.
        """
        env = os.environ if environ is None else environ
        home = (home or Path(env.get("NORIA_HOME") or "var")).expanduser().resolve()
        profile = env.get("NORIA_PROFILE") or "local"
        if profile not in ("local", "azure"):
            raise InputError(f"NORIA_PROFILE={profile!r}", expected="local or azure")
        lake_url = env.get("NORIA_LAKE_URL") or ("" if profile == "azure" else str(home / "lake"))
        if not lake_url:
            raise InputError(
                "NORIA_PROFILE=azure without NORIA_LAKE_URL",
                expected="NORIA_LAKE_URL=abfss://CONTAINER@ACCOUNT.dfs.core.windows.net",
                remedy="See docs/azure.md.",
            )
        registry_url = "" if profile == "azure" else f"sqlite:///{home}/registry/mlflow.db"
        own = [Path(p).expanduser().resolve() for p in env.get("NORIA_PIPELINES", "").split(":") if p]
        return cls(
            home=home,
            profile=cast(Profile, profile),
            pipelines=(CHECKOUT / "include" / "pipelines", *own),
            lake_url=lake_url,
            registry_url=env.get("NORIA_MLFLOW_URL") or registry_url,
            production_url=env.get("NORIA_MLFLOW_PRODUCTION_URL") or "",
            dask_address=env.get("NORIA_DASK_ADDRESS") or None,
            spark_master=env.get("NORIA_SPARK_MASTER") or "local[2]",
            github_raw_url=(env.get("NORIA_GITHUB_RAW_URL") or cls.github_raw_url).rstrip("/"),
            github_api_url=(env.get("NORIA_GITHUB_API_URL") or cls.github_api_url).rstrip("/"),
            costs_file=Path(env.get("NORIA_COSTS") or cls.costs_file).expanduser().resolve(),
            ui_url=(env.get("NORIA_UI_URL") or "").rstrip("/") or None,
            machine=env.get("NORIA_MACHINE") or cls.machine,
            _environ=dict(env),
        )

    def with_home(self, home: Path) -> Settings:
        """The same settings with all local state under another folder."""
        return Settings.from_env({**self._environ, "NORIA_HOME": str(home)}, home=home)

    def child_environment(self) -> dict[str, str]:
        """Environment for a child process that shall see the same settings; credentials are left out.

        Airflow's own settings are left out too: jobs do not use Airflow, and its keys are among them.
        """
        env = self.full_environment()
        return {k: v for k, v in env.items() if not k.startswith(("AIRFLOW_CONN_", "AIRFLOW__"))}

    def full_environment(self) -> dict[str, str]:
        """Environment for Airflow itself: the same settings, with the connections."""
        return {**self._environ, "NORIA_HOME": str(self.home), "PYTHONUNBUFFERED": "1"}

    @property
    def node(self) -> Node:
        """Which of a job's machines this is; the only one, where nobody says so.

        Raises:
            InputError: A rank without the first machine's address, or a number that is none.
        """
        env = self._environ
        try:
            count = int(env.get("WORLD_SIZE") or 1)
            return Node(
                rank=int(env.get("NODE_RANK") or 0),
                count=count,
                first=env["MASTER_ADDR"] if count > 1 else env.get("MASTER_ADDR") or "127.0.0.1",
                port=int(env.get("MASTER_PORT") or 0),
            )
        except (KeyError, ValueError) as error:
            raise InputError(
                f"the variables of a distributed job do not fit ({error})",
                expected="NODE_RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT as Azure ML sets them",
            ) from None

    @property
    def tracked_run(self) -> TrackedRun | None:
        """The platform's own record of the job that this is, or none."""
        url, run_id = self._environ.get("MLFLOW_TRACKING_URI"), self._environ.get("MLFLOW_RUN_ID")
        return TrackedRun(url, run_id) if url and run_id else None

    def log_file(self, pipeline: str, run_id: str, stage: str) -> Path:
        """Where the log of a stage of a run is kept."""
        return self.home / "logs" / pipeline / run_id / f"{stage}.log"

    def connection_text(self, conn_id: str) -> str:
        """An Airflow connection given as an environment variable, as it stands there (JSON or URI), or nothing."""
        return self._environ.get(f"AIRFLOW_CONN_{conn_id.upper()}", "")

    def connection_password(self, conn_id: str) -> str | None:
        """Password (or token) of an Airflow connection given as an environment variable, in JSON or URI form."""
        raw = self.connection_text(conn_id)
        if not raw:
            return None
        if raw.lstrip().startswith("{"):
            try:
                password = json.loads(raw).get("password")
            except ValueError:  # its text may hold the secret, so it is not shown
                raise InputError(f"AIRFLOW_CONN_{conn_id.upper()} is not valid JSON") from None
            return str(password) if password else None
        password = urllib.parse.urlsplit(raw).password
        return urllib.parse.unquote(password) if password else None

    def replace(self, **changes: object) -> Settings:
        """A copy with some fields changed."""
        return replace(self, **changes)  # type: ignore[arg-type]


def without_userinfo(text: str, url: str = "") -> str:
    """Text without the user and password of any address in it, nor the password of `url` wherever it stands."""
    password = urllib.parse.urlsplit(url).password
    if password:
        for secret in (password, urllib.parse.unquote(password)):
            text = text.replace(secret, "***")
    return hide_credentials(text)
