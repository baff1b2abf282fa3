#!/usr/bin/env bash
#
# Puts the function into a Google Cloud project, directly and behind API Gateway, and watches it,
# rolls it back and removes it there: see `deploy.sh --help`.
#
# Each step asks before it creates, so a run that was cut short is finished by the next one, and a
# run without a change creates nothing. Roles come before the function, and the function before
# anybody may call it.

set -euo pipefail
CDPATH='' cd -- "$(dirname "${BASH_SOURCE[0]}")"

# No command may wait for an answer: gcloud takes the cautious one.
export CLOUDSDK_CORE_DISABLE_PROMPTS=1

readonly SCRATCH=.local/deploy # files that gcloud reads; not part of the repository
readonly FUNCTION_APIS=(
  artifactregistry.googleapis.com
  cloudbuild.googleapis.com
  cloudfunctions.googleapis.com
  firebaserules.googleapis.com
  firestore.googleapis.com
  iam.googleapis.com
  iamcredentials.googleapis.com
  run.googleapis.com
  storage.googleapis.com
)
readonly GATEWAY_APIS=(
  apigateway.googleapis.com
  servicecontrol.googleapis.com
  servicemanagement.googleapis.com
)
readonly WATCHING_APIS=(
  logging.googleapis.com
  monitoring.googleapis.com
)

dry_run=false
assumed=empty # what --dry-run takes the project to be: empty or full

usage() {
  cat <<'END'
usage: ./deploy.sh COMMAND [--dry-run]

  function   deploy the function behind its own HTTPS address
  gateway    deploy it a second time, private, behind API Gateway
  alerts     create or update log-based metrics, alert policies and the dashboard
  status     say what is deployed here, and which revision serves
  rollback   give all traffic to the revision before the one that serves
  delete     remove all of that again, but neither the database nor the bucket

  --dry-run  print every command that would be run, and run none
  --help     after a command, say more about it

These environment variables are required:

  PROJECT            the project's ID; GOOGLE_CLOUD_PROJECT counts too
  REGION             where the function runs; run again with another for a second region
                     (not for alerts)
  RECORDINGS_BUCKET  the bucket of the recordings (for function and gateway)

and these are not:

  GATEWAY_REGION        where the gateway runs, as not every region has API Gateway    (REGION)
  FUNCTION              the function's name, from which all others are made    (get-call)
  FIRESTORE_DATABASE    the database                                           ((default))
  FIRESTORE_LOCATION    where the database is created, if it is missing        (REGION)
  FIRESTORE_RULES       where the database has other security rules than firestore.rules:
                        keep or replace them                                   (stop and ask)
  RETENTION_DAYS        a bucket created here deletes recordings after so many (never)
  SIGNER_SECRET         the secret in Secret Manager that holds a service account's key file,
                        which then signs the links                             (IAM signs)
  BUILD_ACCOUNT         the service account that builds, where the project's default may not
  MIN_INSTANCES         kept warm, and paid for                                (0)
  MAX_INSTANCES         no more than these                                     (20)
  CONCURRENCY           requests that one instance answers at a time, up to 100 (80)
  CPU, MEMORY           of an instance                                         (1, 512Mi)
  LOG_LEVEL             the least severity that is logged                      (INFO)
  NOTIFICATION_CHANNELS whom alerts tell, separated by commas (alerts)         (as they are)
  SMOKE_KEY, SMOKE_CALL an API key and a call of its org: with both, a deployment ends with the
                        smoke test, otherwise with the line that runs it
END
}

usage_of() {
  case "$1" in
    function)
      cat <<'END'
usage: ./deploy.sh function [--dry-run]

Enables the APIs; creates the Firestore database and the recordings bucket where they are missing;
creates the service account that the function runs as and grants it reading the database, reading
the bucket and signing as itself; uploads the security rules that deny every client; deploys the
work tree's commit; lets everybody call it, since the function checks its own keys; runs the smoke
test. PROJECT, REGION and RECORDINGS_BUCKET are required; `./deploy.sh --help` lists the rest.
END
      ;;
    gateway)
      cat <<'END'
usage: ./deploy.sh gateway [--dry-run]

Prepares the project as `function` does, deploys the same source as FUNCTION-private, which only
the gateway's service account may call, and puts API Gateway before it. The API's config carries
the hash of its spec in its name: without a change none is created. Runs the smoke test through the
gateway. PROJECT, REGION and RECORDINGS_BUCKET are required; `./deploy.sh --help` lists the rest.
END
      ;;
    alerts)
      cat <<'END'
usage: ./deploy.sh alerts [--dry-run]

Creates or updates the log-based metrics (ops/metrics), the alert policies (ops/alerts) and the
dashboard (ops/dashboard.json), for both ways in and all regions. PROJECT is required.
NOTIFICATION_CHANNELS says whom the policies tell; without it an existing policy keeps its channels.
END
      ;;
    status)
      cat <<'END'
usage: ./deploy.sh status [--dry-run]

Prints, for the function and for its private twin behind the gateway: state, commit, address, and
the revision that serves; and the gateway's address. PROJECT and REGION are required.
END
      ;;
    rollback)
      cat <<'END'
usage: ./deploy.sh rollback [REVISION] [--dry-run]

