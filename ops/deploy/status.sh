# usage: ./deploy.sh status [--dry-run]
# summary: print what is deployed in REGION, and which revision serves
#
# Prints state, commit, address, ingress and serving revision of the public and the private function, the
# gateway's address, and address, certificates, regions and limits of the load balancer. The commit is that
# of the last deployment, also after a rollback.
#
# PROJECT and REGION are required.

# shellcheck shell=bash

source ops/deploy/balancer.sh

run_status() {
  require_arguments status 0 "$@"
  require_gcloud
  assume_existing
  show_function "${FUNCTION}"
  show_function "${PRIVATE_FUNCTION}"
  show_gateway
  show_edge
}

show_gateway() {
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

show_edge() {
  if ! exists gcloud compute forwarding-rules describe "${EDGE}" \
    --global \
    --project="${PROJECT}"; then
    echo "edge: not deployed"
    return
  fi
  print "edge:"
  query '' gcloud compute addresses describe "${EDGE}" \
    --global \
    --project="${PROJECT}" \
    --format='yaml(address)'
  list_certificates '' 'yaml(managed.domains,managed.status,managed.domainStatus)'
  query '' gcloud compute backend-services describe "${EDGE}" \
    --global \
    --project="${PROJECT}" \
    --format='yaml(backends[].group,securityPolicy)'
  query '' gcloud compute security-policies describe "${EDGE}" \
    --global \
    --project="${PROJECT}" \
    --format='yaml(rules[].priority,rules[].rateLimitOptions.enforceOnKey,rules[].rateLimitOptions.rateLimitThreshold)'
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
    --format='yaml(metadata.annotations["run.googleapis.com/ingress"],status.traffic)'
}
