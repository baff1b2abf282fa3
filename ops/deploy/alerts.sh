# usage: ./deploy.sh alerts [--dry-run]
# summary: create or update uptime checks, log-based metrics, alert policies and the dashboard
#
# Creates or updates an uptime check of the public function in each region that has it, the log-based
# metrics (ops/metrics), the alert policies (ops/alerts) and the dashboard (ops/dashboard.json). The
# last three cover the public and the private function in all regions. Run it again for a new region.
#
# PROJECT is required. NOTIFICATION_CHANNELS names the channels that the policies notify; without it,
# existing policies keep theirs.

# shellcheck shell=bash

source ops/deploy/monitoring.sh

readonly MONITORING_APIS=(
  cloudfunctions.googleapis.com
  logging.googleapis.com
  monitoring.googleapis.com
)

# A request without a key is answered 401 by the function itself: so it runs and keeps to its contract,
# and no key has to be stored. It answers within 10 s, whatever happens.
readonly UPTIME_FLAGS=(
  --path=/v2/calls/1
  --timeout=10
  --validate-ssl=true
  --matcher-type=contains-string
  --matcher-content='"code": "unauthenticated"'
)

run_alerts() {
  require_arguments alerts 0 "$@"
  require_gcloud
  enable_apis "${MONITORING_APIS[@]}"
  apply_uptime_checks
  apply_metrics
  apply_policies
  apply_dashboard
}

# One for each region. The address of a function in a region does not change, so an update leaves it.
apply_uptime_checks() {
  local functions function checks check region name
  functions="$(list_public_functions)"
  checks="$(list_uptime_checks '')"
  for function in ${functions}; do
    region="${function%%/*}"
    name="$(uptime_check_of "${region}")"
    check="$(resource_named "${name}" <<<"${checks}")"
    if [[ -z "${check}" ]]; then
      log "creating the uptime check ${name}"
      run gcloud monitoring uptime create "${name}" \
        --resource-type=uptime-url \
        --resource-labels="host=${function#*/},project_id=${PROJECT}" \
        --protocol=https \
        --status-codes=401 \
        "${UPTIME_FLAGS[@]}" \
        --project="${PROJECT}"
    else
      log "updating the uptime check ${name}"
      run gcloud monitoring uptime update "${check}" \
        --set-status-codes=401 \
        "${UPTIME_FLAGS[@]}" \
        --project="${PROJECT}"
    fi
  done
}

# Prints REGION/HOST for each region that has the public function. The private one answers its gateway
# only.
list_public_functions() {
  local functions address="https://${FUNCTION}-PLACEHOLDER.a.run.app"
  functions="$(
    query "${FUNCTION}"$'\tREGION\t'"${address}" gcloud functions list \
      --v2 \
      --project="${PROJECT}" \
      --format='value(name.basename(),name.segment(3),serviceConfig.uri)'
  )" || return
  awk -F '\t' -v name="${FUNCTION}" \
    '$1 == name { sub("^https://", "", $3); print $2 "/" $3 }' <<<"${functions}"
}

apply_metrics() {
  local file metric verb
  for file in ops/metrics/*.yaml; do
    metric="${FUNCTION}-$(basename "${file}" .yaml)"
    verb=create
    if exists gcloud logging metrics describe "${metric}" \
      --project="${PROJECT}"; then
      verb=update
    fi
    file="$(renamed "${file}")"
    log "${verb} the metric ${metric}"
    run gcloud logging metrics "${verb}" "${metric}" \
      --config-from-file="${file}" \
      --project="${PROJECT}"
  done
}

# An update replaces the whole policy, so the channels that it has are read first and set again.
apply_policies() {
  local file name policies policy channels channel_flags
  policies="$(list_policies '')"
  for file in ops/alerts/*.json; do
    file="$(renamed "${file}")"
    name="$(display_name_in "${file}")"
    policy="$(resource_named "${name}" <<<"${policies}")"
    channels="${NOTIFICATION_CHANNELS:-}"
    channel_flags=()
    if [[ -z "${policy}" ]]; then
      if [[ -n "${channels}" ]]; then
        channel_flags=(--notification-channels="${channels}")
      fi
      log "creating the alert policy of ${file}"
      run gcloud alpha monitoring policies create \
        --policy-from-file="${file}" \
        ${channel_flags[@]+"${channel_flags[@]}"} \
        --project="${PROJECT}"
      continue
    fi
    if [[ -z "${channels}" ]]; then
      channels="$(
        query '' gcloud alpha monitoring policies describe "${policy}" \
          --project="${PROJECT}" \
          --format='value(notificationChannels.list())'
      )"
    fi
    if [[ -n "${channels}" ]]; then
      channel_flags=(--set-notification-channels="${channels}")
    fi
    log "updating the alert policy of ${file}"
    run gcloud alpha monitoring policies update "${policy}" \
      --policy-from-file="${file}" \
      ${channel_flags[@]+"${channel_flags[@]}"} \
      --project="${PROJECT}"
  done
}

apply_dashboard() {
  local file name dashboards dashboard
  file="$(renamed ops/dashboard.json)"
  name="$(display_name_in "${file}")"
  dashboards="$(list_dashboards '')"
  dashboard="$(resource_named "${name}" <<<"${dashboards}")"
  if [[ -z "${dashboard}" ]]; then
    log "creating the dashboard"
    run gcloud monitoring dashboards create \
      --config-from-file="${file}" \
      --project="${PROJECT}"
  else
    log "updating the dashboard"
    run gcloud monitoring dashboards update "${dashboard}" \
      --config-from-file="${file}" \
      --project="${PROJECT}"
  fi
}