Gives all traffic of the function to REVISION, which must be ready, or else to the newest revision that
is older than the one that serves and ready; run it twice to go back two. With
FUNCTION=get-call-private it does so for the one behind the gateway. The next deployment takes the
traffic again.
PROJECT and REGION are required.
END
      ;;
    delete)
      cat <<'END'
usage: ./deploy.sh delete [--dry-run]

Asks for the function's name, then removes the gateway and both functions of REGION, and, when no
other region has one, the API, the service accounts, alerts, metrics and dashboard. Never touches
the database or the bucket. PROJECT and REGION are required.
END
      ;;
    *)
      return 1
      ;;
  esac
}

fail() {
  printf 'deploy.sh: %s\n' "$*" >&2
  exit 1
}

# Says what happens, to people; a dry run has nothing to say but its commands.
tell() {
  if [[ "${dry_run}" == false ]]; then
    printf '%s\n' "$*" >&2
  fi
}

# Says what was asked for.
say() {
  if [[ "${dry_run}" == false ]]; then
    printf '%s\n' "$*"
  fi
}

# Prints a command as a shell would read it, on one line.
print_command() {
  local word line='' quoted="'\\''"
  for word in "$@"; do
    if [[ ! "${word}" =~ ^[A-Za-z0-9_@%+=:,./-]+$ ]]; then
      word="'${word//\'/${quoted}}'"
    fi
    line+="${line:+ }${word}"
  done
  printf '%s\n' "${line}" >&3
}

# Runs a command that changes something.
change() {
  if [[ "${dry_run}" == true ]]; then
    print_command "$@"
  else
    "$@"
  fi
}

# Prints what a command answers; its first argument stands for that in a dry run.
ask() {
  local placeholder="$1"
  shift
  if [[ "${dry_run}" == true ]]; then
    print_command "$@"
    if [[ -n "${placeholder}" ]]; then
      printf '%s\n' "${placeholder}"
    fi
  else
    "$@"
  fi
}

# Tells whether what a command describes is there. Any answer but "not found" stops the run: to
# create what only could not be seen would be worse.
exists() {
  local said
  if [[ "${dry_run}" == true ]]; then
    print_command "$@"
    [[ "${assumed}" == full ]]
    return
  fi
  if said="$("$@" 2>&1 >/dev/null)"; then
    return 0
  fi
  # The words, and not a bare "404", which stands in the number of many a project.
  if ! grep -qE 'PERMISSION_DENIED|status=\[403\]|HTTPError 403' <<<"${said}" &&
    grep -qE 'NOT_FOUND|status=\[404\]|HTTPError 404|[Nn]ot found: 404|was not found|could not be found|does not exist|Cannot find' <<<"${said}"; then
    return 1
  fi
  fail "cannot tell whether something exists, by \`$1 $2 $3 $4\`: ${said}"
}

# A new service account is not known everywhere at once.
retried() {
  local attempt
  for attempt in 1 2 3 4 5; do
    if change "$@"; then
      return 0
    fi
    if ((attempt < 5)); then
      sleep "${RETRY_SECONDS:-5}"
    fi
  done
  return 1
}

# Stops, unless a variable has this form. No comma passes any of these, so none can add a variable
# to those that the function is deployed with.
require_form() {
  local name="$1" form="$2" what="$3"
  if [[ ! "${!name}" =~ ${form} ]]; then
    fail "${name} is malformed: ${what}."
  fi
}

require_project() {
  PROJECT="${PROJECT:-${GOOGLE_CLOUD_PROJECT:-}}"
  : "${PROJECT:?is required: the ID of the Google Cloud project}"
  FUNCTION="${FUNCTION:-get-call}"
  # Names made of it must fit the 30 characters that a service account's may have.
  require_form FUNCTION '^[a-z][a-z0-9-]{0,20}[a-z0-9]$' "2 to 22 lower-case letters, digits and hyphens"
  if [[ "${FUNCTION}" == *-private && "$1" != rollback ]]; then
    fail "FUNCTION is malformed: ${FUNCTION} is the name of the function behind the gateway."
  fi
  require_form PROJECT '^([a-z0-9-]+(\.[a-z0-9-]+)+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]$' "a project's ID"
  readonly PROJECT FUNCTION
  readonly PRIVATE_FUNCTION="${FUNCTION}-private"
  readonly RUNTIME_ACCOUNT="${FUNCTION}-runtime@${PROJECT}.iam.gserviceaccount.com"
  readonly GATEWAY_ACCOUNT="${FUNCTION}-gateway@${PROJECT}.iam.gserviceaccount.com"
}

require_region() {
  : "${REGION:?is required: the region to deploy to, such as europe-west1}"
  GATEWAY_REGION="${GATEWAY_REGION:-${REGION}}"
  require_form REGION '^[a-z][a-z0-9-]+$' "a region, such as europe-west1"
  require_form GATEWAY_REGION '^[a-z][a-z0-9-]+$' "a region, such as europe-west1"
  readonly REGION GATEWAY_REGION
}

