"""What operates the function in the cloud; none of it is deployed."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036  (an operator's own Python, before any is installed)
    sys.exit("Python 3.11 or newer is needed: PYTHON=python3.13 ./deploy.sh …")
