"""How OpenAI's reports are asked for, and how they answer. https://platform.openai.com/docs/api-reference/usage"""

from pipeline_runner.api.dialect import UNIX_SECONDS, Dialect

OPENAI = Dialect(
    times=UNIX_SECONDS,
    start_parameter="start_time",
    end_parameter="end_time",
    start_field="start_time",
    end_field="end_time",
)

# The most buckets that an answer may have, by their width.
USAGE_PAGE = {"1d": 31, "1h": 168}
COSTS_PAGE = 180
