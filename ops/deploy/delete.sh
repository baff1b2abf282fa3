# usage: ./deploy.sh delete [--dry-run]
# summary: remove what these commands created, except the database and the bucket
#
# Asks for the function's name, then removes the gateway, the uptime check and both functions in
# REGION, with their service account and what it was granted, takes REGION from the load balancer, and
# disables the site if it leads to FUNCTION there. If no other region has one of the functions, it also
# removes the balancer with its address, the API, the gateway's service account, the identity of CI,
# alerts, metrics and dashboard. Database and bucket stay as they are, but for that grant; so do the APIs
# that were enabled, and a site that leads anywhere else.
#
# PROJECT and REGION are required.

# shellcheck shell=bash

source ops/deploy/balancer.sh
source ops/deploy/grants.sh
source ops/deploy/monitoring.sh

run_delete() {
  local answer='' elsewhere
  require_arguments delete 0 "$@"
  require_gcloud
  assume_existing
  if [[ "${DRY_RUN}" == false ]]; then
    printf 'This removes %s from %s in %s. Its database and bucket stay. Type its name: ' \
      "${FUNCTION}" "${REGION}" "${PROJECT}" >&2
    read -r answer || true
    if [[ "${answer}" != "${FUNCTION}" ]]; then
      fail "nothing was deleted: the answer was not ${FUNCTION}."
    fi
  fi
  disable_site # before the function, without which its page would be left with errors
  delete_gateway
  delete_uptime_check # before the function, whose end would be reported
  take_grants_back    # before their revisions are gone, which tell what they are
  delete_backend
  delete_function "${PRIVATE_FUNCTION}"
  delete_function "${FUNCTION}"
  delete_account "${RUNTIME_ACCOUNT}" roles/datastore.viewer
  elsewhere="$(
    query '' gcloud functions list \
      --v2 \
      --project="${PROJECT}" \
      --format='value(name)'
  )"
  if [[ "${DRY_RUN}" == false ]] && said unreachable; then
    fail "a region does not answer, and may still have ${FUNCTION}: run this again, for the resources that regions share."
  fi
  if grep -qE "(^|/)${FUNCTION}(-private)?\$" <<<"${elsewhere}"; then
    log "another region still has ${FUNCTION}: the resources that regions share stay."
    return
  fi
  delete_balancer
  delete_api
  delete_ci
  delete_account "${GATEWAY_ACCOUNT}"
  delete_monitoring
}

delete_function() {
  if exists gcloud functions describe "$1" \
    --gen2 \
    --region="${REGION}" \
    --project="${PROJECT}"; then
    log "deleting $1"
    run gcloud functions delete "$1" \
      --gen2 \
      --region="${REGION}" \
      --project="${PROJECT}"
  fi
}

# gcloud has no command for Hosting, so ops/hosting_release.py calls its REST API with gcloud's token.
disable_site() {
  local token
  token="$(
    query TOKEN gcloud auth print-access-token \
      --project="${PROJECT}"
  )"
  if [[ "${DRY_RUN}" == true ]]; then
    echo "(Then firebasehosting.googleapis.com is asked, with that token, to disable the site of ${FUNCTION}.)" >&2
    return
  fi
  attempt "${OUTAGE}" aloud disable_release "${token}"
}

disable_release() {
  printf '%s' "$1" | "${BARE_PYTHON}" -m ops.hosting_release \
    --project="${PROJECT}" \
    --function="${FUNCTION}" \
    --region="${REGION}"
}

delete_gateway() {
  if exists gcloud api-gateway gateways describe "${FUNCTION}" \
    --location="${GATEWAY_REGION}" \
    --project="${PROJECT}"; then
    log "deleting the gateway ${FUNCTION}"
    run gcloud api-gateway gateways delete "${FUNCTION}" \
      --location="${GATEWAY_REGION}" \
      --project="${PROJECT}"
  fi
}

# Before the function, to which the balancer would still send requests.
delete_backend() {
  local backends
  if ! exists gcloud compute network-endpoint-groups describe "${EDGE}" \
    --region="${REGION}" \
    --project="${PROJECT}"; then
    return
  fi
  backends="$(list_backends)"
  if [[ "${DRY_RUN}" == true || "${backends}" == *"/regions/${REGION}/"* ]]; then
    log "removing ${REGION} from the balancer"
    run gcloud compute backend-services remove-backend "${EDGE}" \
      --global \
      --network-endpoint-group="${EDGE}" \
      --network-endpoint-group-region="${REGION}" \
      --project="${PROJECT}"
  fi
  log "deleting the endpoint of ${FUNCTION} in ${REGION}"
  run gcloud compute network-endpoint-groups delete "${EDGE}" \
    --region="${REGION}" \
    --project="${PROJECT}"
}

