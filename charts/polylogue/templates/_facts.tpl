{{- /* What follows from values, and what values must not say together. */ -}}

{{- /* Seconds of a duration such as 2m5s, rounded up. */ -}}
{{- define "polylogue.seconds" -}}
{{- $millis := 0 -}}
{{- range regexFindAll "[0-9]+(ms|s|m|h|d)" . -1 -}}
{{- $unit := regexFind "[a-z]+" . -}}
{{- $factor := get (dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 "d" 86400000) $unit -}}
{{- $millis = add $millis (mul (atoi (regexFind "[0-9]+" .)) $factor) -}}
{{- end -}}
{{- div (add $millis 999) 1000 -}}
{{- end -}}

{{- /* Beyond the program's own bounds (shutdown::sequence): 5 s for last words, 5 s for an end, 5 s of slack. */ -}}
{{- define "polylogue.stopSeconds" -}}
{{- $server := .Values.config.server -}}
{{- add (atoi (include "polylogue.seconds" $server.drain_delay)) (atoi (include "polylogue.seconds" $server.grace)) 15 -}}
{{- end -}}

{{- define "polylogue.hasRedis" -}}
{{- $redis := .Values.config.redis -}}
{{- $secret := .Values.secrets.redisUrl -}}
{{- if or .Values.redisTrial.enabled $redis.url $redis.hosts $secret.existingSecret $secret.value -}}true{{- end -}}
{{- end -}}

{{- define "polylogue.isScaled" -}}
{{- if or .Values.autoscaling.enabled .Values.keda.enabled -}}true{{- end -}}
{{- end -}}

{{- /* The fewest pods there will be. */ -}}
{{- define "polylogue.replicas" -}}
{{- if include "polylogue.isScaled" . -}}
{{- int .Values.autoscaling.minReplicas -}}
{{- else if kindIs "invalid" .Values.replicaCount -}}
{{- if include "polylogue.hasRedis" . -}}3{{- else -}}1{{- end -}}
{{- else -}}
{{- int .Values.replicaCount -}}
{{- end -}}
{{- end -}}

{{- define "polylogue.hasAuthentication" -}}
{{- $jwt := dig "auth" "jwt" "issuer" "" .Values.config -}}
{{- $keys := .Values.secrets.authKeys -}}
{{- if or $jwt $keys.existingSecret $keys.value -}}true{{- end -}}
{{- end -}}

{{- define "polylogue.hasModel" -}}
{{- $llm := .Values.config.llm -}}
{{- $key := .Values.secrets.llmApiKey -}}
{{- if or $llm.base_url $llm.upstreams $key.existingSecret $key.value -}}true{{- end -}}
{{- end -}}

{{- define "polylogue.isTraced" -}}
{{- $tracing := .Values.config.tracing | default dict -}}
{{- if or $tracing.endpoint $tracing.traces_endpoint -}}true{{- end -}}
{{- end -}}

