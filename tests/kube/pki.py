"""Certificates, tokens and kubeconfig files of a cluster that lives for one test run."""

import base64
import json
import secrets

from support import run

API = "https://127.0.0.1:6443"
USERS = {"admin": "system:masters", "system:kube-controller-manager": "", "system:kube-scheduler": "",
         "system:node:real-0": "system:nodes", "system:node:real-1": "system:nodes"}
NAMES = "subjectAltName=DNS:kubernetes,DNS:kubernetes.default.svc,IP:127.0.0.1,IP:10.96.0.1\n"
CURVE = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


def issue(place, name, subject, extensions):
    """A key and a certificate of our authority, as NAME.key and NAME.crt."""
    run("openssl", "req", *CURVE, "-subj", subject, "-keyout", f"{name}.key", "-out", f"{name}.csr", cwd=place)
    (place / f"{name}.ext").write_text(extensions)
    run("openssl", "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
        "-extfile", f"{name}.ext", "-out", f"{name}.crt", cwd=place)


def kubeconfig(place, user, token):
    authority = base64.b64encode((place / "ca.crt").read_bytes()).decode()
    file = place / f"{user.replace(':', '-')}.kubeconfig"
    file.write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "k",
        "clusters": [{"name": "k", "cluster": {"server": API, "certificate-authority-data": authority}}],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "k", "context": {"cluster": "k", "user": "u"}}]}))


def make(place):
    """Everything that components need to believe each other."""
    place.mkdir(mode=0o700)
    run("openssl", "req", "-x509", *CURVE, "-days", "2", "-subj", "/CN=test-ca", "-keyout", "ca.key", "-out", "ca.crt", cwd=place)
    issue(place, "api", "/CN=kube-apiserver", NAMES + "extendedKeyUsage=serverAuth,clientAuth\n")
    issue(place, "kubelet-client", "/O=system:masters/CN=apiserver-kubelet-client", "extendedKeyUsage=clientAuth\n")
    run("openssl", "genrsa", "-out", "sa.key", "2048", cwd=place)
    tokens = {user: secrets.token_hex(16) for user in USERS}
    lines = [f'{tokens[user]},{user},{user}{f",{group}" if group else ""}\n' for user, group in USERS.items()]
    (place / "tokens.csv").write_text("".join(lines))
    for user, token in tokens.items():
        kubeconfig(place, user, token)
