# usage: ./deploy.sh function [--dry-run]
# summary: deploy the function behind its own HTTPS address
#
# In this order:
#
#   enables the APIs
#   creates the Firestore database and the recordings bucket, if they are missing
#   creates the function's service account and lets it read the database and the bucket, and sign as
#   itself
#   uploads the security rules that deny every client
#   deploys the commit of the work tree
#   makes the function public, as it checks API keys itself; where the organisation forbids a grant to
#   allUsers, this stops, and INVOKER_CHECK=off says how to go on
#   runs the smoke test, through the domain of `edge` where the function has no other way in
#
# PROJECT, REGION and RECORDINGS_BUCKET are required; `./deploy.sh --help` lists the others.

# shellcheck shell=bash

source ops/deploy/deployment.sh

run_function() {
  local address
  require_arguments function 0 "$@"
  require_all_to_deploy
  require_domain_if_closed
  prepare_project "${FUNCTION_APIS[@]}"
  deploy_source "${FUNCTION}" false --serve-all-traffic-latest-revision
  address="$(public_address)"
  # The last change. A public function is safe: it refuses requests without a valid API key.
  let_everybody_call
  name_old_grants
  smoke_test "${address}"
}

# The check of Cloud Run's invoker is on or off, as the setting says, also where an earlier deployment had it
# otherwise.
let_everybody_call() {
  local is_disabled flag=--no-invoker-iam-check
  is_disabled="$(
    query '' gcloud run services describe "${FUNCTION}" \
      --region="${REGION}" \
      --project="${PROJECT}" \
      --format='value(metadata.annotations["run.googleapis.com/invoker-iam-disabled"])'
  )"
  if [[ "${INVOKER_CHECK}" == on ]]; then
    allow_invoker "${FUNCTION}" allUsers || explain_refusal
    flag=--invoker-iam-check
  fi
  if [[ "${INVOKER_CHECK}" == on && "${is_disabled}" != [Tt]rue ]] ||
    [[ "${INVOKER_CHECK}" == off && "${is_disabled}" == [Tt]rue ]]; then
    return
  fi
  log "turning ${INVOKER_CHECK} the check of who may call ${FUNCTION}"
  run gcloud run services update "${FUNCTION}" \
    "${flag}" \
    --region="${REGION}" \
    --format=none \
    --project="${PROJECT}"
}

explain_refusal() {
  if said 'permitted customer|allowedPolicyMember'; then
    fail "the organisation forbids grants to allUsers (iam.allowedPolicyMemberDomains): INVOKER_CHECK=off lets everybody call ${FUNCTION} without a grant, which goes around that policy, so ask whoever owns it first."
  fi
  fail "allUsers may not be granted a role on ${FUNCTION}: gcloud says above why."
}
