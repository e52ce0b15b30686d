"""### Mails that wait

| | |
|---|---|
| **Owner** | noria |
| **Sends through** | the connection `smtp_default` |

**What a run does.** A mail goes out when its reason arises. What had to wait is sent from here: digests of what was
seen more than once, mails of quiet hours, and those that the server did not take at first.

**When it fails**, the lake cannot be used; the next run does its work. A mail server that is away fails nothing: the
mails wait, the log says why, and `noria doctor` counts them.
"""

from airflow.sdk import DAG

from noria.airflow.alerts_dag import SendAlertsOperator, alerts_arguments

with DAG(doc_md=__doc__, **alerts_arguments()):
    SendAlertsOperator()
