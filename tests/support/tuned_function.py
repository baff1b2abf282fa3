"""The function, tuned for tests of its log; the environment's FUNCTION_SOURCE names this file."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from call_api import log_writer, shutdown

log_writer.MAX_LINES = 200  # few enough to be exceeded
shutdown.LOG_SECONDS = 10.0  # long enough for a test that reads late

from main import get_call  # noqa: E402, F401  (the framework looks it up here)
