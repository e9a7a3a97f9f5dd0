"""`python -m pipeline_local`: the commands of `pipelines local` on their own."""

from pipeline_local.cli import app

app(prog_name="pipelines local")
