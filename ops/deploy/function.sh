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
#   makes the function public, as it checks API keys itself
#   runs the smoke test
#
# PROJECT, REGION and RECORDINGS_BUCKET are required; `./deploy.sh --help` lists the others.

# shellcheck shell=bash

source ops/deploy/deployment.sh

run_function() {
  local address
  require_arguments function 0 "$@"
  require_all_to_deploy
  prepare_project "${FUNCTION_APIS[@]}"
  deploy_source "${FUNCTION}" false
  address="$(address_of "${FUNCTION}")"
  # The last change. A public function is safe: it refuses requests without a valid API key.
  allow_invoker "${FUNCTION}" allUsers
  smoke_test "${address}"
}