# From the outside in: nothing can be deleted that something else refers to.
delete_balancer() {
  local certificates certificate
  # The address is created first and deleted last.
  if ! exists gcloud compute addresses describe "${EDGE}" \
    --global \
    --project="${PROJECT}"; then
    return
  fi
  delete_part forwarding-rules "${EDGE}"
  delete_part target-https-proxies "${EDGE}"
  certificates="$(list_certificates "${EDGE}-HASH" 'value(name)')"
  for certificate in ${certificates}; do
    delete_part ssl-certificates "${certificate}"
  done
  delete_part ssl-policies "${EDGE}"
  delete_part url-maps "${EDGE}"
  delete_part backend-services "${EDGE}"
  delete_part security-policies "${EDGE}"
  delete_part addresses "${EDGE}"
}

# delete_part TYPE NAME deletes a part of the balancer, if there is one.
delete_part() {
  if exists gcloud compute "$1" describe "$2" \
    --global \
    --project="${PROJECT}"; then
    log "deleting $2 of the $1"
    run gcloud compute "$1" delete "$2" \
      --global \
      --project="${PROJECT}"
  fi
}

delete_api() {
  local configs config
  if ! exists gcloud api-gateway apis describe "${FUNCTION}" \
    --project="${PROJECT}"; then
    return
  fi
  configs="$(
    query "${FUNCTION}-SPEC-HASH" gcloud api-gateway api-configs list \
      --api="${FUNCTION}" \
      --project="${PROJECT}" \
      --format='value(name.basename())'
  )"
  for config in ${configs}; do
    log "deleting the API config ${config}"
    run gcloud api-gateway api-configs delete "${config}" \
      --api="${FUNCTION}" \
      --project="${PROJECT}"
  done
  log "deleting the API ${FUNCTION}"
  run gcloud api-gateway apis delete "${FUNCTION}" \
    --project="${PROJECT}"
}

# The pool goes before the account: from then on, no workflow gets a token. Google keeps it for 30 days, as
# deleted, and does not list it.
delete_ci() {
  local pools
  pools="$(
    query "${IDENTITY_POOL}" gcloud iam workload-identity-pools list \
      --location=global \
      --project="${PROJECT}" \
      --format='value(name.basename())'
  )"
  if grep -qxF -- "${IDENTITY_POOL}" <<<"${pools}"; then
    log "deleting the workload identity pool ${IDENTITY_POOL}"
    run gcloud iam workload-identity-pools delete "${IDENTITY_POOL}" \
      --location=global \
      --project="${PROJECT}"
  fi
  delete_account "${DEPLOYER_ACCOUNT}" roles/cloudfunctions.developer
}

# delete_account EMAIL [ROLE] also takes its ROLE on the project.
delete_account() {
  local email="$1" role="${2:-}"
  if ! exists gcloud iam service-accounts describe "${email}" \
    --project="${PROJECT}"; then
    return
  fi
  log "deleting ${email}"
  if [[ -n "${role}" ]]; then
    # The role is already gone if an earlier run stopped after this command.
    retry gcloud projects remove-iam-policy-binding "${PROJECT}" \
      --member="serviceAccount:${email}" \
      --role="${role}" \
      --condition=None \
      --format=none \
      --project="${PROJECT}" ||
      said 'not found'
  fi
  run gcloud iam service-accounts delete "${email}" \
    --project="${PROJECT}"
}

delete_uptime_check() {
  local name check
  name="$(uptime_check_of "${REGION}")"
  check="$(list_uptime_checks "${name}"$'\tCHECK')"
  check="$(resource_named "${name}" <<<"${check}")"
  if [[ -n "${check}" ]]; then
    log "deleting the uptime check ${name}"
    run gcloud monitoring uptime delete "${check}" \
      --project="${PROJECT}"
  fi
}

delete_monitoring() {
  local file name policies listed
  file="$(renamed ops/dashboard.json)"
  name="$(display_name_in "${file}")"
  listed="$(list_dashboards "${name}"$'\tDASHBOARD')"
  listed="$(resource_named "${name}" <<<"${listed}")"
  if [[ -n "${listed}" ]]; then
    log "deleting the dashboard"
    run gcloud monitoring dashboards delete "${listed}" \
      --project="${PROJECT}"
  fi
  policies="$(list_policies $'DISPLAY-NAME\tPOLICY')"
  for file in ops/alerts/*.json; do
    file="$(renamed "${file}")"
    name="$(display_name_in "${file}")"
    listed="$(resource_named "${name}" <<<"${policies}")"
    if [[ -n "${listed}" ]]; then
      log "deleting the alert policy ${name}"
      run gcloud alpha monitoring policies delete "${listed}" \
        --project="${PROJECT}"
    fi
  done
  for file in ops/metrics/*.yaml; do
    name="${FUNCTION}-$(basename "${file}" .yaml)"
    if exists gcloud logging metrics describe "${name}" \
      --project="${PROJECT}"; then
      log "deleting the metric ${name}"
      run gcloud logging metrics delete "${name}" \
        --project="${PROJECT}"
    fi
  done
}
