"""One file a family of estimators, with holdout, metrics and tuning beside them. No I/O beyond the model file."""
