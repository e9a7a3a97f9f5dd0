"""The `pipelines` command: a thin face on the other parts."""
