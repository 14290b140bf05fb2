#!/usr/bin/env python3
"""The cluster's DNS: Services by their names (headless ones by all addresses of their pods), and the names of the world
outside that the value sets use.

    dns.py ADDRESS NAME=ADDRESS...
"""

import json
import socket
import struct
import subprocess
import sys
import time

A, FOUND, NO_SUCH_NAME = 1, 0x8180, 0x8183
# A new Service is found at the first question after this many seconds.
FRESH = 0.5


class Names:
    def __init__(self, fixed):
        self.fixed, self.services, self.read = fixed, {}, 0.0

    def find(self, name):
        if time.monotonic() - self.read > FRESH:
            self.services = dict(services())
            self.read = time.monotonic()
        return self.fixed.get(name) or self.services.get(name)


def services():
    """Each Service's name and addresses."""
    said = subprocess.run(["kubectl", "get", "services,endpointslices", "-A", "-o", "json"], capture_output=True, text=True).stdout
    items, behind = json.loads(said or '{"items": []}')["items"], {}
    for it in items:
        if it["kind"] == "EndpointSlice":
            owner = it["metadata"]["namespace"], it["metadata"]["labels"].get("kubernetes.io/service-name")
            addresses = [address for endpoint in it["endpoints"] or [] for address in endpoint["addresses"]]
            behind.setdefault(owner, []).extend(addresses)
    for it in items:
        if it["kind"] == "Service":
            name, namespace, address = it["metadata"]["name"], it["metadata"]["namespace"], it["spec"]["clusterIP"]
            found = behind.get((namespace, name), []) if address == "None" else [address]
            yield f"{name}.{namespace}.svc.cluster.local", found


def answer(question, names):
    labels, place = [], 12
    while length := question[place]:
        labels.append(question[place + 1:place + 1 + length].decode())
        place += 1 + length
    kind = struct.unpack("!H", question[place + 1:place + 3])[0]
    addresses = names.find(".".join(labels).lower())
    records = [struct.pack("!HHHIH4s", 0xC00C, A, 1, 1, 4, socket.inet_aton(address)) for address in addresses or []]
    records = records if kind == A else []
    header = struct.pack("!2sHHHHH", question[:2], NO_SUCH_NAME if addresses is None else FOUND, 1, len(records), 0, 0)
    return header + question[12:place + 5] + b"".join(records)


def main(address, *fixed):
    names = Names({name: [found] for name, found in (pair.split("=") for pair in fixed)})
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.bind((address, 53))
    while True:
        question, asker = listener.recvfrom(512)
        try:
            listener.sendto(answer(question, names), asker)
        except (IndexError, ValueError) as error:
            print(error, file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
