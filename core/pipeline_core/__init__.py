"""The domain of Pipelines: catalog, templates, admission and run lifecycle (pure), and the stores."""

__version__ = "0.1.0"