require_settings() {
  : "${RECORDINGS_BUCKET:?is required: the name of the bucket that holds the recordings}"
  RECORDINGS_BUCKET="${RECORDINGS_BUCKET#gs://}"
  RECORDINGS_BUCKET="${RECORDINGS_BUCKET%/}"
  FIRESTORE_DATABASE="${FIRESTORE_DATABASE:-(default)}"
  FIRESTORE_LOCATION="${FIRESTORE_LOCATION:-${REGION}}"
  FIRESTORE_RULES="${FIRESTORE_RULES:-}"
  RETENTION_DAYS="${RETENTION_DAYS:-}"
  LOG_LEVEL="${LOG_LEVEL:-INFO}"
  SIGNER_SECRET="${SIGNER_SECRET:-}"
  CONCURRENCY="${CONCURRENCY:-80}"
  # As call_api/settings.py has them: what is wrong here would only stop the function, at its start.
  require_form RECORDINGS_BUCKET '^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$' "a bucket's name"
  require_form RECORDINGS_BUCKET '^[^.]{1,63}(\.[^.]{1,63})*$' "a bucket's name"
  if [[ "${RECORDINGS_BUCKET}" =~ ^[0-9]+(\.[0-9]+){3}$ ]]; then
    fail "RECORDINGS_BUCKET is malformed: a bucket's name is no IP address."
  fi
  require_form FIRESTORE_DATABASE '^(\(default\)|[a-z][a-z0-9-]{2,61}[a-z0-9])$' "a database's ID"
  require_form LOG_LEVEL '^(DEBUG|INFO|WARNING|ERROR|CRITICAL)$' \
    "one of DEBUG, INFO, WARNING, ERROR, CRITICAL"
  require_form FIRESTORE_RULES '^(keep|replace)?$' "keep or replace"
  require_form RETENTION_DAYS '^([1-9][0-9]*)?$' "a number of days"
  require_form SIGNER_SECRET '^[A-Za-z0-9_-]*$' "a secret's name, without a version"
  require_form CONCURRENCY '^([1-9][0-9]?|100)$' \
    "1 to 100, as an instance answers at most 100 calls at a time"
  readonly RECORDINGS_BUCKET FIRESTORE_DATABASE FIRESTORE_LOCATION FIRESTORE_RULES RETENTION_DAYS
  readonly LOG_LEVEL SIGNER_SECRET CONCURRENCY
}

require_a_commit() {
  local changes
  if ! COMMIT="$(git rev-parse --short=12 HEAD 2>/dev/null)"; then
    fail "this is no git work tree with a commit: deploy from a clone."
  fi
  changes="$(git status --porcelain)"
  if [[ "${dry_run}" == false && -n "${changes}" ]]; then
    fail "the work tree has changes that no commit holds: commit or stash them, so that the label tells what runs."
  fi
  readonly COMMIT
}

require_gcloud() {
  local account state
  if [[ "${dry_run}" == false ]] && ! command -v gcloud >/dev/null; then
    fail "gcloud is missing: install the Google Cloud CLI, https://cloud.google.com/sdk/docs/install."
  fi
  account="$(
    ask ACCOUNT gcloud auth list \
      --project="${PROJECT}" \
      --filter=status:ACTIVE \
      --format='value(account)' \
      2>/dev/null # a warning, where there is none at all
  )"
  if [[ -z "${account}" ]]; then
    fail "gcloud has no active account: run \`gcloud auth login\`."
  fi
  if ! state="$(
    ask ACTIVE gcloud projects describe "${PROJECT}" \
      --project="${PROJECT}" \
      --format='value(lifecycleState)' \
      2>/dev/null
  )"; then
    fail "there is no project ${PROJECT} that ${account} may see (or its login has expired: \`gcloud auth login\`)."
  fi
  if [[ "${state}" != ACTIVE ]]; then
    fail "the project ${PROJECT} is ${state:-in no known state}, not ACTIVE."
  fi
}

# The tools under ops/ need what `make` installs; the rest of this script does not.
require_python() {
  if [[ "${dry_run}" == false && -z "${DEPLOY_PYTHON:-}" ]]; then
    make --silent .venv/installed >&2
    DEPLOY_PYTHON=.venv/bin/python
  fi
}

