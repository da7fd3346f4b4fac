# SPDX-License-Identifier: GPL-2.0
"""What --tls-dir wants, as a user would make it with openssl."""
import os
import shutil
import subprocess

KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
DAYS = ["-days", "36500"]


def _openssl(*argv):
    subprocess.run(["openssl", *argv], check=True, capture_output=True)


def make_authority(path):
    """path.pem and path-key.pem."""
    _openssl("req", "-x509", *KEY, *DAYS, "-subj", "/CN=" + os.path.basename(path),
             "-keyout", path + "-key.pem", "-out", path + ".pem")


def make_certificate(directory, authority, names, trusts):
    """A --tls-dir: a certificate of that authority for the names, and whom it trusts."""
    def path(name):
        return os.path.join(directory, name)

    os.makedirs(directory)
    with open(path("ext"), "w", encoding="ascii") as f:
        f.write("subjectAltName=%s\n" % names)
    _openssl("req", "-new", *KEY, "-subj", "/CN=host", "-keyout", path("key.pem"),
             "-out", path("csr"))
    _openssl("x509", "-req", "-in", path("csr"), "-CA", authority + ".pem",
             "-CAkey", authority + "-key.pem", "-CAcreateserial", *DAYS,
             "-extfile", path("ext"), "-out", path("cert.pem"))
    shutil.copy(trusts + ".pem", path("ca.pem"))
