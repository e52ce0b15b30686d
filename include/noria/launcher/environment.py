"""Airflow's settings on this machine, as environment variables of its components.

What is set here wins over a variable of the same name in the caller's environment, but for the defaults: the two
connections, and how often the scheduler looks. Everything else of the caller's (connections, a secrets back end,
proxies) is handed on. Measurements behind the numbers are in docs/adr.
"""

from __future__ import annotations

import json
from pathlib import Path

from noria.launcher.credentials import USER, Credentials, write_private
from noria.settings import CHECKOUT, Settings

HOST = "127.0.0.1"
SMTP_CONNECTION = "AIRFLOW_CONN_SMTP_DEFAULT"
SPARK_CONNECTION = "AIRFLOW_CONN_SPARK_DEFAULT"
SENDER = "noria@localhost"


def airflow_home(settings: Settings) -> Path:
    """Where Airflow keeps its database and its logs."""
    return settings.home / "airflow"


def airflow_environment(
    settings: Settings, credentials: Credentials, *, ui_port: int, smtp_port: int, scheduled_runs: bool
) -> dict[str, str]:
    """The whole environment of the components.

    Args:
        settings: Of the caller.
        credentials: Of the home.
        ui_port: Of the API server and the UI.
        smtp_port: Of the local mail sink; used unless the caller names a mail server.
        scheduled_runs: Whether the scheduler starts runs by their schedule, or manual ones only.
    """
    home = airflow_home(settings)
    url = f"http://{HOST}:{ui_port}"
    passwords = home / "passwords.json"
    write_private(passwords, json.dumps({USER: credentials.password}))
    own = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW_CONFIG": str(home / "airflow.cfg"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(CHECKOUT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(CHECKOUT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__FERNET_KEY": credentials.fernet_key,
        "AIRFLOW__CORE__AUTH_MANAGER": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__API__HOST": HOST,
        "AIRFLOW__API__PORT": str(ui_port),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API_AUTH__JWT_SECRET": credentials.jwt_secret,
        "AIRFLOW__SCHEDULER__USE_JOB_SCHEDULE": str(scheduled_runs),
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "AIRFLOW__LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": str(home / "logs" / "dag_processor"),
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "NORIA_UI_URL": url,
    }
    mail = {
        "conn_type": "smtp",
        "host": HOST,
        "port": smtp_port,
        "extra": {"disable_ssl": True, "disable_tls": True, "from_email": SENDER},
    }
    defaults = {
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
        SMTP_CONNECTION: json.dumps(mail),
        SPARK_CONNECTION: json.dumps({"conn_type": "spark", "host": settings.spark_master}),
    }
    return {**defaults, **settings.full_environment(), **own}


def ignored_settings(settings: Settings, environment: dict[str, str]) -> list[str]:
    """Airflow settings of the caller that the launcher's own replace."""
    return sorted(
        name
        for name, value in settings.full_environment().items()
        if name.startswith(("AIRFLOW__", "AIRFLOW_HOME", "AIRFLOW_CONFIG")) and environment[name] != value
    )
