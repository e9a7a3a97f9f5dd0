"""`python -m pipeline_operator` runs the operator."""

import sys

from pipeline_operator.main import main

if __name__ == "__main__":
    sys.exit(main())
