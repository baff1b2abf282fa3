# usage: ./deploy.sh alerts [--dry-run]
# summary: create or update log-based metrics, alert policies and the dashboard
#
# Creates or updates the log-based metrics (ops/metrics), the alert policies (ops/alerts) and the
# dashboard (ops/dashboard.json). They cover the public and the private function in all regions.
#
# PROJECT is required. NOTIFICATION_CHANNELS names the channels that the policies notify; without it,
# existing policies keep theirs.

# shellcheck shell=bash

source ops/deploy/monitoring.sh

readonly MONITORING_APIS=(
  logging.googleapis.com
  monitoring.googleapis.com
)

run_alerts() {
  require_arguments alerts 0 "$@"
  require_gcloud
  require_python3
  enable_apis "${MONITORING_APIS[@]}"
  apply_metrics
  apply_policies
  apply_dashboard
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
