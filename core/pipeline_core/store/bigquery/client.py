"""Makes BigQuery clients from the settings; blocking clients, to be used on threads."""

from google.api_core.client_info import ClientInfo
from google.auth.credentials import AnonymousCredentials, Credentials
from google.cloud import bigquery
from google.cloud.bigquery.retry import DEFAULT_RETRY

from pipeline_core import __version__
from pipeline_core.settings import BigQuerySettings

# One request takes at most so long, and is tried again for at most so long, where the client's default is ten minutes:
# a caller that gives up leaves its thread behind, which would go on for all that time.
REQUEST_SECONDS = 30
BOUNDED_RETRY = DEFAULT_RETRY.with_timeout(REQUEST_SECONDS)


def credentials(settings: BigQuerySettings) -> Credentials | None:
    """The credentials to pass to Google's clients; None lets them find the application default ones."""
    return AnonymousCredentials() if settings.credentials == "anonymous" else None


def bigquery_client(settings: BigQuerySettings, *, identity: Credentials | None = None) -> bigquery.Client:
    """A client for the settings' project and location; `identity` takes the place of the settings' credentials.

    Raises google.auth.exceptions.DefaultCredentialsError where the environment has no credentials.
    """
    return bigquery.Client(
        project=settings.project,
        location=settings.location,
        credentials=identity or credentials(settings),
        client_info=ClientInfo(user_agent=f"pipelines/{__version__}"),
    )
