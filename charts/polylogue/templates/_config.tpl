{{- /* The program's configuration: values as TOML, and the files that Secrets and ConfigMaps become. */ -}}

{{- /* A value as TOML, on one line. Helm makes every number of a values file a float; a whole one is an integer. */ -}}
{{- define "polylogue.toml" -}}
{{- if kindIs "map" . -}}
{{- $parts := list -}}
{{- range $key, $value := . -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $parts = append $parts (printf "%s = %s" (include "polylogue.toml.key" $key) (include "polylogue.toml" $value)) -}}
{{- end -}}
{{- end -}}
{ {{- join ", " $parts -}} }
{{- else if kindIs "slice" . -}}
{{- $parts := list -}}
{{- range . -}}{{- $parts = append $parts (include "polylogue.toml" .) -}}{{- end -}}
[{{ join ", " $parts }}]
{{- else if and (kindIs "float64" .) (eq (floor .) .) -}}
{{- int64 . -}}
{{- else -}}
{{- toJson . -}}
{{- end -}}
{{- end -}}

{{- define "polylogue.toml.key" -}}
{{- regexMatch "^[A-Za-z0-9_-]+$" . | ternary . (toJson .) -}}
{{- end -}}

{{- /* Secrets that become files: a YAML list of setting, secret, key, path. An entry's own `value` is in the chart's Secret. */ -}}
{{- define "polylogue.files" -}}
{{- $own := printf "%s-values" (include "polylogue.fullname" .) -}}
{{- $settings := dict
      "llmApiKey" "llm.api_key_file" "redisUrl" "redis.url_file" "redisPassword" "redis.password_file"
      "redisSentinelPassword" "redis.sentinel_password_file" "authKeys" "auth.keys_file"
      "jwtKey" "auth.jwt.key_file" "managementToken" "server.management_token_file"
      "tracingHeaders" "tracing.headers_file" -}}
{{- $files := list -}}
{{- range $name, $setting := $settings -}}
{{- $secret := index $.Values.secrets $name -}}
{{- $path := printf "%s/%s" (kebabcase $name) (eq $name "authKeys" | ternary $secret.key "value") -}}
{{- if $secret.existingSecret -}}
{{- $files = append $files (dict "setting" $setting "secret" $secret.existingSecret "key" $secret.key "path" $path) -}}
{{- else if $secret.value -}}
{{- $files = append $files (dict "setting" $setting "secret" $own "key" (kebabcase $name) "path" $path) -}}
{{- end -}}
{{- end -}}
{{- $groups := dict
      "redisTls" (dict "ca" "redis.ca_file" "cert" "redis.cert_file" "key" "redis.key_file")
      "tls" (dict "cert" "server.tls.cert_file" "key" "server.tls.key_file" "clientCa" "server.tls.client_ca_file")
      "managementTls" (dict "cert" "server.management_tls.cert_file" "key" "server.management_tls.key_file"
        "clientCa" "server.management_tls.client_ca_file") -}}
{{- range $name, $parts := $groups -}}
{{- $secret := index $.Values.secrets $name -}}
{{- range $part, $setting := $parts -}}
{{- $key := get $secret (printf "%sKey" $part) -}}
{{- if and $secret.existingSecret $key -}}
{{- $files = append $files (dict "setting" $setting "secret" $secret.existingSecret "key" $key
      "path" (printf "%s/%s.pem" (kebabcase $name) (kebabcase $part))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $name, $secret := .Values.secrets.upstreamApiKeys -}}
{{- $files = append $files (dict "upstream" $name "secret" $secret.existingSecret "key" ($secret.key | default "api-key")
      "path" (printf "upstreams/%s" $name)) -}}
{{- end -}}
{{- toYaml $files -}}
{{- end -}}

{{- /* `config`, and what the chart itself has to say. */ -}}
{{- define "polylogue.settings" -}}
{{- $files := fromYamlArray (include "polylogue.files" .) -}}
{{- $settings := deepCopy .Values.config -}}
{{- $listen := contains ":" .Values.listenAddress | ternary (printf "[%s]" .Values.listenAddress) .Values.listenAddress -}}
{{- $chart := dict "server" (dict "listen" (printf "%s:8080" $listen) "management_listen" (printf "%s:9090" $listen)) -}}
{{- if .Values.redisTrial.enabled -}}
{{- $url := printf "redis://%s-redis:6379" (include "polylogue.fullname" .) -}}
{{- $chart = mergeOverwrite $chart (dict "redis" (dict "url" $url)) -}}
{{- end -}}
{{- if .Values.personas -}}
{{- $chart = mergeOverwrite $chart (dict "personas" (dict "file" "/etc/polylogue/config/personas.yaml")) -}}
{{- end -}}
{{- if .Values.flags -}}
{{- $chart = mergeOverwrite $chart (dict "flags" (dict "file" "/etc/polylogue/flags/flags.json")) -}}
{{- end -}}
{{- $paths := dict -}}
{{- range $files -}}
{{- $path := printf "/etc/polylogue/secrets/%s" .path -}}
{{- if .upstream -}}
{{- $_ := set $paths .upstream $path -}}
{{- else -}}
{{- $leaf := dict (splitList "." .setting | last) $path -}}
{{- range initial (splitList "." .setting) | reverse -}}{{- $leaf = dict . $leaf -}}{{- end -}}
{{- $chart = mergeOverwrite $chart $leaf -}}
{{- end -}}
{{- end -}}
{{- $settings = mergeOverwrite $settings $chart -}}
{{- if hasKey ($settings.redis | default dict) "url_file" -}}
{{- $_ := unset $settings.redis "url" -}}
{{- end -}}
{{- range ($settings.llm | default dict).upstreams -}}
{{- if hasKey $paths .name -}}{{- $_ := set . "api_key_file" (get $paths .name) -}}{{- end -}}
{{- end -}}
{{- toYaml $settings -}}
{{- end -}}

{{- define "polylogue.config" -}}
# Made by the chart from `config`, `secrets`, `personas`, `flags`, `redisTrial` and `listenAddress`.
{{- range $section, $settings := fromYaml (include "polylogue.settings" .) }}

[{{ $section }}]
{{- range $key, $value := $settings }}
{{- if not (kindIs "invalid" $value) }}
{{ include "polylogue.toml.key" $key }} = {{ include "polylogue.toml" $value }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}