enable_apis() {
  local api enabled
  local missing=()
  enabled="$(
    ask '' gcloud services list \
      --enabled \
      --project="${PROJECT}" \
      --format='value(config.name)'
  )"
  for api in "$@"; do
    if ! grep -qxF "${api}" <<<"${enabled}"; then
      missing+=("${api}")
    fi
  done
  if ((${#missing[@]})); then
    tell "enabling ${#missing[@]} APIs"
    change gcloud services enable "${missing[@]}" \
      --project="${PROJECT}"
  fi
}

create_database_where_missing() {
  if exists gcloud firestore databases describe \
    --database="${FIRESTORE_DATABASE}" \
    --project="${PROJECT}"; then
    return
  fi
  tell "creating the database ${FIRESTORE_DATABASE}"
  change gcloud firestore databases create \
    --database="${FIRESTORE_DATABASE}" \
    --location="${FIRESTORE_LOCATION}" \
    --type=firestore-native \
    --delete-protection \
    --project="${PROJECT}"
}

# The lifecycle is set with the creation alone: a rule that deletes must not reach a bucket that
# somebody else has filled.
create_bucket_where_missing() {
  local lifecycle=()
  if exists gcloud storage buckets describe "gs://${RECORDINGS_BUCKET}" \
    --project="${PROJECT}"; then
    return
  fi
  if [[ -n "${RETENTION_DAYS}" ]]; then
    lifecycle=(--lifecycle-file="${SCRATCH}/lifecycle.json")
    mkdir -p "${SCRATCH}"
    printf '{"rule": [{"action": {"type": "Delete"}, "condition": {"age": %d}}]}\n' \
      "${RETENTION_DAYS}" >"${SCRATCH}/lifecycle.json"
  fi
  tell "creating the bucket ${RECORDINGS_BUCKET}"
  change gcloud storage buckets create "gs://${RECORDINGS_BUCKET}" \
    --location="${REGION}" \
    --uniform-bucket-level-access \
    --public-access-prevention \
    ${lifecycle[@]+"${lifecycle[@]}"} \
    --project="${PROJECT}"
}

create_account_where_missing() {
  local email="$1" description="$2"
  if exists gcloud iam service-accounts describe "${email}" \
    --project="${PROJECT}"; then
    return
  fi
  tell "creating the service account ${email}"
  change gcloud iam service-accounts create "${email%%@*}" \
    --display-name="${description}" \
    --project="${PROJECT}"
}

# Everything that the function may do: read documents of the project, read recordings of the one
# bucket, and sign as itself, or instead read the one secret whose key signs.
grant_runtime_roles() {
  tell "granting roles to ${RUNTIME_ACCOUNT}"
  retried gcloud projects add-iam-policy-binding "${PROJECT}" \
    --member="serviceAccount:${RUNTIME_ACCOUNT}" \
    --role=roles/datastore.viewer \
    --condition=None \
    --format=none \
    --project="${PROJECT}"
  retried gcloud storage buckets add-iam-policy-binding "gs://${RECORDINGS_BUCKET}" \
    --member="serviceAccount:${RUNTIME_ACCOUNT}" \
    --role=roles/storage.objectViewer \
    --format=none \
    --project="${PROJECT}"
  if [[ -n "${SIGNER_SECRET}" ]]; then
    retried gcloud secrets add-iam-policy-binding "${SIGNER_SECRET}" \
      --member="serviceAccount:${RUNTIME_ACCOUNT}" \
      --role=roles/secretmanager.secretAccessor \
      --format=none \
      --project="${PROJECT}"
  else
    retried gcloud iam service-accounts add-iam-policy-binding "${RUNTIME_ACCOUNT}" \
      --member="serviceAccount:${RUNTIME_ACCOUNT}" \
      --role=roles/iam.serviceAccountTokenCreator \
      --format=none \
      --project="${PROJECT}"
  fi
}

# The stable gcloud has no command for security rules, so they go to their REST API with gcloud's token. A
# database without rules denies every client too; the upload says so in the project, and finds the
# database whose rules are open (the "test mode" of the consoles lets everybody write API keys).
deny_every_client() {
  local token
  local replace=()
  if [[ "${FIRESTORE_RULES}" == keep ]]; then
    return
  fi
  if [[ "${FIRESTORE_RULES}" == replace ]]; then
    replace=(--replace)
  fi
  token="$(
    ask TOKEN gcloud auth print-access-token \
      --project="${PROJECT}"
  )"
  if [[ "${dry_run}" == true ]]; then
    echo "(With that token firestore.rules is sent to firebaserules.googleapis.com.)" >&2
    return
  fi
  tell "uploading firestore.rules"
  printf '%s' "${token}" | "${DEPLOY_PYTHON}" -m ops.firestore_rules \
    --project="${PROJECT}" \
    --database="${FIRESTORE_DATABASE}" \
    ${replace[@]+"${replace[@]}"}
}

prepare_project() {
  enable_apis "$@"
  create_database_where_missing
  create_bucket_where_missing
  create_account_where_missing "${RUNTIME_ACCOUNT}" "Runs ${FUNCTION}"
  grant_runtime_roles
  deny_every_client
}

# Deploys the work tree under a name, private until something else says otherwise.
deploy_source() {
  local name="$1" behind_api_gateway="$2"
  local environment="GOOGLE_CLOUD_PROJECT=${PROJECT}"
  local access=()
  local signer=(--clear-secrets)
  local build=()
  environment+=",RECORDINGS_BUCKET=${RECORDINGS_BUCKET}"
  environment+=",FIRESTORE_DATABASE=${FIRESTORE_DATABASE}"
  environment+=",BEHIND_API_GATEWAY=${behind_api_gateway}"
  environment+=",LOG_LEVEL=${LOG_LEVEL}"
  if [[ -n "${SIGNER_SECRET}" ]]; then
    environment+=",RECORDING_SIGNER_KEY_FILE=/secrets/signer/key.json"
    signer=(--set-secrets="/secrets/signer/key.json=${SIGNER_SECRET}:latest")
  fi
  if [[ -n "${BUILD_ACCOUNT:-}" ]]; then
    build=(--build-service-account="projects/${PROJECT}/serviceAccounts/${BUILD_ACCOUNT}")
  fi
  # On a function that is already public this flag would close it to its clients until the end of
  # the run, so it is given to the private one, and to a new one.
  if [[ "${behind_api_gateway}" == true ]] || ! exists gcloud functions describe "${name}" \
    --gen2 \
    --region="${REGION}" \
    --project="${PROJECT}"; then
    access=(--no-allow-unauthenticated)
  fi
  tell "deploying ${name} from ${COMMIT}; this takes minutes"
  change gcloud functions deploy "${name}" \
    --gen2 \
    --region="${REGION}" \
    --runtime=python313 \
    --source=. \
    --entry-point=get_call \
    --trigger-http \
    ${access[@]+"${access[@]}"} \
    --service-account="${RUNTIME_ACCOUNT}" \
    ${build[@]+"${build[@]}"} \
    --concurrency="${CONCURRENCY}" \
    --cpu="${CPU:-1}" \
    --memory="${MEMORY:-512Mi}" \
    --timeout=15s \
    --min-instances="${MIN_INSTANCES:-0}" \
    --max-instances="${MAX_INSTANCES:-20}" \
    --set-env-vars="${environment}" \
    "${signer[@]}" \
    --update-labels="commit=${COMMIT}" \
    --serve-all-traffic-latest-revision \
    --format=none \
    --project="${PROJECT}"
  boost_startup "${name}"
}

# `gcloud functions` has no flag for this; `gcloud run` has, and makes a revision of its own, so it
# is asked first.
boost_startup() {
  local annotations
  annotations="$(
    ask '' gcloud run services describe "$1" \
      --region="${REGION}" \
      --project="${PROJECT}" \
      --format='value(spec.template.metadata.annotations)'
  )"
  if [[ "${annotations}" != *startup-cpu-boost=true* ]]; then
    change gcloud run services update "$1" \
      --cpu-boost \
      --region="${REGION}" \
      --format=none \
      --project="${PROJECT}"
  fi
}

