"""A certificate that no authority has signed, for servers of tests on 127.0.0.1."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

CERTIFICATE = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgCRlKA2RZ9+JSmdQc
NkgOalNABPiMGHP/rdx+DO921T+hRANCAAQpXJnkX5xYN7hTuUuLjaaFgXWKHk54
qQ5ju2EPf2mXm4PpDccSANtECWl1doxWUii0edi9+KXpW0vXrJTmoO78
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBkDCCATagAwIBAgIUe4i5z7oKLr+DqTQSXHSy3viQMDowCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJMTI3LjAuMC4xMCAXDTI2MTEyMzEyMjY0N1oYDzIxMjYxMDMw
MTIyNjQ3WjAUMRIwEAYDVQQDDAkxMjcuMC4wLjEwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQpXJnkX5xYN7hTuUuLjaaFgXWKHk54qQ5ju2EPf2mXm4PpDccSANtE
CWl1doxWUii0edi9+KXpW0vXrJTmoO78o2QwYjAdBgNVHQ4EFgQUsZpSC2ab/a+M
tnxN7rBupEgPVncwHwYDVR0jBBgwFoAUsZpSC2ab/a+MtnxN7rBupEgPVncwDwYD
VR0TAQH/BAUwAwEB/zAPBgNVHREECDAGhwR/AAABMAoGCCqGSM49BAMCA0gAMEUC
IFKNMxTZv93V0JWDwM7l5fY4PHfzfYltwiWcRSGXRzv8AiEAkUoANjYHBoNoCk4m
qUnp4F1H7QMGG/WvwpABPnvM2/Q=
-----END CERTIFICATE-----
"""


def certificate_file(folder: Path) -> Path:
    """Write the certificate and its key; given as `SSL_CERT_FILE`, it is trusted."""
    file = folder / "certificate.pem"
    file.write_text(CERTIFICATE, "ascii")
    return file


def server_context(folder: Path) -> ssl.SSLContext:
    """TLS of a server that shows the certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_file(folder))
    return context
