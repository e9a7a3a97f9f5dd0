"""`python -m pipeline_local.services`: see `pipeline_local.services.main`."""

import sys

from pipeline_local.services.main import main

sys.exit(main(sys.argv[1:]))
