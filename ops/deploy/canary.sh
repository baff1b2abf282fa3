# usage: ./deploy.sh canary [--dry-run]
# summary: deploy the function anew, and let it take the traffic in steps
#
# In this order:
#
#   keeps all traffic at the revision that serves
#   deploys the commit of the work tree as a new revision, which gets no traffic
#   gives it the tag `candidate`, and runs the smoke test at the tag's address
#   gives it 10 % of the traffic, and runs the smoke test at the function's address five times
#   gives it all traffic, and removes the tag
#
# If anything fails after the deployment, all traffic goes back to the revision that served before, and
# this ends with 1. It changes nothing but the function: a person has run `./deploy.sh function` before.
#
# PROJECT, REGION, RECORDINGS_BUCKET, SMOKE_KEY and SMOKE_CALL are required; `./deploy.sh --help` lists
# the others.

# shellcheck shell=bash

source ops/deploy/deployment.sh
source ops/deploy/traffic.sh

run_canary() {
  local stable candidate
  require_arguments canary 0 "$@"
  if [[ "${DRY_RUN}" == false && (-z "${SMOKE_KEY}" || -z "${SMOKE_CALL}") ]]; then
    fail "SMOKE_KEY and SMOKE_CALL are required: without the smoke test, nothing judges the new revision."
  fi
  require_all_to_deploy
  require_function
  require_domain_if_closed
  assume_existing
  stable="$(hold_traffic)"
  deploy_source "${FUNCTION}" false
  candidate="$(
    query CANDIDATE gcloud run services describe "${FUNCTION}" \
      --region="${REGION}" \
      --project="${PROJECT}" \
      --format='value(status.latestCreatedRevisionName)'
  )"
  if promote "${candidate}" "${stable}"; then
    return
  fi
  log "giving all traffic of ${FUNCTION} back to ${stable}"
  # The tag keeps `rollback` from this revision. Whatever the failure, this is tried again.
  if ! attempt . aloud gcloud run services update-traffic "${FUNCTION}" \
    --remove-tags=candidate \
    --update-tags="rejected-${candidate#"${FUNCTION}-"}=${candidate}" \
    --to-revisions="${stable}=100" \
    --region="${REGION}" \
    --project="${PROJECT}"; then
    fail "${candidate} may still have a share of the traffic: run ./deploy.sh rollback ${stable}."
  fi
  fail "${candidate} was not taken over: ${stable} serves, as before."
}

# Prints the revision that serves, after all traffic is bound to it by name. A share of "the latest
# revision" would go to the new one as soon as that is ready.
hold_traffic() {
  local traffic stable
  traffic="$(list_traffic $'100\tSTABLE\tTrue')" || return
  stable="$(serving_revision <<<"${traffic}")"
  if [[ -z "${stable}" ]]; then
    fail "no revision of ${FUNCTION} serves in ${REGION}: run ./deploy.sh function first."
  fi
  if ! awk -F '\t' '$1 == 100 && $3 != "True" { held = 1 } END { exit !held }' <<<"${traffic}"; then
    log "keeping all traffic of ${FUNCTION} at ${stable}"
    move_traffic --to-revisions="${stable}=100" >&2 || return
  fi
  printf '%s\n' "${stable}"
}

# promote CANDIDATE STABLE moves the traffic in steps, and stops at the first that fails.
promote() {
  local candidate="$1" stable="$2" address open_to
  open_to="$(ingress_of "${FUNCTION}")" || return
  if [[ "${open_to}" == "${BALANCER_ALONE}" ]]; then
    log "not testing ${candidate} before it has traffic: its tag's address is closed, as the function's own is"
  else
    log "testing ${candidate}, which has no traffic"
    move_traffic --update-tags="candidate=${candidate}" || return
    address="$(address_of_candidate)" || return
    smoke_test "${address}" || return
  fi
  log "giving ${candidate} 10 % of the traffic"
  move_traffic --to-revisions="${candidate}=10,${stable}=90" || return
  address="$(public_address)" || return
  test_split "${address}" || return
  log "giving ${candidate} all traffic"
  move_traffic --remove-tags=candidate --to-revisions="${candidate}=100"
}

# The smoke test sends some 16 requests, which miss a tenth of the traffic in one case of six. So it has to pass
# five times, and is not tried again where it fails.
test_split() {
  local times
  for times in 1 2 3 4 5; do
    if [[ "${DRY_RUN}" == true ]]; then
      smoke_test "$1"
      return
    fi
    log "test ${times} of 5"
    smoke "$1" || return
  done
}

# Each tag of a service has an address of its own, which is as public as the service.
address_of_candidate() {
  local traffic address
  traffic="$(
    list_traffic $'\t\t\tcandidate\t'"https://candidate---${FUNCTION}-PLACEHOLDER.a.run.app"
  )" || return
  address="$(awk -F '\t' '$4 == "candidate" { print $5 }' <<<"${traffic}")"
  if [[ -z "${address}" ]]; then
    printf 'deploy.sh: the tag candidate of %s has no address.\n' "${FUNCTION}" >&2
    return 1
  fi
  printf '%s\n' "${address}"
}
