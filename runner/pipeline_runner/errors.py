"""What a processor raises to say why it can't go on; the exit code tells Kubernetes whether another attempt helps."""

from pipeline_core.outcome import ExitCode


class ProcessorError(Exception):
    """Base of the three; anything else that a processor raises is a defect (exit code 70)."""

    exit_code = ExitCode.INTERNAL


class TransientError(ProcessorError):
    """A service was away, throttled or busy: the same run may succeed later."""

    exit_code = ExitCode.TRANSIENT


class ConfigError(ProcessorError):
    """The config, the parameters or somebody's rights are wrong: a person must act."""

    exit_code = ExitCode.CONFIG


class DataError(ProcessorError):
    """The source's data or schema can't be processed, so another attempt ends the same."""

    exit_code = ExitCode.DATA
