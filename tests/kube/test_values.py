"""What values do, and which are refused with which words."""

import json
import re
import tomllib

import generate
import pytest
import yaml

from support import CHART, ROOT, deployment, objects, pod, refusal, settings, template, value_set

REDIS = {"config__redis__url": "redis://cache:6379"}


@pytest.mark.parametrize("values, said", [
    ({"replicas": 2}, "'replicas' not allowed"),
    ({"config__turns__deadlin": "1m"}, "'deadlin' not allowed"),
    ({"config__llm__api_key": "sk-1"}, "'api_key' not allowed"),
    ({"config__redis__password": "x"}, "'password' not allowed"),
    ({"config__tracing__headers": "x"}, "'headers' not allowed"),
    ({"config__server__listen": "0.0.0.0:1"}, "'listen' not allowed"),
    ({"config__turns__deadline": "soon"}, "/config/turns/deadline"),
    ({"config__turns__max_concurrent": "many"}, "/config/turns/max_concurrent"),
    ({"config__limits__policies__default__quotas": 5}, "'quotas' not allowed"),
    ({"config__telemetry__log_format": "xml"}, "/config/telemetry/log_format"),
    ({"image__digest": "sha256:short"}, "/image/digest"),
    ({"image__pullPolicy": "Sometimes"}, "/image/pullPolicy"),
    ({"replicaCount": -1}, "/replicaCount"),
    ({"secrets__llmApiKey": {"existingSecrets": "x"}}, "'existingSecrets' not allowed"),
    ({"service__type": "ExternalName"}, "/service/type"),
    ({"service__port": 70000}, "/service/port"),
    ({"ingress__controller": "apache"}, "/ingress/controller"),
    ({"personas": [{"id": "x"}]}, "/personas/0"),
    ({"networkPolicy__enabled": "yes"}, "/networkPolicy/enabled"),
])
def test_the_schema_refuses_what_is_wrong_and_names_it(values, said):
    assert said in refusal(**values)


@pytest.mark.parametrize("values, said", [
    ({"replicaCount": 2}, "More than one replica needs a Redis"),
    ({"autoscaling__enabled": "true"}, "More than one replica needs a Redis"),
    ({**REDIS, "redisTrial__enabled": "true"}, "There are two Redis"),
    ({"config__redis__url": "redis://:secret@cache:6379"}, "secrets.redisUrl.existingSecret"),
    ({**REDIS, "autoscaling__enabled": "true", "keda__enabled": "true"}, "would both scale"),
    ({**REDIS, "autoscaling__enabled": "true", "autoscaling__minReplicas": 20}, "is above autoscaling.maxReplicas"),
    ({**REDIS, "autoscaling__enabled": "true", "autoscaling__targetCPU": 0}, "looks at nothing"),
    ({"terminationGracePeriodSeconds": 30}, "is shorter than a stop may take"),
    ({"httpRoute__enabled": "true"}, "httpRoute.parentRefs"),
    ({"secrets__upstreamApiKeys": {"spare": {"existingSecret": "x"}}}, "no upstream of this name"),
    ({"extraEnv": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}, "extraEnv names A twice"),
])
def test_values_that_contradict_each_other_are_refused_with_a_way_out(values, said):
    assert said in refusal(**values)


def test_the_refusal_of_replicas_without_a_redis_names_both_ways_out():
    said = refusal(replicaCount=2)
    assert "config.redis.url" in said and "replicaCount=1" in said


@pytest.mark.parametrize("values, replicas", [
    ({}, 1), (REDIS, 3), ({"redisTrial__enabled": "true"}, 3), ({**REDIS, "replicaCount": 5}, 5), ({"replicaCount": 0}, 0),
    ({"secrets__redisUrl": {"existingSecret": "x"}}, 3), ({**REDIS, "autoscaling__enabled": "true"}, None),
    ({**REDIS, "keda__enabled": "true"}, None),
])
def test_replicas_follow_from_a_redis_and_are_left_to_what_scales(values, replicas):
    assert deployment(**values)["spec"].get("replicas") == replicas


def test_a_disruption_budget_is_made_only_where_it_does_not_block_a_drain():
    budget = ("PodDisruptionBudget", "chat-polylogue")
    assert budget not in objects()
    assert objects(**REDIS)[budget]["spec"]["maxUnavailable"] == 1
    assert budget not in objects(**REDIS, podDisruptionBudget__enabled="false")


@pytest.mark.parametrize("image, wanted", [
    ({}, "ghcr.io/polylogue/polylogue:0.1.0"),
    ({"image__tag": "v2"}, "ghcr.io/polylogue/polylogue:v2"),
    ({"image__tag": "v2", "image__digest": "sha256:" + "a" * 64}, "ghcr.io/polylogue/polylogue@sha256:" + "a" * 64),
    ({"image__registry": ""}, "polylogue/polylogue:0.1.0"),
    ({"global__imageRegistry": "mirror"}, "mirror/polylogue/polylogue:0.1.0"),
])
def test_the_image_is_named_by_digest_before_tag_before_version(image, wanted):
    assert pod(**image)["containers"][0]["image"] == wanted


