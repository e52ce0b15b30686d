"""The layout of the table `costs`: FOCUS 1.0, the FinOps Open Cost and Usage Specification (https://focus.finops.org).

Columns of our own begin with `x_`, as the specification wants it. Money and quantities are decimals; times are UTC.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

FOCUS_VERSION = "1.0"
DAY, ORIGIN = "x_ChargeDay", "x_Origin"
"""What the table is partitioned by: the day of the charge (UTC, YYYY-MM-DD), and `invoice`, `query` or `metering`."""
PIPELINE, RUN, STAGE = "x_Pipeline", "x_Run", "x_Stage"
"""From the tags noria:pipeline, noria:run and noria:stage; null where a charge has none."""
MACHINE = "x_Machine"
"""Of metered rows: what the job ran on, as the price sheet calls it."""
DECIMALS = (
    "BilledCost",
    "ConsumedQuantity",
    "ContractedCost",
    "ContractedUnitPrice",
    "EffectiveCost",
    "ListCost",
    "ListUnitPrice",
    "PricingQuantity",
)
TIMES = ("BillingPeriodEnd", "BillingPeriodStart", "ChargePeriodEnd", "ChargePeriodStart")
TEXTS = (
    "AvailabilityZone",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "CommitmentDiscountCategory",
    "CommitmentDiscountId",
    "CommitmentDiscountName",
    "CommitmentDiscountStatus",
    "CommitmentDiscountType",
    "ConsumedUnit",
    "InvoiceIssuerName",
    "PricingCategory",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "RegionId",
    "RegionName",
    "ResourceId",
    "ResourceName",
    "ResourceType",
    "ServiceCategory",
    "ServiceName",
    "SkuId",
    "SkuPriceId",
    "SubAccountId",
    "SubAccountName",
    "Tags",
)
OUTCOME = "x_Outcome"
"""Of metered rows: what became of the job (`done`, `failed` or `killed`)."""
VCPU_SECONDS, CPU_SECONDS, IDLE_SHARE = "x_VcpuSeconds", "x_CpuSeconds", "x_IdleShare"
"""Of metered rows of a job's vCPU time: what was paid for, what was used of it, and the share that was not."""
OWN = (DAY, ORIGIN, PIPELINE, RUN, STAGE, MACHINE, OUTCOME)
FIGURES = (VCPU_SECONDS, CPU_SECONDS, IDLE_SHARE)
REQUIRED = ("BilledCost", "BillingCurrency", "ChargePeriodStart", "ChargePeriodEnd", "EffectiveCost")
"""A delivery without one of these is no cost data."""


def midnight(day: date) -> datetime:
    """At which a day's charges begin."""
    return datetime.combine(day, time(), UTC)


def schema() -> pa.Schema:
    """Columns of the table: those of FOCUS in the order of their names, then ours. Tags are a JSON object as text."""
    import pyarrow as pa

    kinds = {name: pa.decimal128(38, 18) for name in DECIMALS}
    kinds |= {name: pa.timestamp("us", "UTC") for name in TIMES}
    kinds |= {name: pa.string() for name in TEXTS}
    own = [(name, pa.string()) for name in OWN] + [(name, pa.float64()) for name in FIGURES]
    return pa.schema([(name, kinds[name]) for name in sorted(kinds)] + own)
