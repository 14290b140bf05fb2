"""Outside of the cluster: a Redis of each kind that the value sets speak of. Every one has addresses of its own, and the names
that the value sets use for them."""


import pki
from cluster import until
from support import run

PASSWORD = "not-a-secret"
# A standalone Redis, the two primaries of a cluster, and the two Sentinels, the first of which stands beside what it watches.
ALONE, CLUSTER, SENTINELS = "10.99.0.10", ["10.99.0.11", "10.99.0.12"], ["10.99.0.13", "10.99.0.14"]
NAMES = {"redis.example": ALONE} | {f"{kind}-{number}.redis.example": address for kind, addresses in (
    ("redis", CLUSTER), ("sentinel", SENTINELS)) for number, address in enumerate(addresses)}
NOTHING_KEPT = ["--protected-mode", "no", "--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"]


class Redis:
    """Starts them and waits until each is what it should be."""

    def __init__(self, cluster):
        self.cluster = cluster
        for address in NAMES.values():
            run("ip", "address", "add", f"{address}/32", "dev", "lo")

    def up(self):
        self.start("redis", ALONE, 6379, "--requirepass", PASSWORD)
        self.make_cluster()
        self.make_sentinels()

    def start(self, name, address, port, *options):
        place = self.cluster.place / name
        place.mkdir()
        self.cluster.start(name, "redis-server", "--bind", address, "--port", port, "--dir", place, *NOTHING_KEPT, *options)

    def ask(self, address, *command, port=6379):
        return run("redis-cli", "-h", address, "-p", port, *command).stdout

    def make_cluster(self):
        """Two primaries with half of the slots each."""
        for number, (address, slots) in enumerate(zip(CLUSTER, [("0", "8191"), ("8192", "16383")])):
            self.start(f"redis-cluster-{number}", address, 6379, "--cluster-enabled", "yes", "--cluster-announce-ip", address)
            until("a Redis of the cluster", lambda: "PONG" in self.ask(address, "ping"))
            assert "OK" in self.ask(address, "cluster", "addslotsrange", *slots)
        assert "OK" in self.ask(CLUSTER[0], "cluster", "meet", CLUSTER[1], "6379")
        for address in CLUSTER:
            until("the Redis Cluster", lambda: "cluster_state:ok" in self.ask(address, "cluster", "info"))

    def make_sentinels(self):
        """A primary that takes TLS only and a user by name, and two Sentinels of it that take TLS and a password."""
        keys = self.cluster.pki
        names = ",".join(["DNS:*.redis.example", *(f"IP:{address}" for address in SENTINELS)])
        pki.issue(keys, "redis", "/CN=redis", f"subjectAltName={names}\n")
        tls = ["--tls-cert-file", keys / "redis.crt", "--tls-key-file", keys / "redis.key", "--tls-ca-cert-file", keys / "ca.crt",
               "--tls-auth-clients", "no", "--tls-replication", "yes"]
        primary = SENTINELS[0]
        self.start("redis-watched", primary, 0, "--tls-port", "6379", *tls, "--requirepass", PASSWORD,
                   "--user", "polylogue", "on", f">{PASSWORD}", "~*", "&*", "+@all")
        for number, address in enumerate(SENTINELS):
            file = keys / f"sentinel-{number}.conf"
            file.write_text("\n".join([
                f"bind {address}", f"sentinel announce-ip {address}", "port 0", "tls-port 26379", f"requirepass {PASSWORD}", f"sentinel sentinel-pass {PASSWORD}",
                *(f"{option.removeprefix('--')} {value}" for option, value in zip(tls[::2], tls[1::2])),
                f"sentinel monitor primary {primary} 6379 2", f"sentinel auth-pass primary {PASSWORD}", ""]))
            self.cluster.start(f"sentinel-{number}", "redis-server", file, "--sentinel")
        secure = ["--tls", "--cacert", keys / "ca.crt", "--no-auth-warning", "-a", PASSWORD]
        for address in SENTINELS:
            until("the Sentinels", lambda: "num-other-sentinels\n1\n" in self.ask(
                address, *secure, "sentinel", "master", "primary", port=26379))
