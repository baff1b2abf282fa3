# usage: ./deploy.sh site [--dry-run]
# summary: deploy the call page and the API reference to Firebase Hosting
#
# In this order:
#
#   tests that FUNCTION is deployed in REGION, and that Hosting reaches it there
#   enables the APIs
#   copies the site into .local/site
#   deploys it, with the headers of firebase.json, and with a rewrite of /v2/calls/** to FUNCTION
#
# The site is public and holds no data: reading a call needs an API key. Firebase must have been
# added to the project, in its console or by `firebase projects:addfirebase`. The Firebase CLI, in the
# version of local/firebase, uses `gcloud auth application-default login`.
#
# PROJECT and REGION are required.

# shellcheck shell=bash

source ops/deploy/balancer.sh

readonly HOSTING_APIS=(
  firebase.googleapis.com
  firebasehosting.googleapis.com
)
readonly HOSTING_CONFIG=.firebase-deploy.json # in the root, since the CLI resolves paths from its folder

run_site() {
  require_arguments site 0 "$@"
  require_a_commit
  require_gcloud
  require_python
  # Hosting accepts a rewrite to a function that does not exist, or that it does not reach, and would answer
  # each call with an error.
  require_function
  refuse_closed_function
  enable_apis "${HOSTING_APIS[@]}"
  prepare_hosting
  log "deploying the site from ${COMMIT}"
  run "${DEPLOY_FIREBASE:-firebase}" deploy \
    --only=hosting \
    --config="${HOSTING_CONFIG}" \
    --message="${COMMIT}" \
    --project="${PROJECT}" \
    --non-interactive
}

refuse_closed_function() {
  local open_to
  open_to="$(ingress_of "${FUNCTION}")"
  if [[ "${open_to}" == "${BALANCER_ALONE}" ]]; then
    fail "${FUNCTION} takes requests from the balancer alone, and Firebase Hosting would not reach it: INGRESS=all ./deploy.sh edge, with its other settings, opens it."
  fi
}

# Writes the files that the Firebase CLI reads, and finds the CLI.
prepare_hosting() {
  local cli
  if [[ "${DRY_RUN}" == true ]]; then
    return
  fi
  cli="$("${DEPLOY_PYTHON}" -m ops.hosting \
    --config="${HOSTING_CONFIG}" \
    --function="${FUNCTION}" \
    --region="${REGION}")" || return
  DEPLOY_FIREBASE="${DEPLOY_FIREBASE:-${cli}}"
}
