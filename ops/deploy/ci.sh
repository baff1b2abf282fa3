# usage: ./deploy.sh ci [--dry-run]
# summary: let the workflow of a GitHub repository deploy new revisions
#
# In this order:
#
#   enables the APIs
#   creates the deployer's service account, and grants it what `./deploy.sh canary` needs
#   creates a workload identity pool, whose one provider accepts GitHub's tokens for the jobs of
#   CI_ENVIRONMENT in REPOSITORY alone
#   lets these jobs act as the deployer
#   prints the two variables that the workflow needs
#
# There is no key. Run `./deploy.sh function` first. Run this again after a repository was renamed, and
# once for each region.
#
# PROJECT, REGION, REPOSITORY, REPOSITORY_ID and CI_ENVIRONMENT are required. BUILD_ACCOUNT is the one
# that the function is deployed with.

# shellcheck shell=bash

# The deployer's own calls count for its project, where all APIs that it asks must be enabled.
readonly CI_APIS=(
  cloudresourcemanager.googleapis.com
  iam.googleapis.com
  iamcredentials.googleapis.com
  sts.googleapis.com
)
readonly ISSUER=https://token.actions.githubusercontent.com
readonly PROVIDER=github

# Claims of GitHub's token. The number is what counts: it is never given to another repository, and a
# name can be. The name is there so that a mistyped number admits nobody. `sub` is not used, because its
# form depends on the repository's age and settings, and may have more than the 127 bytes of a subject.
readonly SUBJECT='assertion.repository_id + ":" + assertion.environment'

run_ci() {
  local number
  require_arguments ci 0 "$@"
  require_gcloud
  require_function
  enable_apis "${CI_APIS[@]}"
  ensure_account "${DEPLOYER_ACCOUNT}" "Deploys ${FUNCTION} from CI"
  grant_deployer_roles
  ensure_pool
  ensure_provider
  number="$(
    query PROJECT-NUMBER gcloud projects describe "${PROJECT}" \
      --project="${PROJECT}" \
      --format='value(projectNumber)'
  )"
  admit_jobs "projects/${number}/locations/global/workloadIdentityPools/${IDENTITY_POOL}"
}

# These are all permissions of the deployer. The first is for the project, since an upload of source and
# the progress of a deployment belong to no function; it includes the traffic of Cloud Run services.
grant_deployer_roles() {
  local account
  log "granting roles to ${DEPLOYER_ACCOUNT}"
  retry gcloud projects add-iam-policy-binding "${PROJECT}" \
    --member="serviceAccount:${DEPLOYER_ACCOUNT}" \
    --role=roles/cloudfunctions.developer \
    --condition=None \
    --format=none \
    --project="${PROJECT}"
  for account in "${RUNTIME_ACCOUNT}" ${BUILD_ACCOUNT:+"${BUILD_ACCOUNT}"}; do
    retry gcloud iam service-accounts add-iam-policy-binding "${account}" \
      --member="serviceAccount:${DEPLOYER_ACCOUNT}" \
      --role=roles/iam.serviceAccountUser \
      --format=none \
      --project="${PROJECT}"
  done
}

# A pool and a provider that were deleted keep their names for 30 days, and can be had back.
ensure_pool() {
  local state
  state="$(
    state_of gcloud iam workload-identity-pools describe "${IDENTITY_POOL}" \
      --location=global \
      --project="${PROJECT}" \
      --format='value(state)'
  )"
  case "${state}" in
    ACTIVE)
      # An operator may have shut CI out by it, and lets it in again by this command.
      run gcloud iam workload-identity-pools update "${IDENTITY_POOL}" \
        --location=global \
        --no-disabled \
        --project="${PROJECT}"
      ;;
    DELETED)
      log "restoring the workload identity pool ${IDENTITY_POOL}"
      run gcloud iam workload-identity-pools undelete "${IDENTITY_POOL}" \
        --location=global \
        --project="${PROJECT}"
      ;;
    '')
      log "creating the workload identity pool ${IDENTITY_POOL}"
      run gcloud iam workload-identity-pools create "${IDENTITY_POOL}" \
        --location=global \
        --display-name="${IDENTITY_POOL}" \
        --description="Jobs that deploy ${FUNCTION}" \
        --project="${PROJECT}"
      ;;
    *) fail "the workload identity pool ${IDENTITY_POOL} is ${state}, not ACTIVE." ;;
  esac
}

ensure_provider() {
  local state verb=create-oidc
  local condition="assertion.repository == \"${REPOSITORY}\""
  condition+=" && assertion.repository_id == \"${REPOSITORY_ID}\""
  condition+=" && assertion.environment == \"${CI_ENVIRONMENT}\""
  condition+=' && assertion.ref.startsWith("refs/tags/v")'
  state="$(
    state_of gcloud iam workload-identity-pools providers describe "${PROVIDER}" \
      --workload-identity-pool="${IDENTITY_POOL}" \
      --location=global \
      --project="${PROJECT}" \
      --format='value(state)'
  )"
  if [[ "${state}" == DELETED ]]; then
    log "restoring the provider ${PROVIDER}"
    run gcloud iam workload-identity-pools providers undelete "${PROVIDER}" \
      --workload-identity-pool="${IDENTITY_POOL}" \
      --location=global \
      --project="${PROJECT}"
  fi
  if [[ -n "${state}" ]]; then
    verb=update-oidc
  fi
  log "admitting the jobs of ${CI_ENVIRONMENT} in ${REPOSITORY} alone"
  run gcloud iam workload-identity-pools providers "${verb}" "${PROVIDER}" \
    --workload-identity-pool="${IDENTITY_POOL}" \
    --location=global \
    --issuer-uri="${ISSUER}" \
    --attribute-mapping="google.subject=${SUBJECT}" \
    --attribute-condition="${condition}" \
    --project="${PROJECT}"
}

# admit_jobs POOL lets one subject of the pool act as the deployer. Those of an earlier setting keep the
# role, but get no tokens any more: the provider's condition refuses them.
admit_jobs() {
  retry gcloud iam service-accounts add-iam-policy-binding "${DEPLOYER_ACCOUNT}" \
    --member="principal://iam.googleapis.com/$1/subject/${REPOSITORY_ID}:${CI_ENVIRONMENT}" \
    --role=roles/iam.workloadIdentityUser \
    --format=none \
    --project="${PROJECT}"
  print "Set in the environment ${CI_ENVIRONMENT} of ${REPOSITORY}:"
  print "WORKLOAD_IDENTITY_PROVIDER=$1/providers/${PROVIDER}"
  print "DEPLOYER=${DEPLOYER_ACCOUNT}"
}
