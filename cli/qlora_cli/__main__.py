"""`python -m qlora_cli` is `qlora`."""

import sys

from qlora_cli.main import main

sys.exit(main())
