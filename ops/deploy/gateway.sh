# usage: ./deploy.sh gateway [--dry-run]
# summary: deploy a second, private function behind API Gateway
#
# Prepares the project as `function` does, deploys the same source as FUNCTION-private, which only
# the gateway's service account may call, and creates or updates an API Gateway in front of it. The
# name of the API config contains the hash of its spec, so an unchanged spec creates no new config.
# Runs the smoke test through the gateway.
#
# PROJECT, REGION and RECORDINGS_BUCKET are required; `./deploy.sh --help` lists the others.

# shellcheck shell=bash

source ops/deploy/deployment.sh

readonly GATEWAY_APIS=(
  apigateway.googleapis.com
  servicecontrol.googleapis.com
  servicemanagement.googleapis.com
)

run_gateway() {
  local address config host
  require_arguments gateway 0 "$@"
  require_all_to_deploy
  prepare_project "${FUNCTION_APIS[@]}" "${GATEWAY_APIS[@]}"
  ensure_account "${GATEWAY_ACCOUNT}" "Calls ${PRIVATE_FUNCTION} for API Gateway"
  deploy_source "${PRIVATE_FUNCTION}" true --serve-all-traffic-latest-revision
  address="$(address_of "${PRIVATE_FUNCTION}")"
  allow_invoker "${PRIVATE_FUNCTION}" "serviceAccount:${GATEWAY_ACCOUNT}"
  ensure_api
  config="$(write_spec "${address}")"
  ensure_config "${config}"
  ensure_gateway "${config}"
  name_old_grants
  host="$(
    query "${FUNCTION}-PLACEHOLDER.gateway.dev" gcloud api-gateway gateways describe "${FUNCTION}" \
      --location="${GATEWAY_REGION}" \
      --project="${PROJECT}" \
      --format='value(defaultHostname)'
  )"
  smoke_test "https://${host}"
}

ensure_api() {
  local state
  state="$(
    state_of gcloud api-gateway apis describe "${FUNCTION}" \
      --project="${PROJECT}" \
      --format='value(state)'
  )"
  require_usable "the API ${FUNCTION}" "${state}" \
    "gcloud api-gateway apis delete ${FUNCTION} --project=${PROJECT}"
  if [[ -z "${state}" ]]; then
    log "creating the API ${FUNCTION}"
    run gcloud api-gateway apis create "${FUNCTION}" \
      --project="${PROJECT}"
  fi
}

# require_usable WHAT STATE COMMAND stops where something exists, but failed or is on its way: the gateway
# would not find it. COMMAND deletes it, which is an operator's decision.
require_usable() {
  case "$2" in
    '' | ACTIVE) ;;
    FAILED) fail "$1 is FAILED: delete it, \`$3\`, and run this again." ;;
    *) fail "$1 is $2: run this again when it is ACTIVE." ;;
  esac
}

# Writes the spec for a backend address and prints the name of its API config.
write_spec() {
  if [[ "${DRY_RUN}" == true ]]; then
    printf '%s-SPEC-HASH\n' "${FUNCTION}"
    return
  fi
  "${DEPLOY_PYTHON}" -m ops.gateway_spec --address="$1" >"${SCRATCH}/gateway.yaml" || return
  printf '%s-%.12s\n' "${FUNCTION}" "$(git hash-object "${SCRATCH}/gateway.yaml")"
}

# A config that failed serves nobody, and its name, the hash of its spec, is wanted again.
ensure_config() {
  local state
  state="$(
    state_of gcloud api-gateway api-configs describe "$1" \
      --api="${FUNCTION}" \
      --project="${PROJECT}" \
      --format='value(state)'
  )"
  if [[ "${state}" == FAILED ]]; then
    log "deleting the API config $1, which failed"
    run gcloud api-gateway api-configs delete "$1" \
      --api="${FUNCTION}" \
      --project="${PROJECT}"
    state=''
  fi
  require_usable "the API config $1" "${state}" ''
  if [[ -z "${state}" ]]; then
    log "creating the API config $1; this takes minutes"
    run gcloud api-gateway api-configs create "$1" \
      --api="${FUNCTION}" \
      --openapi-spec="${SCRATCH}/gateway.yaml" \
      --backend-auth-service-account="${GATEWAY_ACCOUNT}" \
      --project="${PROJECT}"
  fi
}

ensure_gateway() {
  local state served
  state="$(
    state_of gcloud api-gateway gateways describe "${FUNCTION}" \
      --location="${GATEWAY_REGION}" \
      --project="${PROJECT}" \
      --format='value(state)'
  )"
  require_usable "the gateway ${FUNCTION}" "${state}" \
    "gcloud api-gateway gateways delete ${FUNCTION} --location=${GATEWAY_REGION} --project=${PROJECT}"
  if [[ -z "${state}" ]]; then
    log "creating the gateway ${FUNCTION}; this takes minutes"
    run gcloud api-gateway gateways create "${FUNCTION}" \
      --api="${FUNCTION}" \
      --api-config="$1" \
      --location="${GATEWAY_REGION}" \
      --project="${PROJECT}"
    return
  fi
  served="$(
    query '' gcloud api-gateway gateways describe "${FUNCTION}" \
      --location="${GATEWAY_REGION}" \
      --project="${PROJECT}" \
      --format='value(apiConfig)'
  )"
  if [[ "${served##*/}" != "$1" ]]; then
    log "giving the gateway the config $1"
    run gcloud api-gateway gateways update "${FUNCTION}" \
      --api="${FUNCTION}" \
      --api-config="$1" \
      --location="${GATEWAY_REGION}" \
      --project="${PROJECT}"
  fi
}