# Prints the address of a function: Cloud Run's, which is also the audience that it expects.
address_of() {
  ask "https://$1-PLACEHOLDER.a.run.app" gcloud functions describe "$1" \
    --gen2 \
    --region="${REGION}" \
    --project="${PROJECT}" \
    --format='value(serviceConfig.uri)'
}

allow_to_call() {
  local name="$1" member="$2"
  tell "letting ${member} call ${name}"
  retried gcloud run services add-iam-policy-binding "${name}" \
    --member="${member}" \
    --role=roles/run.invoker \
    --region="${REGION}" \
    --format=none \
    --project="${PROJECT}"
}

# The key goes through the environment, where no list of processes shows it.
smoke_test() {
  if [[ "${dry_run}" == true ]]; then
    echo "(Then the smoke test runs: KEY=… make smoke URL=$1 CALL=…)" >&2
  elif [[ -n "${SMOKE_KEY:-}" && -n "${SMOKE_CALL:-}" ]]; then
    # More than once, since who may call it is not known everywhere at once either.
    URL="$1" KEY="${SMOKE_KEY}" CALL="${SMOKE_CALL}" RETRY_SECONDS="${RETRY_SECONDS:-20}" \
      retried make --silent smoke
  else
    printf 'Deployed: %s\nTry it:   KEY=… make smoke URL=%s CALL=…\n' "$1" "$1"
  fi
}

deploy_function() {
  local address
  require_region
  require_settings
  require_a_commit
  require_gcloud
  require_python
  prepare_project "${FUNCTION_APIS[@]}"
  deploy_source "${FUNCTION}" false
  address="$(address_of "${FUNCTION}")"
  # The last change, and safe: the function refuses whoever has no key of its own.
  allow_to_call "${FUNCTION}" allUsers
  smoke_test "${address}"
}

create_api_where_missing() {
  if ! exists gcloud api-gateway apis describe "${FUNCTION}" \
    --project="${PROJECT}"; then
    tell "creating the API ${FUNCTION}"
    change gcloud api-gateway apis create "${FUNCTION}" \
      --project="${PROJECT}"
  fi
}

# Prints the name of the API config that belongs to the spec of this address, and writes the spec.
write_spec() {
  if [[ "${dry_run}" == true ]]; then
    printf '%s-SPEC-HASH\n' "${FUNCTION}"
    return
  fi
  mkdir -p "${SCRATCH}"
  "${DEPLOY_PYTHON}" -m ops.gateway_spec --address="$1" >"${SCRATCH}/gateway.yaml" || return
  printf '%s-%.12s\n' "${FUNCTION}" "$(git hash-object "${SCRATCH}/gateway.yaml")"
}

create_config_where_missing() {
  if exists gcloud api-gateway api-configs describe "$1" \
    --api="${FUNCTION}" \
    --project="${PROJECT}"; then
    return
  fi
  tell "creating the API config $1; this takes minutes"
  change gcloud api-gateway api-configs create "$1" \
    --api="${FUNCTION}" \
    --openapi-spec="${SCRATCH}/gateway.yaml" \
    --backend-auth-service-account="${GATEWAY_ACCOUNT}" \
    --project="${PROJECT}"
}

