# usage: ./deploy.sh edge [--dry-run]
# summary: put a load balancer with a domain and rate limits before the function
#
# Creates what is missing of a global load balancer for HTTPS, whose address answers for DOMAIN, and adds
# the function in REGION to it. Cloud Armor limits the requests of each key and of each address. Until
# Google has issued the certificate, which needs a DNS record of DOMAIN, this prints the record. Once it has:
#
#   removes the certificates of earlier domains
#   runs the smoke test through DOMAIN
#   closes the function's own address, unless INGRESS=all
#
# All regions share the balancer: run this in each region that has the function. docs/edge.md has more.
#
# PROJECT, REGION and DOMAIN are required; `./deploy.sh --help` lists the others.

# shellcheck shell=bash

source ops/deploy/deployment.sh

# Cloud Armor applies the first rule that matches, and no other.
readonly KEY_RULE=1000
readonly ADDRESS_RULE=2000

run_edge() {
  local state
  require_arguments edge 0 "$@"
  require_gcloud
  require_function
  enable_apis compute.googleapis.com
  ensure addresses --ip-version=IPV4
  ensure_limits
  ensure backend-services --load-balancing-scheme=EXTERNAL_MANAGED
  attach_limits
  ensure_backend
  ensure url-maps --default-service="${EDGE}"
  ensure_certificate
  ensure ssl-policies --profile=MODERN --min-tls-version=1.2
  ensure_proxy
  # Port 443 alone. A redirect from port 80 would answer clients that have already sent their key in
  # the clear, and so hide the mistake.
  ensure forwarding-rules \
    --load-balancing-scheme=EXTERNAL_MANAGED \
    --network-tier=PREMIUM \
    --address="${EDGE}" \
    --target-https-proxy="${EDGE}" \
    --ports=443
  if [[ "${INGRESS}" == all ]]; then
    set_ingress all
  fi
  state="$(state_of_certificate)"
  if ! is_served "${state}"; then
    explain_certificate "${state}"
    return
  fi
  remove_other_certificates
  smoke_test "https://${DOMAIN}"
  # The last change, so that the function's own address works until the domain does.
  if [[ "${INGRESS}" == balancer ]]; then
    log "closing the function's own address; a site on Firebase Hosting does not reach it then, unless INGRESS=all"
    set_ingress "${BALANCER_ALONE}"
  fi
}

# ensure TYPE FLAG... creates the balancer's part of a type, if it is missing.
ensure() {
  local type="$1"
  shift
  if ! exists gcloud compute "${type}" describe "${EDGE}" \
    --global \
    --project="${PROJECT}"; then
    log "creating ${EDGE} of the ${type}"
    run gcloud compute "${type}" create "${EDGE}" \
      --global \
      --project="${PROJECT}" \
      "$@"
  fi
}

# A request without the header is left to the second rule: the first would count all of those together,
# with the preflights of every browser, and anybody could use up that count.
ensure_limits() {
  local rules
  ensure security-policies --description="Limits the requests to ${FUNCTION}"
  rules="$(
    query '' gcloud compute security-policies describe "${EDGE}" \
      --global \
      --flatten=rules \
      --project="${PROJECT}" \
      --format='value(rules.priority,rules.rateLimitOptions.rateLimitThreshold.count)'
  )"
  if [[ "${KEY_REQUESTS_PER_MINUTE}" != 0 ]]; then
    limit "${rules}" "${KEY_RULE}" "${KEY_REQUESTS_PER_MINUTE}" \
      --expression="has(request.headers['authorization'])" \
      --enforce-on-key=http-header \
      --enforce-on-key-name=authorization
  elif has_rule "${rules}" "${KEY_RULE}"; then
    log "removing the limit of each key"
    run gcloud compute security-policies rules delete "${KEY_RULE}" \
      --security-policy="${EDGE}" \
      --project="${PROJECT}"
  fi
  limit "${rules}" "${ADDRESS_RULE}" "${ADDRESS_REQUESTS_PER_MINUTE}" \
    --src-ip-ranges='*' \
    --enforce-on-key=ip
}

# has_rule RULES PRIORITY tests whether there is a rule of this priority.
has_rule() {
  [[ $'\n'"$1" == *$'\n'"$2"$'\t'* ]]
}

# limit RULES PRIORITY COUNT FLAG... creates or updates a rule, unless it has this count.
limit() {
  local rules="$1" priority="$2" count="$3" verb=create
  shift 3
  if [[ $'\n'"${rules}"$'\n' == *$'\n'"${priority}"$'\t'"${count}"$'\n'* ]]; then
    return
  fi
  if has_rule "${rules}" "${priority}"; then
    verb=update
  fi
  log "${verb} the limit of ${count} requests a minute"
  run gcloud compute security-policies rules "${verb}" "${priority}" \
    --security-policy="${EDGE}" \
    "$@" \
    --action=throttle \
    --rate-limit-threshold-count="${count}" \
    --rate-limit-threshold-interval-sec=60 \
    --conform-action=allow \
    --exceed-action=deny-429 \
    --project="${PROJECT}"
}

