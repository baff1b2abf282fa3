# What every deployment needs of a project: a commit, gcloud, APIs, database, bucket, service account,
# roles and security rules.
#
# Each step tests whether its result exists, of the right kind and in a state to be used, so a run that was
# interrupted is completed by the next one, and a run without a change creates nothing. Roles are granted
# before the function is deployed.

# Other files read COMMIT and FUNCTION_APIS.
# shellcheck shell=bash disable=SC2034

# Stops commands that would wait for an answer: gcloud takes the safe default instead.
export CLOUDSDK_CORE_DISABLE_PROMPTS=1

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

require_a_commit() {
  local changes
  if ! COMMIT="$(git rev-parse --short=12 HEAD 2>&1)"; then
    fail "the deployed commit cannot be named: deploy from a clone with a commit. git says: ${COMMIT}"
  fi
  changes="$(git status --porcelain)"
  if [[ "${DRY_RUN}" == false && -n "${changes}" ]]; then
    fail "the work tree has uncommitted changes: commit or stash them, so that the deployed commit can be named."
  fi
  readonly COMMIT
}

# Tests that gcloud can act in the project. A list of its accounts would not tell: a CI runner has
# credentials without one.
require_gcloud() {
  local state
  if [[ "${DRY_RUN}" == false ]] && ! command -v gcloud >/dev/null; then
    fail "gcloud is missing: install the Google Cloud CLI, https://cloud.google.com/sdk/docs/install."
  fi
  if ! state="$(
    query ACTIVE gcloud projects describe "${PROJECT}" \
      --project="${PROJECT}" \
      --format='value(lifecycleState)'
  )"; then
    fail "gcloud cannot act in ${PROJECT}, as it says above: is it logged in (\`gcloud auth login\`), and may it see the project?"
  fi
  if [[ "${state}" != ACTIVE ]]; then
    fail "the project ${PROJECT} is ${state:-in an unknown state}, not ACTIVE."
  fi
}

# Stops unless `./deploy.sh function` has run.
require_function() {
  local name
  name="$(
    state_of gcloud run services describe "${FUNCTION}" \
      --region="${REGION}" \
      --project="${PROJECT}" \
      --format='value(metadata.name)'
  )"
  if [[ "${DRY_RUN}" == false && -z "${name}" ]]; then
    fail "${FUNCTION} is not deployed in ${REGION}: run ./deploy.sh function first."
  fi
}

# Finds the Python for tools that import packages, and installs both if they are missing. A dry run
# installs nothing.
require_python() {
  if [[ -n "${DEPLOY_PYTHON:-}" ]]; then
    return
  fi
  if [[ "${DRY_RUN}" == false ]]; then
    make --silent .venv/installed-run >&2
  fi
  DEPLOY_PYTHON=.venv/bin/python
}

enable_apis() {
  local api enabled
  local missing=()
  enabled="$(
    query '' gcloud services list \
      --enabled \
      --project="${PROJECT}" \
      --format='value(config.name)'
  )"
  for api in "$@"; do
    if [[ $'\n'"${enabled}"$'\n' != *$'\n'"${api}"$'\n'* ]]; then
      missing+=("${api}")
    fi
  done
  if ((${#missing[@]})); then
    log "enabling ${#missing[@]} APIs"
    run gcloud services enable "${missing[@]}" \
      --project="${PROJECT}"
  fi
}

# A database in Datastore mode cannot be read by the function, and its mode rarely can be changed.
ensure_database() {
  local type
  type="$(
    state_of gcloud firestore databases describe \
      --database="${FIRESTORE_DATABASE}" \
      --project="${PROJECT}" \
      --format='value(type)'
  )"
  case "${type}" in
    FIRESTORE_NATIVE) ensure_recovery ;;
    '')
      log "creating the database ${FIRESTORE_DATABASE}, with point-in-time recovery"
      run gcloud firestore databases create \
        --database="${FIRESTORE_DATABASE}" \
        --location="${FIRESTORE_LOCATION}" \
        --type=firestore-native \
        --delete-protection \
        --enable-pitr \
        --project="${PROJECT}"
      schedule_backups
      ;;
    *) fail "the database ${FIRESTORE_DATABASE} is of type ${type}, which the function cannot read: name another one in FIRESTORE_DATABASE." ;;
  esac
}

# Changes a database that was there already only if it is asked to: both cost by what is stored.
ensure_recovery() {
  local recovery schedules
  recovery="$(
    query '' gcloud firestore databases describe \
      --database="${FIRESTORE_DATABASE}" \
      --project="${PROJECT}" \
      --format='value(pointInTimeRecoveryEnablement)'
  )"
  schedules="$(
    query '' gcloud firestore backups schedules list \
      --database="${FIRESTORE_DATABASE}" \
      --project="${PROJECT}" \
      --format='value(name)'
  )"
  if [[ "${recovery}" == POINT_IN_TIME_RECOVERY_ENABLED && -n "${schedules}" ]]; then
    return
  fi
  if [[ "${FIRESTORE_RECOVERY}" != on ]]; then
    log "the database ${FIRESTORE_DATABASE} lacks point-in-time recovery or backups: FIRESTORE_RECOVERY=on adds them."
    return
  fi
  if [[ "${recovery}" != POINT_IN_TIME_RECOVERY_ENABLED ]]; then
    log "turning on point-in-time recovery of ${FIRESTORE_DATABASE}"
    run gcloud firestore databases update \
      --database="${FIRESTORE_DATABASE}" \
      --enable-pitr \
      --project="${PROJECT}"
  fi
  if [[ -z "${schedules}" ]]; then
    schedule_backups
  fi
}

