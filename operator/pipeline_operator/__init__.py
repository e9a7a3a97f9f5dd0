"""Watches PipelineRun and PipelineSchedule objects, decides, and acts; the exporter to BigQuery is a process of its own."""
