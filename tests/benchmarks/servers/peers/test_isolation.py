import subprocess
import sys

from benchmarks.processes import ROOT

PRINT_IMPORTED = """
import sys
import benchmarks.servers.peers.tuning
print(*sorted({name.partition(".")[0] for name in sys.modules} & {"app", "numpy", "training"}))
"""


def test_peer_packages_do_not_import_app_numpy_or_training() -> None:
    found = subprocess.run([sys.executable, "-c", PRINT_IMPORTED], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
