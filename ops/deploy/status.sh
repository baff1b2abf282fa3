# usage: ./deploy.sh status [--dry-run]
# summary: print what is deployed in REGION, and which revision serves
#
# Prints state, commit, address and serving revision of the public and the private function, and the
# gateway's address. The commit is that of the last deployment, also after a rollback.
#
# PROJECT and REGION are required.

# shellcheck shell=bash

run_status() {
  require_arguments status 0 "$@"
  require_gcloud
  assume_existing
  show_function "${FUNCTION}"
  show_function "${PRIVATE_FUNCTION}"
  if ! exists gcloud api-gateway gateways describe "${FUNCTION}" \
    --location="${GATEWAY_REGION}" \
    --project="${PROJECT}"; then
    echo "gateway: not deployed in ${GATEWAY_REGION}"
    return
  fi
  print "gateway:"
  query '' gcloud api-gateway gateways describe "${FUNCTION}" \
    --location="${GATEWAY_REGION}" \
    --project="${PROJECT}" \
    --format='yaml(state,defaultHostname,apiConfig)'
}

show_function() {
  local name="$1"
  if ! exists gcloud functions describe "${name}" \
    --gen2 \
    --region="${REGION}" \
    --project="${PROJECT}"; then
    echo "${name}: not deployed in ${REGION}"
    return
  fi
  print "${name}:"
  query '' gcloud functions describe "${name}" \
    --gen2 \
    --region="${REGION}" \
    --project="${PROJECT}" \
    --format='yaml(state,updateTime,labels.commit,serviceConfig.uri)'
  query '' gcloud run services describe "${name}" \
    --region="${REGION}" \
    --project="${PROJECT}" \
    --format='yaml(status.traffic)'
}
