"""Property tests count examples, not milliseconds: a busy machine isn't a defect."""

from hypothesis import settings

settings.register_profile("pipelines", deadline=None)
settings.load_profile("pipelines")