{{- /* Which pod a trace comes from; only where nobody says what describes it. */ -}}
{{- define "polylogue.environment" -}}
{{- if and (include "polylogue.isTraced" .) (not .Values.config.tracing.resource_attributes) -}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: OTEL_RESOURCE_ATTRIBUTES
  value: k8s.namespace.name={{ include "polylogue.namespace" . }},k8s.deployment.name={{ include "polylogue.fullname" . }},k8s.pod.name=$(POD_NAME)
{{- end -}}
{{- end -}}

{{- define "polylogue.scheme" -}}
{{- if .Values.secrets.tls.existingSecret -}}https{{- else -}}http{{- end -}}
{{- end -}}

{{- define "polylogue.managementScheme" -}}
{{- if .Values.secrets.managementTls.existingSecret -}}https{{- else -}}http{{- end -}}
{{- end -}}

{{- /* A probe as given, in the scheme of its port: (dict "root" $ "probe" .Values.livenessProbe). The kubelet has no certificate
to show: where the public port wants one, the management port says whether the pod is ready. */ -}}
{{- define "polylogue.probe" -}}
{{- $probe := deepCopy .probe -}}
{{- $public := (.root.Values.config.server.tls | default dict).client_auth | default "none" -}}
{{- with $probe.httpGet -}}
{{- if and (eq (toString .port) "http") (eq $public "required") -}}{{- $_ := set . "port" "management" -}}{{- end -}}
{{- $scheme := eq (toString .port) "http" | ternary (include "polylogue.scheme" $.root) (include "polylogue.managementScheme" $.root) -}}
{{- if eq $scheme "https" -}}{{- $_ := set . "scheme" (.scheme | default "HTTPS") -}}{{- end -}}
{{- end -}}
{{- toYaml $probe -}}
{{- end -}}

{{- /* Included by the Deployment, so that nothing is rendered from values that contradict each other. */ -}}
{{- define "polylogue.checks" -}}
{{- $many := or (include "polylogue.isScaled" .) (gt (atoi (include "polylogue.replicas" .)) 1) -}}
{{- if and $many (not (include "polylogue.hasRedis" .)) -}}
{{- fail "More than one replica needs a Redis, or each would have conversations, limits and turns of its own. Either say where one is (config.redis.url, or secrets.redisUrl.existingSecret; for a trial redisTrial.enabled=true), or run one replica (replicaCount=1, without autoscaling and keda)." -}}
{{- end -}}
{{- if and .Values.redisTrial.enabled (or .Values.config.redis.url .Values.config.redis.hosts .Values.secrets.redisUrl.existingSecret .Values.secrets.redisUrl.value) -}}
{{- fail "There are two Redis: redisTrial.enabled brings one, and config.redis or secrets.redisUrl names another. Leave one out." -}}
{{- end -}}
{{- if contains "@" (.Values.config.redis.url | default "") -}}
{{- fail "config.redis.url holds a password, and a ConfigMap is no place for one: put the URL into a Secret and name it in secrets.redisUrl.existingSecret (or leave the password out of the URL and name its Secret in secrets.redisPassword.existingSecret)." -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled .Values.keda.enabled -}}
{{- fail "autoscaling.enabled and keda.enabled would both scale the Deployment. Leave one out; keda takes its bounds from autoscaling." -}}
{{- end -}}
{{- if and (include "polylogue.isScaled" .) (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- fail "autoscaling.minReplicas is above autoscaling.maxReplicas." -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (not (or .Values.autoscaling.targetCPU .Values.autoscaling.targetSockets .Values.autoscaling.targetTurns .Values.autoscaling.extraMetrics)) -}}
{{- fail "autoscaling.enabled looks at nothing: set one of autoscaling.targetCPU, targetSockets, targetTurns, extraMetrics." -}}
{{- end -}}
{{- if and .Values.keda.enabled (not (or .Values.keda.targetSockets .Values.keda.targetTurns)) -}}
{{- fail "keda.enabled looks at nothing: set keda.targetSockets or keda.targetTurns." -}}
{{- end -}}
{{- with .Values.terminationGracePeriodSeconds -}}
{{- if lt (int .) (atoi (include "polylogue.stopSeconds" $)) -}}
{{- fail (printf "terminationGracePeriodSeconds (%d) is shorter than a stop may take: config.server.drain_delay (%s) + config.server.grace (%s) + 15 s = %s s. Leave it out, or lower those." (int .) $.Values.config.server.drain_delay $.Values.config.server.grace (include "polylogue.stopSeconds" $)) -}}
{{- end -}}
{{- end -}}
{{- range $port, $secret := dict "tls" .Values.secrets.tls "management_tls" .Values.secrets.managementTls -}}
{{- $auth := (get $.Values.config.server $port | default dict).client_auth | default "none" -}}
{{- if and (ne $auth "none") (not (and $secret.existingSecret $secret.clientCaKey)) -}}
{{- fail (printf "config.server.%s.client_auth is %s, and no authorities are named: set existingSecret and clientCaKey in secrets.%s." $port $auth (camelcase $port | untitle)) -}}
{{- end -}}
{{- end -}}
{{- if eq ((.Values.config.server.management_tls | default dict).client_auth | default "none") "required" -}}
{{- fail "config.server.management_tls.client_auth is required, and the kubelet's probes show no certificate: take optional." -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- fail "httpRoute.enabled needs httpRoute.parentRefs: the Gateway it belongs to." -}}
{{- end -}}
{{- $upstreams := list -}}
{{- range .Values.config.llm.upstreams -}}{{- $upstreams = append $upstreams .name -}}{{- end -}}
{{- range $name, $_ := .Values.secrets.upstreamApiKeys -}}
{{- if not (has $name $upstreams) -}}
{{- fail (printf "secrets.upstreamApiKeys.%s: there is no upstream of this name in config.llm.upstreams." $name) -}}
{{- end -}}
{{- end -}}
{{- $names := list -}}
{{- range fromYamlArray (include "polylogue.environment" .) -}}{{- $names = append $names .name -}}{{- end -}}
{{- range .Values.extraEnv -}}
{{- if has .name $names -}}{{- fail (printf "extraEnv names %s twice." .name) -}}{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- end -}}
