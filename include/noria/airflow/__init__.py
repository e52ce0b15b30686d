"""Operators, notifiers, assets, params and the plugin's pages: the only part that imports Airflow.

No rule of the business lives here. `dags/` wires what is here; `plugins/noria_plugin.py` registers it.

What Airflow's processes find in their environment:

- AIRFLOW__CORE__DAGS_FOLDER, AIRFLOW__CORE__PLUGINS_FOLDER: all of them; dags/ and plugins/ of this checkout.
- NORIA_HOME and the other NORIA_* of `noria.settings`: all; NORIA_UI_URL is the base of links in mails and reports.
- AIRFLOW_CONN_NORIA_VERDICTS: workers, DAG processor, API server; its password is the key that signs verdicts. Of the
  jobs only promote, release, report and rollback are handed it. Without it the profile local has a key of its own.
- AIRFLOW_CONN_SMTP_DEFAULT: DAG processor, workers, triggerer; where mails go. Plain SMTP is {"conn_type": "smtp",
  "host": "127.0.0.1", "port": 25, "extra": {"disable_ssl": true, "disable_tls": true, "from_email":
  "noria@example.org"}}.
  Without it mails wait in the outbox.
- AIRFLOW_CONN_SPARK_DEFAULT: workers; where explore runs, such as {"conn_type": "spark", "host": "local[2]"}. Without
  it Spark runs on this machine.
- AIRFLOW_CONN_<ID>: workers; its password is the token of a source whose spec names the connection.
- PATH, JAVA_HOME: workers; the system's own Java, if it is to be used.

Connections may as well come from Airflow's database or a secrets backend.
"""
