"""One module a stage, each with one public function of its name: (run, workspace) -> record.

A stage knows what is done in which order and nothing of how it is done; that is in sources, lake, models, registry,
gate and report. Run twice, a stage leaves the same result.
"""
