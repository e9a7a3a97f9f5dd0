"""Property tests count examples, not milliseconds: a busy machine isn't a defect."""

from hypothesis import HealthCheck, settings

settings.register_profile("pipelines", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("pipelines")
