"""Keeps the catalog current while a process runs."""

import threading
from collections.abc import Sequence
from pathlib import Path

from pipeline_core.catalog.files import Fingerprint, fingerprint, read_files
from pipeline_core.catalog.loader import build_catalog
from pipeline_core.catalog.problems import CatalogInvalidError
from pipeline_core.catalog.snapshot import Catalog


class CatalogWatcher:
    """Serves the newest valid catalog of a directory; any thread may ask.

    Nothing runs in the background: each `current()` looks at the files' metadata, and reads them only when it changed.
    """

    def __init__(self, directory: Path, *, processor_packages: Sequence[str] = ()) -> None:
        self._directory = directory
        self._processor_packages = tuple(processor_packages)
        self._lock = threading.Lock()
        self._catalog: Catalog | None = None
        self._error: CatalogInvalidError | None = None
        self._seen: Fingerprint | None = None

    @property
    def error(self) -> CatalogInvalidError | None:
        """What is wrong with the files as `current()` last saw them; None if they are in use."""
        return self._error

    def current(self) -> Catalog:
        """The catalog as the files have it now or, while they are broken, the last good one.

        Raises CatalogInvalidError if there never was a good one.
        """
        with self._lock:
            self._reload_if_changed()
            if self._catalog is None:
                # A new error each time: one that is raised again and again keeps the traceback of every caller.
                raise CatalogInvalidError(self._error.problems if self._error else [])
            return self._catalog

    def _reload_if_changed(self) -> None:
        try:
            if fingerprint(self._directory) == self._seen:
                return
            files = read_files(self._directory)
        except CatalogInvalidError as error:
            self._error, self._seen = error, None
            return
        # Remembered even if the files are broken, so that they aren't parsed anew at every call.
        self._seen = files.fingerprint
        try:
            self._catalog, self._error = build_catalog(files, self._processor_packages), None
        except CatalogInvalidError as error:
            self._error = error
