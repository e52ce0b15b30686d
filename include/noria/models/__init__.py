"""Models: families of estimators, and holdout, preparation, metrics, tuning, evaluation and storage beside them.

Pure of the lake and the registry: tables come in as Parquet files, models go out as bytes. Where work runs belongs to
compute.
"""