# Before the first backend is added, so that no request goes around the limits.
attach_limits() {
  local policy
  policy="$(
    state_of gcloud compute backend-services describe "${EDGE}" \
      --global \
      --project="${PROJECT}" \
      --format='value(securityPolicy.basename())'
  )"
  if [[ "${policy}" != "${EDGE}" ]]; then
    log "attaching the limits"
    run gcloud compute backend-services update "${EDGE}" \
      --global \
      --security-policy="${EDGE}" \
      --project="${PROJECT}"
  fi
}

ensure_backend() {
  local backends
  if ! exists gcloud compute network-endpoint-groups describe "${EDGE}" \
    --region="${REGION}" \
    --project="${PROJECT}"; then
    log "creating the endpoint of ${FUNCTION} in ${REGION}"
    run gcloud compute network-endpoint-groups create "${EDGE}" \
      --region="${REGION}" \
      --network-endpoint-type=serverless \
      --cloud-run-service="${FUNCTION}" \
      --project="${PROJECT}"
  fi
  backends="$(list_backends)"
  if [[ "${backends}" != *"/regions/${REGION}/"* ]]; then
    log "adding ${REGION} to the balancer"
    run gcloud compute backend-services add-backend "${EDGE}" \
      --global \
      --network-endpoint-group="${EDGE}" \
      --network-endpoint-group-region="${REGION}" \
      --project="${PROJECT}"
  fi
}

ensure_certificate() {
  if ! exists gcloud compute ssl-certificates describe "${CERTIFICATE}" \
    --global \
    --project="${PROJECT}"; then
    log "ordering the certificate of ${DOMAIN}"
    run gcloud compute ssl-certificates create "${CERTIFICATE}" \
      --global \
      --domains="${DOMAIN}" \
      --project="${PROJECT}"
  fi
}

# Google issues a certificate only once the proxy has it. After a change of DOMAIN, the proxy keeps that of
# the old one beside it until then.
ensure_proxy() {
  local served
  ensure target-https-proxies \
    --url-map="${EDGE}" \
    --ssl-certificates="${CERTIFICATE}" \
    --ssl-policy="${EDGE}"
  served="$(served_certificates)"
  if [[ ",${served}," != *",${CERTIFICATE},"* ]]; then
    log "adding the certificate of ${DOMAIN} to the balancer"
    serve_certificates "${served},${CERTIFICATE}"
  fi
}

# In a dry run, of a first run: the certificate that the proxy was created with.
served_certificates() {
  query "${CERTIFICATE}" gcloud compute target-https-proxies describe "${EDGE}" \
    --global \
    --project="${PROJECT}" \
    --format='value(sslCertificates.map().basename().list())'
}

serve_certificates() {
  run gcloud compute target-https-proxies update "${EDGE}" \
    --global \
    --ssl-certificates="$1" \
    --project="${PROJECT}"
}

# A dry run goes on as with a certificate, to show the rest.
state_of_certificate() {
  query ACTIVE gcloud compute ssl-certificates describe "${CERTIFICATE}" \
    --global \
    --project="${PROJECT}" \
    --format='value(managed.status)'
}

# A certificate whose renewal failed is served until it expires.
is_served() {
  [[ "$1" == ACTIVE || "$1" == RENEWAL_FAILED ]]
}

explain_certificate() {
  local address
  address="$(
    query '' gcloud compute addresses describe "${EDGE}" \
      --global \
      --project="${PROJECT}" \
      --format='value(address)'
  )"
  if [[ "$1" == PROVISIONING_FAILED_PERMANENTLY ]]; then
    fail "the certificate of ${DOMAIN} is $1, so Google does not try again. Set the DNS record, serve another DOMAIN, or delete ${CERTIFICATE} and run this again."
  fi
  print "The certificate of ${DOMAIN} is ${1:-in an unknown state}. It needs this DNS record, and no AAAA record:"
  print "  ${DOMAIN}. A ${address}"
  print "Google issues it within an hour of that. Then run this again; until then, ${FUNCTION} is reached as before."
}

remove_other_certificates() {
  local served certificates name
  served="$(served_certificates)"
  if [[ "${served}" != "${CERTIFICATE}" ]]; then
    log "serving the certificate of ${DOMAIN} alone"
    serve_certificates "${CERTIFICATE}"
  fi
  certificates="$(list_certificates "${CERTIFICATE}" 'value(name)')"
  for name in ${certificates}; do
    if [[ "${name}" != "${CERTIFICATE}" ]]; then
      log "deleting the certificate ${name}"
      run gcloud compute ssl-certificates delete "${name}" \
        --global \
        --project="${PROJECT}"
    fi
  done
}

set_ingress() {
  local open_to
  open_to="$(ingress_of "${FUNCTION}")"
  if [[ "${open_to}" != "$1" ]]; then
    log "letting ${FUNCTION} take requests from: $1"
    run gcloud run services update "${FUNCTION}" \
      --ingress="$1" \
      --region="${REGION}" \
      --format=none \
      --project="${PROJECT}"
  fi
}