create_or_update_gateway() {
  local served
  if ! exists gcloud api-gateway gateways describe "${FUNCTION}" \
    --location="${GATEWAY_REGION}" \
    --project="${PROJECT}"; then
    tell "creating the gateway ${FUNCTION}; this takes minutes"
    change gcloud api-gateway gateways create "${FUNCTION}" \
      --api="${FUNCTION}" \
      --api-config="$1" \
      --location="${GATEWAY_REGION}" \
      --project="${PROJECT}"
    return
  fi
  served="$(
    ask '' gcloud api-gateway gateways describe "${FUNCTION}" \
      --location="${GATEWAY_REGION}" \
      --project="${PROJECT}" \
      --format='value(apiConfig)'
  )"
  if [[ "${served##*/}" != "$1" ]]; then
    tell "giving the gateway the config $1"
    change gcloud api-gateway gateways update "${FUNCTION}" \
      --api="${FUNCTION}" \
      --api-config="$1" \
      --location="${GATEWAY_REGION}" \
      --project="${PROJECT}"
  fi
}

deploy_gateway() {
  local address config host
  require_region
  require_settings
  require_a_commit
  require_gcloud
  require_python
  prepare_project "${FUNCTION_APIS[@]}" "${GATEWAY_APIS[@]}"
  create_account_where_missing "${GATEWAY_ACCOUNT}" "Calls ${PRIVATE_FUNCTION} for API Gateway"
  deploy_source "${PRIVATE_FUNCTION}" true
  address="$(address_of "${PRIVATE_FUNCTION}")"
  allow_to_call "${PRIVATE_FUNCTION}" "serviceAccount:${GATEWAY_ACCOUNT}"
  create_api_where_missing
  config="$(write_spec "${address}")"
  create_config_where_missing "${config}"
  create_or_update_gateway "${config}"
  host="$(
    ask "${FUNCTION}-PLACEHOLDER.gateway.dev" gcloud api-gateway gateways describe "${FUNCTION}" \
      --location="${GATEWAY_REGION}" \
      --project="${PROJECT}" \
      --format='value(defaultHostname)'
  )"
  smoke_test "https://${host}"
}

# Prints the path of a file under ops/, or of a copy that names FUNCTION where that is not get-call.
rendered() {
  if [[ "${FUNCTION}" == get-call ]]; then
    printf '%s\n' "$1"
    return
  fi
  mkdir -p "${SCRATCH}/$(dirname "$1")"
  sed "s/get-call/${FUNCTION}/g" "$1" >"${SCRATCH}/$1" || return
  printf '%s\n' "${SCRATCH}/$1"
}

# Prints the name that a policy's or dashboard's file shows to people, by which it is found again.
display_name_in() {
  sed -n 's/^  "displayName": "\(.*\)",$/\1/p' "$1"
}

# Prints the resource name that belongs to a display name in a list of both, if there is one.
named() {
  awk -F '\t' -v wanted="$1" '$1 == wanted { print $2; exit }'
}

listed_policies() {
  ask "$1" gcloud alpha monitoring policies list \
    --project="${PROJECT}" \
    --format='value(displayName,name)'
}

listed_dashboards() {
  ask "$1" gcloud monitoring dashboards list \
    --project="${PROJECT}" \
    --format='value(displayName,name)'
}

