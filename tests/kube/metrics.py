#!/usr/bin/env python3
"""Stands in for Prometheus and its adapter: answers the API server's questions for pods' metrics with the numbers in a file.

    metrics.py PORT CERTIFICATE KEY FILE      the file: {"polylogue_websocket_connections": 900, …} for each pod
"""

import json
import pathlib
import ssl
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GROUP = "custom.metrics.k8s.io/v1beta1"


def values(namespace, metric, file):
    """One value for each pod of the namespace."""
    wanted = json.loads(file.read_text()).get(metric)
    pods = json.loads(subprocess.run(["kubectl", "get", "pods", "-n", namespace, "-o", "json"], capture_output=True, text=True).stdout)
    return [{"describedObject": {"kind": "Pod", "namespace": namespace, "name": pod["metadata"]["name"], "apiVersion": "/v1"},
             "metricName": metric, "timestamp": "2026-01-01T00:00:00Z", "value": str(wanted)} for pod in pods["items"] if wanted is not None]


class Answer(BaseHTTPRequestHandler):
    file = None

    def do_GET(self):  # noqa: N802 (the library's name)
        parts = self.path.split("?")[0].strip("/").split("/")
        body = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": GROUP, "resources": [
            {"name": f"pods/{metric}", "singularName": "", "namespaced": True, "kind": "MetricValueList", "verbs": ["get"]}
            for metric in json.loads(self.file.read_text())]}
        if "namespaces" in parts:
            body = {"kind": "MetricValueList", "apiVersion": GROUP, "metadata": {}, "items": values(parts[4], parts[-1], self.file)}
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main(port, certificate, key, file):
    Answer.file = pathlib.Path(file)
    server = ThreadingHTTPServer(("127.0.0.1", int(port)), Answer)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
