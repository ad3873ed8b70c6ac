"""How long an example of Hypothesis takes is no finding: a busy machine stands still at times."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "unit", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unit")
