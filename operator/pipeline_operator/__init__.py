"""Watches PipelineRun and PipelineSchedule objects, decides, and acts; the exporter is a process of its own."""
