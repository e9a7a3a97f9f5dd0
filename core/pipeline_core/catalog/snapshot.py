"""The catalog: an immutable snapshot of all providers and pipelines, as the files stood at one moment."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline_core.catalog.models import PipelineFile, Provider
from pipeline_core.errors import PipelineNotFoundError, UnknownProviderError

_SHOWN = 64


@dataclass(frozen=True)
class PipelineConfig:
    """One pipeline under its canonical name.

    `stem` is the file's name without `.yml`, and names the pipeline in paths, objects and tables; `path` is relative to
    the catalog's directory, and `content` is what the file says, validated.
    """

    provider: str
    domain: str
    stem: str
    path: str
    content: PipelineFile

    @property
    def key(self) -> str:
        """The canonical name, `{provider}/{domain}/{stem}`."""
        return f"{self.provider}/{self.domain}/{self.stem}"


@dataclass(frozen=True)
class Catalog:
    """All pipelines by canonical name; `hash` is the SHA-256 of the files it was made from, in hexadecimal."""

    hash: str
    providers: Mapping[str, Provider]
    pipelines: tuple[PipelineConfig, ...]
    _by_name: Mapping[tuple[str, str, str], PipelineConfig] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_name = {(config.provider, config.domain, config.content.pipeline.name): config for config in self.pipelines}
        by_name |= {(config.provider, config.domain, config.stem): config for config in self.pipelines}
        object.__setattr__(self, "_by_name", by_name)

    def get(self, provider: str, domain: str, pipeline: str) -> PipelineConfig:
        """The pipeline of that name; `pipeline` is the file's stem, or the `pipeline.name` that the file gives itself.

        Raises UnknownProviderError or PipelineNotFoundError.
        """
        if provider not in self.providers:
            raise UnknownProviderError(provider[:_SHOWN])
        config = self._by_name.get((provider, domain, pipeline))
        if config is None:
            raise PipelineNotFoundError(provider, domain[:_SHOWN], pipeline[:_SHOWN])
        return config
