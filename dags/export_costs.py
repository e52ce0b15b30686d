"""### What everything costs, every night

| | |
|---|---|
| **Owner** | noria |
| **Mails to** | `report.emails` of include/costs.yaml; budgets: the e-mails of the pipeline |
| **Leaves behind** | the table `costs` in the lake, and the page *Costs* of this UI |

Every step catches up the days that earlier nights have missed, and changes nothing where nothing is new. So a run that
failed needs nobody: the next one does its work. *Trigger* opens a form for doing named days again.

| Task | What it does | When it fails |
|---|---|---|
| meter | prices what every job used | mend include/costs.yaml; the log names line and key |
| export | has Azure deliver the invoices that are missing; locally there is nothing to do | run `noria doctor` |
| ingest | takes invoices into the table; one replaces its day's estimate | the log names the file and the column |
| budgets | compares with budgets and with the days before, and mails | mend the budget that the log names |
| report | writes the page, and mails its key lines | read the log; then clear the task |

docs/costs.md has the table's layout and how each figure is made.
"""

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, TriggerRule

from noria.airflow.costs import CostsOperator, costs_arguments

with DAG(doc_md=__doc__, **costs_arguments()):
    meter = CostsOperator(step="meter")
    export = CostsOperator(step="export")
    # A wrong price sheet must not keep back invoices that lie in the lake already, and invoices that did not come keep
    # back neither a budget's warning nor the night's page.
    ingest = CostsOperator(step="ingest", trigger_rule=TriggerRule.ALL_DONE)
    budgets = CostsOperator(step="budgets", trigger_rule=TriggerRule.ALL_DONE)
    report = CostsOperator(step="report", trigger_rule=TriggerRule.ALL_DONE)

    # The only leaf: without it a run would be green whenever its last task is.
    complete = EmptyOperator(task_id="complete")

    meter >> export >> ingest >> budgets >> report
    [meter, export, ingest, budgets, report] >> complete