create_or_update_metrics() {
  local file metric verb
  for file in ops/metrics/*.yaml; do
    metric="${FUNCTION}-$(basename "${file}" .yaml)"
    verb=create
    if exists gcloud logging metrics describe "${metric}" \
      --project="${PROJECT}"; then
      verb=update
    fi
    file="$(rendered "${file}")"
    tell "${verb} the metric ${metric}"
    change gcloud logging metrics "${verb}" "${metric}" \
      --config-from-file="${file}" \
      --project="${PROJECT}"
  done
}

# An update replaces a policy whole, so it is told the channels that the policy has.
create_or_update_policies() {
  local file policies policy channels
  local tell_whom
  policies="$(listed_policies '')"
  for file in ops/alerts/*.json; do
    file="$(rendered "${file}")"
    policy="$(named "$(display_name_in "${file}")" <<<"${policies}")"
    channels="${NOTIFICATION_CHANNELS:-}"
    tell_whom=()
    if [[ -z "${policy}" ]]; then
      if [[ -n "${channels}" ]]; then
        tell_whom=(--notification-channels="${channels}")
      fi
      tell "creating the alert policy of ${file}"
      change gcloud alpha monitoring policies create \
        --policy-from-file="${file}" \
        ${tell_whom[@]+"${tell_whom[@]}"} \
        --project="${PROJECT}"
      continue
    fi
    if [[ -z "${channels}" ]]; then
      channels="$(
        ask '' gcloud alpha monitoring policies describe "${policy}" \
          --project="${PROJECT}" \
          --format='value(notificationChannels.list())'
      )"
    fi
    if [[ -n "${channels}" ]]; then
      tell_whom=(--set-notification-channels="${channels}")
    fi
    tell "updating the alert policy of ${file}"
    change gcloud alpha monitoring policies update "${policy}" \
      --policy-from-file="${file}" \
      ${tell_whom[@]+"${tell_whom[@]}"} \
      --project="${PROJECT}"
  done
}

create_or_update_dashboard() {
  local file dashboard
  file="$(rendered ops/dashboard.json)"
  dashboard="$(listed_dashboards '')"
  dashboard="$(named "$(display_name_in "${file}")" <<<"${dashboard}")"
  if [[ -z "${dashboard}" ]]; then
    tell "creating the dashboard"
    change gcloud monitoring dashboards create \
      --config-from-file="${file}" \
      --project="${PROJECT}"
  else
    tell "updating the dashboard"
    change gcloud monitoring dashboards update "${dashboard}" \
      --config-from-file="${file}" \
      --project="${PROJECT}"
  fi
}

watch_function() {
  require_gcloud
  enable_apis "${WATCHING_APIS[@]}"
  create_or_update_metrics
  create_or_update_policies
  create_or_update_dashboard
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
  say "${name}:"
  ask '' gcloud functions describe "${name}" \
    --gen2 \
    --region="${REGION}" \
    --project="${PROJECT}" \
    --format='yaml(state,updateTime,labels.commit,serviceConfig.uri)'
  ask '' gcloud run services describe "${name}" \
    --region="${REGION}" \
    --project="${PROJECT}" \
    --format='yaml(status.traffic)'
}

show_status() {
  require_region
  require_gcloud
  assumed=full
  show_function "${FUNCTION}"
  show_function "${PRIVATE_FUNCTION}"
  if ! exists gcloud api-gateway gateways describe "${FUNCTION}" \
    --location="${GATEWAY_REGION}" \
    --project="${PROJECT}"; then
    echo "gateway: not deployed in ${REGION}"
    return
  fi
  say "gateway:"
  ask '' gcloud api-gateway gateways describe "${FUNCTION}" \
    --location="${GATEWAY_REGION}" \
    --project="${PROJECT}" \
    --format='yaml(state,defaultHostname,apiConfig)'
}

# Prints the revisions of the function, newest first: name, whether it is ready, image.
listed_revisions() {
  ask "$1" gcloud run revisions list \
    --service="${FUNCTION}" \
    --region="${REGION}" \
    --project="${PROJECT}" \
    --sort-by='~metadata.creationTimestamp' \
    --format='value(metadata.name,status.conditions[0].status,spec.containers[0].image)'
}

# Stops, unless the revision is one of the function's and ready.
require_ready_revision() {
  local revisions ready
  revisions="$(listed_revisions "$1"$'\tTrue\tOLD')"
  ready="$(awk -F '\t' -v name="$1" '$1 == name { print $2 }' <<<"${revisions}")"
  if [[ -z "${ready}" ]]; then
    fail "there is no revision $1 of ${FUNCTION} in ${REGION}."
  fi
  if [[ "${ready}" != True ]]; then
    fail "the revision $1 is not ready, so it cannot take the traffic."
  fi
}

# Sets REVISION to the newest revision that is older than the one that serves, ready, and of another
# image: one of the same image, which only a changed setting has made, would not be a way back.
choose_previous_revision() {
  local serving revisions
  serving="$(
    ask SERVING gcloud run services describe "${FUNCTION}" \
      --region="${REGION}" \
      --project="${PROJECT}" \
      --format='value(status.traffic[0].revisionName)'
  )"
  revisions="$(listed_revisions $'SERVING\tTrue\tNEW\nPREVIOUS-REVISION\tTrue\tOLD')"
  REVISION="$(
    awk -F '\t' -v serving="${serving}" \
      'older && $2 == "True" && $3 != image { print $1; exit }
       $1 == serving { older = 1; image = $3 }' <<<"${revisions}"
  )"
  if [[ -z "${REVISION}" ]]; then
    fail "there is no ready revision of ${FUNCTION} that is older than ${serving}, which serves."
  fi
}

roll_back() {
  local REVISION="$1"
  require_region
  if [[ -n "${REVISION}" ]]; then
    require_form REVISION '^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$' \
      "up to 63 lower-case letters, digits and hyphens, such as ${FUNCTION}-00007-abc"
    require_gcloud
    require_ready_revision "${REVISION}"
  else
    require_gcloud
    choose_previous_revision
  fi
  tell "giving all traffic of ${FUNCTION} to ${REVISION}"
  change gcloud run services update-traffic "${FUNCTION}" \
    --to-revisions="${REVISION}=100" \
    --region="${REGION}" \
    --project="${PROJECT}"
}

delete_function() {
  if exists gcloud functions describe "$1" \
    --gen2 \
    --region="${REGION}" \
    --project="${PROJECT}"; then
    tell "deleting $1"
    change gcloud functions delete "$1" \
      --gen2 \
      --region="${REGION}" \
      --project="${PROJECT}"
  fi
}

delete_gateway() {
  if exists gcloud api-gateway gateways describe "${FUNCTION}" \
    --location="${GATEWAY_REGION}" \
    --project="${PROJECT}"; then
    tell "deleting the gateway ${FUNCTION}"
    change gcloud api-gateway gateways delete "${FUNCTION}" \
      --location="${GATEWAY_REGION}" \
      --project="${PROJECT}"
  fi
}

delete_api() {
  local configs config
  if ! exists gcloud api-gateway apis describe "${FUNCTION}" \
    --project="${PROJECT}"; then
    return
  fi
  configs="$(
    ask "${FUNCTION}-SPEC-HASH" gcloud api-gateway api-configs list \
      --api="${FUNCTION}" \
      --project="${PROJECT}" \
      --format='value(name.basename())'
  )"
  for config in ${configs}; do
    tell "deleting the API config ${config}"
    change gcloud api-gateway api-configs delete "${config}" \
      --api="${FUNCTION}" \
      --project="${PROJECT}"
  done
  tell "deleting the API ${FUNCTION}"
  change gcloud api-gateway apis delete "${FUNCTION}" \
    --project="${PROJECT}"
}

# The bucket keeps its (now idle) grant: nothing here touches the bucket.
delete_accounts() {
  if exists gcloud iam service-accounts describe "${GATEWAY_ACCOUNT}" \
    --project="${PROJECT}"; then
    tell "deleting ${GATEWAY_ACCOUNT}"
    change gcloud iam service-accounts delete "${GATEWAY_ACCOUNT}" \
      --project="${PROJECT}"
  fi
  if exists gcloud iam service-accounts describe "${RUNTIME_ACCOUNT}" \
    --project="${PROJECT}"; then
    tell "deleting ${RUNTIME_ACCOUNT}"
    # It may be gone already, where an earlier run stopped between the two.
    change gcloud projects remove-iam-policy-binding "${PROJECT}" \
      --member="serviceAccount:${RUNTIME_ACCOUNT}" \
      --role=roles/datastore.viewer \
      --condition=None \
      --format=none \
      --project="${PROJECT}" ||
      tell "(${RUNTIME_ACCOUNT} had no role on the project)"
    change gcloud iam service-accounts delete "${RUNTIME_ACCOUNT}" \
      --project="${PROJECT}"
  fi
}

delete_watching() {
  local file name listed
  file="$(rendered ops/dashboard.json)"
  name="$(display_name_in "${file}")"
  listed="$(listed_dashboards "${name}"$'\tDASHBOARD')"
  listed="$(named "${name}" <<<"${listed}")"
  if [[ -n "${listed}" ]]; then
    tell "deleting the dashboard"
    change gcloud monitoring dashboards delete "${listed}" \
      --project="${PROJECT}"
  fi
  for file in ops/alerts/*.json; do
    file="$(rendered "${file}")"
    name="$(display_name_in "${file}")"
    listed="$(listed_policies "${name}"$'\tPOLICY')"
    listed="$(named "${name}" <<<"${listed}")"
    if [[ -n "${listed}" ]]; then
      tell "deleting the alert policy ${name}"
      change gcloud alpha monitoring policies delete "${listed}" \
        --project="${PROJECT}"
    fi
  done
  for file in ops/metrics/*.yaml; do
    name="${FUNCTION}-$(basename "${file}" .yaml)"
    if exists gcloud logging metrics describe "${name}" \
      --project="${PROJECT}"; then
      tell "deleting the metric ${name}"
      change gcloud logging metrics delete "${name}" \
        --project="${PROJECT}"
    fi
  done
}

delete_deployment() {
  local answer='' elsewhere
  require_region
  require_gcloud
  assumed=full
  if [[ "${dry_run}" == false ]]; then
    printf 'This removes %s from %s in %s. Its database and bucket stay. Type its name: ' \
      "${FUNCTION}" "${REGION}" "${PROJECT}" >&2
    read -r answer || true
    if [[ "${answer}" != "${FUNCTION}" ]]; then
      fail "nothing was deleted: the answer was not ${FUNCTION}."
    fi
  fi
  delete_gateway
  delete_function "${PRIVATE_FUNCTION}"
  delete_function "${FUNCTION}"
  elsewhere="$(
    ask '' gcloud functions list \
      --v2 \
      --project="${PROJECT}" \
      --format='value(name)'
  )"
  if grep -qE "(^|/)${FUNCTION}(-private)?\$" <<<"${elsewhere}"; then
    tell "another region still has ${FUNCTION}: what the regions share stays."
    return
  fi
  delete_api
  delete_accounts
  delete_watching
}

main() {
  local command="${1:-}" argument revision=''
  exec 3>&1 # where a dry run prints, also from within $(…)
  case "${command}" in
    --help | -h)
      usage
      return
      ;;
    function | gateway | alerts | status | rollback | delete) ;;
    '')
      usage >&2
      exit 1
      ;;
    *) fail "there is no command ${command}: see ./deploy.sh --help." ;;
  esac
  shift
  for argument in "$@"; do
    case "${argument}" in
      --help | -h)
        usage_of "${command}"
        return
        ;;
      --dry-run) dry_run=true ;;
      '') fail "an argument of ${command} is empty: see ./deploy.sh ${command} --help." ;;
      -*) fail "${command} has no option ${argument}: see ./deploy.sh ${command} --help." ;;
      *)
        if [[ "${command}" != rollback || -n "${revision}" ]]; then
          fail "${command} takes no argument ${argument}: see ./deploy.sh ${command} --help."
        fi
        revision="${argument}"
        ;;
    esac
  done
  require_project "${command}"
  case "${command}" in
    function) deploy_function ;;
    gateway) deploy_gateway ;;
    alerts) watch_function ;;
    status) show_status ;;
    rollback) roll_back "${revision}" ;;
    delete) delete_deployment ;;
  esac
}

main "$@"
