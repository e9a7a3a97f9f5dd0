"""Where the organization of a backfill stands with its quota, for a command that goes on without knowing."""

import os
from typing import TYPE_CHECKING

from pipeline_cli.failing import lacking

# Clients are imported where they are needed: most commands never meet a service.
if TYPE_CHECKING:
    from pipeline_core.store.quota.standing import Standing


async def standing_of(org: str) -> "Standing | str":
    """Where the organization stands; or why nobody knows."""
    if not os.environ.get("PIPELINES_DATABASE_URL"):
        return "it is in the database, and PIPELINES_DATABASE_URL isn't set"
    from pydantic import ValidationError
    from sqlalchemy.exc import DBAPIError, SQLAlchemyError

    from pipeline_cli.database import database_url
    from pipeline_core.store.engine import create_engine, first_line
    from pipeline_core.store.errors import StoreUnavailableError
    from pipeline_core.store.quota.ledger import QuotaLedger

    # Whatever is wrong with the database or its address: the backfill is begun without it.
    try:
        engine = create_engine(database_url())
        try:
            return await QuotaLedger(engine).standing(org)
        finally:
            await engine.dispose()
    except StoreUnavailableError as error:
        return str(error)
    except ValidationError as error:
        return lacking(error)
    except DBAPIError as error:
        return f"PIPELINES_DATABASE_URL: {first_line(error)}"
    except (SQLAlchemyError, TypeError, ValueError) as error:  # their words may have the address, and so the password
        return f"PIPELINES_DATABASE_URL can't be used ({type(error).__name__})"