@pytest.mark.parametrize("times, seconds", [
    ({}, 150), ({"config__server__drain_delay": "0s", "config__server__grace": "1m30s"}, 105),
    ({"config__server__drain_delay": "1500ms"}, 142), ({"terminationGracePeriodSeconds": 400}, 400),
])
def test_the_grace_period_follows_from_the_programs_own_bounds(times, seconds):
    assert pod(**times)["terminationGracePeriodSeconds"] == seconds


def test_pods_meet_the_restricted_profile_and_know_nothing_of_the_cluster():
    for name in ("trial", "production"):
        for (kind, _), it in objects(*value_set(name)).items():
            if kind not in ("Deployment", "Pod"):
                continue
            spec = it["spec"]["template"]["spec"] if kind == "Deployment" else it["spec"]
            assert spec["automountServiceAccountToken"] is False and spec["enableServiceLinks"] is False
            assert spec["securityContext"]["runAsNonRoot"] is True
            assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            for container in spec["containers"]:
                security = container["securityContext"]
                assert security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"]
                assert security["capabilities"] == {"drop": ["ALL"]}


def test_openshift_may_choose_the_user():
    security = pod(podSecurityContext__runAsUser=None, podSecurityContext__runAsGroup=None, podSecurityContext__fsGroup=None)
    assert not security["securityContext"].keys() & {"runAsUser", "runAsGroup", "fsGroup"}


def test_selectors_hold_nothing_that_an_upgrade_changes():
    for (kind, _), it in objects(*value_set("production")).items():
        if kind == "Deployment":
            assert it["spec"]["selector"]["matchLabels"].keys() == {
                f"app.kubernetes.io/{label}" for label in ("name", "instance", "component")}
            labels = it["spec"]["template"]["metadata"]["labels"]
            assert "helm.sh/chart" not in labels


def checksums(**values):
    annotations = deployment(**values)["spec"]["template"]["metadata"]["annotations"]
    return {key: value for key, value in annotations.items() if key.startswith("checksum/")}


PERSONA = {"id": "x", "name": "X", "description": "x", "system_prompt": "x"}
FLAG = {"routing": {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "off"}}


def test_a_change_rolls_the_pods_unless_the_program_sees_it_itself():
    assert checksums() == checksums() != checksums(config__llm__model="other")
    assert checksums() != checksums(personas=[PERSONA])
    flagged = checksums(flags=FLAG)
    assert flagged == checksums(flags={"routing": {**FLAG["routing"], "defaultVariant": "on"}})
    assert checksums(secrets__llmApiKey={"value": "a"}) != checksums(secrets__llmApiKey={"value": "b"})
    assert checksums(secrets__authKeys={"value": "a"}) == checksums(secrets__authKeys={"value": "b"})
    assert checksums(resources={}) == checksums(), "what is no setting of the program is none of the checksum's business"


def test_settings_become_the_programs_own_toml():
    found = tomllib.loads(settings(*value_set("characters")))
    assert found["limits"]["policies"]["costly"] == {"quota": 10, "window": "1m", "scope": "principal", "strategy": "gcra"}
    assert found["limits"]["routes"] == {"POST /api/v1/chat": ["default", "costly"]}
    assert found["simulator"] == {"tokens": 5, "error_rate": 0.25, "time_to_first_token": "10ms"}
    odd = 'a "quoted" \\ <b> & ü\n'
    assert tomllib.loads(settings(f"--set-json=config.llm.model={json.dumps(odd)}"))["llm"]["model"] == odd


def test_no_secret_is_in_a_config_map():
    values = {f"secrets__{name}": {"value": "hush-hush"} for name in ("llmApiKey", "redisUrl", "authKeys", "managementToken")}
    found = objects(**values)
    assert "hush-hush" not in str([it for (kind, _), it in found.items() if kind != "Secret"])
    assert len(found["Secret", "chat-polylogue-values"]["data"]) == 4


def test_streams_have_no_time_out_at_a_gateway_and_the_rest_has_one():
    route = objects(*value_set("gateway"))["HTTPRoute", "chat-polylogue"]["spec"]["rules"]
    streams = [match["path"]["value"] for match in route[0]["matches"]]
    assert route[0]["timeouts"] == {"request": "0s", "backendRequest": "0s"}
    assert route[1]["timeouts"] == {"request": "150s", "backendRequest": "150s"}
    described = json.loads((ROOT / "openapi" / "openapi.json").read_text())["paths"]
    for path in ("/api/v1/chat/stream", "/api/v1/chat/ws", "/api/v1/turns/{turn_id}/events"):
        assert path in [*described, "/api/v1/chat/ws"] and any(path.startswith(stream) for stream in streams)


