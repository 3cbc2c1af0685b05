"""`make bench`: measures every path beside its reference point, prints a table and keeps it in docs/performance.md.

BENCH_SECONDS=0.2 is over in a minute and keeps nothing: it tells whether everything runs, and nothing about speed.
"""

import os
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bench import paths, report
from bench.deployment import ROOT, Deployment, answering
from bench.paths import Size, Stand
from bench.result import Line
from tests.commands import soak
from tests.support import postgres

# As in production; the tests' own server is faster, and forgets everything when the power goes.
DURABLE = ["-c", "fsync=on", "-c", "synchronous_commit=on", "-c", "shared_buffers=256MB"]


def main() -> int:
    # Told to stop, it stops what it has started, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    short = os.environ.get("BENCH_SECONDS", "")
    size = Size().shortened(float(short)) if short else Size()
    lines: list[Line] = []

    def tell(line: Line) -> None:
        lines.append(line)
        print(report.spoken(line), flush=True)

    began, load, commit = time.monotonic(), os.getloadavg()[1], soak.commit()
    if load > (os.cpu_count() or 1) / 2:
        print(f"This machine is busy (load average {load:.1f}): trust ratios a little, and the rest not at all.")
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="connect-bench-")))
        certificate, key = certified(folder)
        plain, secure = postgres.free_port(), postgres.free_port()
        lite = Deployment(folder, f"sqlite:///{folder / 'db.sqlite3'}", f"http://localhost:{plain}/")
        lite.collect_static()
        opened.enter_context(lite.process("api", ["-m", "bench.api", str(plain)]))
        opened.enter_context(lite.process("api", ["-m", "bench.api", str(secure), certificate, key]))
        answering(plain), answering(secure)
        if postgres.binaries() is None:
            print("SKIPPED everything on PostgreSQL: it is missing (apt-get install postgresql)")
        else:
            url = opened.enter_context(postgres.server(*DURABLE))
            stand = filled(lite.at(url), "PostgreSQL", size)
            with ExitStack() as serving:
                paths.on_postgresql(stand, serving, (f"https://localhost:{secure}/", certificate), tell)
        with ExitStack() as serving:
            paths.on_sqlite(filled(lite, "SQLite", size), serving, tell)
        missed = [line for line in lines if line.missed]
        print(f"{len(missed)} of {sum(bool(line.targets) for line in lines)} targets are missed.")
        if not short and postgres.binaries():
            run = report.as_run(
                lines, commit=commit, minutes=(time.monotonic() - began) / 60, load=load, postgresql=url
            )
            report.keep(run)
            print(f"Written: {report.PAGE.relative_to(ROOT)}, {report.KEPT.relative_to(ROOT)}")
    return 0


def filled(at: Deployment, database: str, size: Size) -> Stand:
    return Stand(at, database, at.prepare().run("bench.fill"), size)


def certified(folder: Path) -> tuple[str, str]:
    """A certificate for localhost that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return str(files[0]), str(files[1])


if __name__ == "__main__":
    sys.exit(main())
