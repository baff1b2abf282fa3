# Deploys the source as a function, for the commands function, gateway and canary.

# shellcheck shell=bash

source ops/deploy/balancer.sh
source ops/deploy/grants.sh

# Checks settings and tools before anything is changed.
require_all_to_deploy() {
  require_a_commit
  require_python
  check_function_environment
  require_gcloud
}

# deploy_source NAME BEHIND_API_GATEWAY [TRAFFIC_FLAG] deploys the work tree. A new function is private
# until allow_invoker makes it public. Without a TRAFFIC_FLAG, the requests go where they went before. A
# function whose own address `edge` has closed stays closed.
deploy_source() {
  local name="$1" behind_api_gateway="$2" traffic="${3:-}"
  local environment open_to
  local access=()
  local signer=(--clear-secrets)
  local build=()
  printf -v environment '%s;' "${FUNCTION_ENVIRONMENT[@]}" "BEHIND_API_GATEWAY=${behind_api_gateway}"
  if [[ -n "${SIGNER_SECRET}" ]]; then
    signer=(--set-secrets="${SIGNER_KEY_FILE}=${SIGNER_SECRET}")
  fi
  if [[ -n "${BUILD_ACCOUNT}" ]]; then
    build=(--build-service-account="projects/${PROJECT}/serviceAccounts/${BUILD_ACCOUNT}")
  fi
  # For a function that is already public, this flag would lock out its clients until the end of the
  # run. So only new functions and the private one get it.
  if [[ "${behind_api_gateway}" == true ]] || ! exists gcloud functions describe "${name}" \
    --gen2 \
    --region="${REGION}" \
    --project="${PROJECT}"; then
    access=(--no-allow-unauthenticated)
  fi
  open_to="$(ingress_of "${name}")"
  case "${open_to}" in
    "${BALANCER_ALONE}") open_to=internal-and-gclb ;;
    internal) open_to=internal-only ;;
    *) open_to=all ;;
  esac
  log "deploying ${name} from ${COMMIT}; this takes minutes"
  run gcloud functions deploy "${name}" \
    --gen2 \
    --region="${REGION}" \
    --runtime=python313 \
    --source=. \
    --entry-point=get_call \
    --trigger-http \
    --ingress-settings="${open_to}" \
    ${access[@]+"${access[@]}"} \
    --service-account="${RUNTIME_ACCOUNT}" \
    ${build[@]+"${build[@]}"} \
    --concurrency="${CONCURRENCY}" \
    --cpu="${CPU}" \
    --memory="${MEMORY}" \
    --timeout=15s \
    --min-instances="${MIN_INSTANCES}" \
    --max-instances="${MAX_INSTANCES}" \
    --set-env-vars="^;^${environment%;}" \
    "${signer[@]}" \
    --update-labels="commit=${COMMIT}" \
    ${traffic:+"${traffic}"} \
    --format=none \
    --project="${PROJECT}"
  boost_startup "${name}"
}

# `gcloud functions` has no flag for this. `gcloud run` has one, but each use creates a revision: so it
# only runs if the boost is off.
boost_startup() {
  local annotations
  annotations="$(
    query '' gcloud run services describe "$1" \
      --region="${REGION}" \
      --project="${PROJECT}" \
      --format='value(spec.template.metadata.annotations)'
  )"
  if [[ "${annotations}" != *startup-cpu-boost=true* ]]; then
    run gcloud run services update "$1" \
      --cpu-boost \
      --region="${REGION}" \
      --format=none \
      --project="${PROJECT}"
  fi
}

# Prints the Cloud Run address of a function, which is also the audience that it expects.
address_of() {
  query "https://$1-PLACEHOLDER.a.run.app" gcloud functions describe "$1" \
    --gen2 \
    --region="${REGION}" \
    --project="${PROJECT}" \
    --format='value(serviceConfig.uri)'
}

allow_invoker() {
  local name="$1" member="$2"
  log "letting ${member} call ${name}"
  retry gcloud run services add-iam-policy-binding "${name}" \
    --member="${member}" \
    --role=roles/run.invoker \
    --region="${REGION}" \
    --format=none \
    --project="${PROJECT}"
}

# The key is passed in the environment: arguments are visible in the list of processes.
smoke() {
  URL="$1" KEY="${SMOKE_KEY}" CALL="${SMOKE_CALL}" ORIGIN="${ALLOWED_ORIGINS%%,*}" make --silent smoke
}

smoke_test() {
  if [[ "${DRY_RUN}" == true ]]; then
    echo "(Then the smoke test runs: KEY=… make smoke URL=$1 CALL=…)" >&2
  elif [[ -n "${SMOKE_KEY}" && -n "${SMOKE_CALL}" ]]; then
    # Whatever it says may pass: a new address, or a new permission to call it, is not known everywhere at once.
    attempt . aloud smoke "$1"
  else
    printf 'Deployed: %s\nTry it:   KEY=… make smoke URL=%s CALL=…\n' "$1" "$1"
  fi
}

# A function that the balancer alone reaches is tested at DOMAIN.
require_domain_if_closed() {
  local open_to
  open_to="$(ingress_of "${FUNCTION}")"
  if [[ "${open_to}" == "${BALANCER_ALONE}" && -z "${DOMAIN}" ]]; then
    fail "DOMAIN is required: ${FUNCTION} takes requests from the load balancer alone."
  fi
}