def test_every_metric_that_scales_exists():
    declared = "".join(file.read_text() for file in (ROOT / "src" / "telemetry" / "metrics").glob("*.rs"))
    scaling = ("HorizontalPodAutoscaler", "ScaledObject")
    made = [it for name in ("production", "gateway") for (kind, _), it in objects(*value_set(name)).items() if kind in scaling]
    named = set(re.findall(r"polylogue_([a-z_]+)", json.dumps(made)))
    assert named and all(f'"{name}"' in declared for name in named), named


def test_rules_and_dashboards_are_shipped_as_they_lie():
    """charts/generate.py copies them; its --check is in test_chart."""
    rules, dashboards = sorted(CHART.glob("rules/*.yaml")), sorted(CHART.glob("dashboards/*.json"))
    found = objects(prometheusRule__enabled="true", prometheusRule__runbookPrefix="https://x/", dashboards__enabled="true")
    made = {name: it for (kind, name), it in found.items() if kind == "PrometheusRule"}
    assert [it["spec"] for it in made.values()] == [
        yaml.safe_load(file.read_text().replace("runbook_url: docs/", "runbook_url: https://x/docs/")) for file in rules]
    held = [it for (kind, name), it in found.items() if kind == "ConfigMap" and "-dashboard-" in name]
    assert [(list(it["data"]), json.loads(*it["data"].values())) for it in held] == [
        ([file.name], json.loads(file.read_text())) for file in dashboards]
    assert all(it["metadata"]["labels"]["grafana_dashboard"] == "1" for it in held)


def test_the_chart_brings_a_network_policy_that_lets_the_service_work():
    policy = objects(*value_set("production"))["NetworkPolicy", "chat-polylogue"]["spec"]
    ports = [(port["port"], port["protocol"]) for rule in policy["egress"] for port in rule["ports"]]
    assert {(53, "UDP"), (53, "TCP")} | {(port, "TCP") for port in (8000, 6379, 26379, 4317, 4318)} == set(ports)
    assert {port["port"] for rule in policy["ingress"] for port in rule["ports"]} == {"http", "management"}


TLS = {"secrets__tls": {"existingSecret": "cert"}, "secrets__managementTls": {"existingSecret": "cert"}}


def test_with_tls_everybody_who_asks_a_port_speaks_it():
    found = objects(**TLS, podMonitor__enabled="true", tests__ca={"existingSecret": "cert"}, ingress__enabled="true",
                    ingress__controller="nginx")
    container = found["Deployment", "chat-polylogue"]["spec"]["template"]["spec"]["containers"][0]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["scheme"] == "HTTPS"
    assert found["Service", "chat-polylogue"]["spec"]["ports"][0]["appProtocol"] == "https"
    assert found["PodMonitor", "chat-polylogue"]["spec"]["podMetricsEndpoints"][0]["scheme"] == "https"
    assert "--url=https://chat-polylogue.chat.svc:80" in found["Pod", "chat-polylogue-test-chat"]["spec"]["containers"][0]["args"]
    annotations = found["Ingress", "chat-polylogue"]["metadata"]["annotations"]
    assert annotations["nginx.ingress.kubernetes.io/backend-protocol"] == "HTTPS"
    plain = objects(podMonitor__enabled="true")
    assert "HTTPS" not in str(plain) and "https" not in str(plain["PodMonitor", "chat-polylogue"])


def test_the_files_of_a_certificate_are_where_the_program_looks():
    found = tomllib.loads(settings(**TLS))["server"]
    assert found["tls"] == {"cert_file": "/etc/polylogue/secrets/tls/cert.pem", "key_file": "/etc/polylogue/secrets/tls/key.pem"}
    assert found["management_tls"]["cert_file"] == "/etc/polylogue/secrets/management-tls/cert.pem"


def test_a_trace_says_which_pod_it_comes_from():
    traced = {"config__tracing__endpoint": "http://collector:4318"}
    environment = {it["name"]: it for it in pod(**traced)["containers"][0]["env"]}
    assert environment["OTEL_RESOURCE_ATTRIBUTES"]["value"].endswith("k8s.pod.name=$(POD_NAME)")
    assert "env" not in pod()["containers"][0]
    assert "env" not in pod(**traced, config__tracing__resource_attributes="a=b")["containers"][0]
    twice = [{"name": "OTEL_RESOURCE_ATTRIBUTES", "value": "a=b"}]
    assert "extraEnv names OTEL_RESOURCE_ATTRIBUTES twice" in refusal(**traced, extraEnv=twice)


def test_the_generator_knows_every_secret_of_the_program():
    source = (ROOT / "src" / "config" / "schema.rs").read_text()
    secrets = set(re.findall(r'"([a-z_.]+)"', re.search(r"const SECRETS[^;]+;[^;]+;", source)[0]))
    assert secrets == generate.SECRET | {"redis.url"}
