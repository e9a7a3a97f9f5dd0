"""How Anthropic's reports are asked for, and how they answer.

https://platform.claude.com/docs/en/manage-claude/usage-cost-api
"""

from pipeline_runner.api.dialect import RFC3339, Dialect

ANTHROPIC = Dialect(
    times=RFC3339,
    start_parameter="starting_at",
    end_parameter="ending_at",
    start_field="starting_at",
    end_field="ending_at",
)

# The most buckets that an answer may have, by their width.
USAGE_PAGE = {"1d": 31, "1h": 168}
COSTS_PAGE = 31
# The version of the API that all this is about; without it, it refuses.
VERSION = "2023-06-01"