schedule_backups() {
  log "scheduling daily backups of ${FIRESTORE_DATABASE}, kept for a week"
  run gcloud firestore backups schedules create \
    --database="${FIRESTORE_DATABASE}" \
    --recurrence=daily \
    --retention=7d \
    --project="${PROJECT}"
}

# Sets the lifecycle only when it creates the bucket: an existing one may hold files that must not be
# deleted.
ensure_bucket() {
  local lifecycle=()
  if exists gcloud storage buckets describe "gs://${RECORDINGS_BUCKET}" \
    --project="${PROJECT}"; then
    return
  fi
  if [[ -n "${RETENTION_DAYS}" ]]; then
    lifecycle=(--lifecycle-file="${SCRATCH}/lifecycle.json")
    if [[ "${DRY_RUN}" == false ]]; then
      printf '{"rule": [{"action": {"type": "Delete"}, "condition": {"age": %d}}]}\n' \
        "${RETENTION_DAYS}" >"${SCRATCH}/lifecycle.json"
    fi
  fi
  log "creating the bucket ${RECORDINGS_BUCKET}"
  run gcloud storage buckets create "gs://${RECORDINGS_BUCKET}" \
    --location="${REGION}" \
    --uniform-bucket-level-access \
    --public-access-prevention \
    ${lifecycle[@]+"${lifecycle[@]}"} \
    --project="${PROJECT}"
}

ensure_account() {
  local email="$1" description="$2" state
  state="$(
    state_of gcloud iam service-accounts describe "${email}" \
      --project="${PROJECT}" \
      --format='value(email,disabled)'
  )"
  if [[ "${state}" == *True ]]; then
    fail "the service account ${email} is disabled: enable it, \`gcloud iam service-accounts enable ${email} --project=${PROJECT}\`."
  fi
  if [[ -n "${state}" ]]; then
    return
  fi
  log "creating the service account ${email}"
  run gcloud iam service-accounts create "${email%%@*}" \
    --display-name="${description}" \
    --project="${PROJECT}"
}

# Tests what gcloud takes on trust, and what an instance would fail to start without.
require_signer_secret() {
  local state
  if [[ -z "${SIGNER_SECRET}" ]]; then
    return
  fi
  state="$(
    query ENABLED gcloud secrets versions describe "${SIGNER_SECRET#*:}" \
      --secret="${SIGNER_SECRET%:*}" \
      --project="${PROJECT}" \
      --format='value(state)'
  )"
  if [[ "${state}" != ENABLED ]]; then
    fail "version ${SIGNER_SECRET#*:} of the secret ${SIGNER_SECRET%:*} is ${state:-in an unknown state}, not ENABLED."
  fi
}

# These are all permissions of the function: reading the project's documents, reading the bucket's
# recordings, and either signing as itself or reading the secret whose key signs.
grant_runtime_roles() {
  log "granting roles to ${RUNTIME_ACCOUNT}"
  retry gcloud projects add-iam-policy-binding "${PROJECT}" \
    --member="serviceAccount:${RUNTIME_ACCOUNT}" \
    --role=roles/datastore.viewer \
    --condition=None \
    --format=none \
    --project="${PROJECT}"
  retry gcloud storage buckets add-iam-policy-binding "gs://${RECORDINGS_BUCKET}" \
    --member="serviceAccount:${RUNTIME_ACCOUNT}" \
    --role=roles/storage.objectViewer \
    --format=none \
    --project="${PROJECT}"
  if [[ -n "${SIGNER_SECRET}" ]]; then
    retry gcloud secrets add-iam-policy-binding "${SIGNER_SECRET%:*}" \
      --member="serviceAccount:${RUNTIME_ACCOUNT}" \
      --role=roles/secretmanager.secretAccessor \
      --format=none \
      --project="${PROJECT}"
  else
    retry gcloud iam service-accounts add-iam-policy-binding "${RUNTIME_ACCOUNT}" \
      --member="serviceAccount:${RUNTIME_ACCOUNT}" \
      --role=roles/iam.serviceAccountTokenCreator \
      --format=none \
      --project="${PROJECT}"
  fi
}

# gcloud has no stable command for security rules, so ops/firestore_rules.py calls their REST API with
# gcloud's token. A database without rules denies every client too. The upload makes that explicit and
# detects open rules: in the consoles' "test mode", everybody can write API keys.
upload_rules() {
  local token
  local replace=()
  if [[ "${FIRESTORE_RULES}" == keep ]]; then
    return
  fi
  if [[ "${FIRESTORE_RULES}" == replace ]]; then
    replace=(--replace)
  fi
  token="$(
    query TOKEN gcloud auth print-access-token \
      --project="${PROJECT}"
  )"
  if [[ "${DRY_RUN}" == true ]]; then
    echo "(Then firestore.rules is sent to firebaserules.googleapis.com, with that token.)" >&2
    return
  fi
  log "uploading firestore.rules"
  attempt "${API_DISABLED}|${OUTAGE}" aloud send_rules "${token}" ${replace[@]+"${replace[@]}"}
}

send_rules() {
  local token="$1"
  shift
  printf '%s' "${token}" | "${DEPLOY_PYTHON}" -m ops.firestore_rules \
    --project="${PROJECT}" \
    --database="${FIRESTORE_DATABASE}" \
    "$@"
}

prepare_project() {
  enable_apis "$@"
  require_signer_secret
  ensure_database
  ensure_bucket
  ensure_account "${RUNTIME_ACCOUNT}" "Runs ${FUNCTION} in ${REGION}"
  grant_runtime_roles
  upload_rules
}
