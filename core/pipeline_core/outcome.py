"""The outcome: what a runner says of its run when it ends, as JSON in the container's termination message.

The exit code tells Kubernetes whether to try again (sysexits.h: 75 temporary, 78 configuration, 65 data, 70 internal);
the message tells people what happened. The kubelet keeps 4,096 bytes of it, so a long error is cut, never the JSON.
"""

from enum import IntEnum
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, NonNegativeFloat, NonNegativeInt, ValidationError, field_validator

TERMINATION_MESSAGE_PATH = "/dev/termination-log"
TERMINATION_MESSAGE_MAX_BYTES = 4096
_CUT = " … (cut)"


class ExitCode(IntEnum):
    """What the runner's process returns; the Job's podFailurePolicy reads it."""

    OK = 0
    DATA = 65  # the source's data or schema can't be processed: trying again changes nothing
    INTERNAL = 70  # a defect: the processor raised what it shouldn't, or returned garbage
    TRANSIENT = 75  # a service was away or throttled: try again
    CONFIG = 78  # the config, parameters or rights are wrong: a person must act
    TERMINATED = 143  # SIGTERM: cancelled, timed out, or the node is being drained


# Exit codes after which another attempt can't end otherwise.
PERMANENT = (ExitCode.DATA, ExitCode.INTERNAL, ExitCode.CONFIG)


class Outcome(BaseModel):
    """How a run ended. `error` reads `{processor}: {details}`; `stages` maps a stage's name to its seconds."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    version: Literal[1] = 1
    status: Literal["succeeded", "failed", "terminated"]
    records_processed: NonNegativeInt = 0
    error: str | None = None
    stages: dict[str, NonNegativeFloat] = {}

    @field_validator("error", mode="before")
    @classmethod
    def _error_is_unicode(cls, error: object) -> object:
        # Names of files and bytes that aren't UTF-8 come into messages as lone surrogates, which JSON can't carry.
        return error.encode("utf-8", "replace").decode() if isinstance(error, str) else error

    def to_message(self) -> str:
        """JSON of at most 4,096 bytes; a longer `error` is cut and says so."""
        text = self.model_dump_json(exclude_none=True)
        excess = len(text.encode()) - TERMINATION_MESSAGE_MAX_BYTES
        if excess <= 0:
            return text
        error = self.error or ""
        # Escapes make a character up to six bytes long in JSON, so cut by characters until it fits.
        keep = max(0, len(error) - excess - len(_CUT.encode()))
        while True:
            cut = self.model_copy(update={"error": error[:keep] + _CUT}).model_dump_json(exclude_none=True)
            if len(cut.encode()) <= TERMINATION_MESSAGE_MAX_BYTES or keep == 0:
                return cut
            keep = keep * 3 // 4

    @classmethod
    def from_message(cls, message: str | None) -> Self | None:
        """Read a termination message; None if there is none or it isn't an outcome (a crash wrote something else)."""
        if not message:
            return None
        try:
            return cls.model_validate_json(message)
        except ValidationError:
            return None
