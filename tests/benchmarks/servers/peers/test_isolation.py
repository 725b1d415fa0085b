import subprocess
import sys

from benchmarks.processes import ROOT

PRINT_IMPORTED = """
import sys
import benchmarks.servers.peers.tuning
print(*sorted({name.partition(".")[0] for name in sys.modules} & {"app", "numpy", "training"}))
"""


def test_packages_of_peer_servers_import_nothing_else() -> None:
    found = subprocess.run([sys.executable, "-c", PRINT_IMPORTED], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
