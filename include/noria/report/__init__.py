"""The run's HTML file: pictures and templates over records. Reads records, decides nothing."""
