# These environment variables are required:
#
#   PROJECT            the project's ID; GOOGLE_CLOUD_PROJECT is read if it is unset
#   REGION             where the function runs; run again with another for a second region
#                      (not for alerts)
#   RECORDINGS_BUCKET  the bucket of the recordings (for function and gateway)
#
# and these are optional, with their defaults:
#
#   GATEWAY_REGION        where the gateway runs, as not every region has API Gateway    (REGION)
#   FUNCTION              the function's name, from which all others are made    (get-call)
#   FIRESTORE_DATABASE    the database                                           ((default))
#   FIRESTORE_LOCATION    where the database is created, if it is missing        (REGION)
#   FIRESTORE_RULES       keep or replace security rules that differ from firestore.rules
#                                                                                (stop and ask)
#   RETENTION_DAYS        a bucket created here deletes recordings after so many (never)
#   SIGNER_SECRET         the secret in Secret Manager that holds a service account's key file,
#                         which then signs the links                             (IAM signs)
#   BUILD_ACCOUNT         the service account that builds, where the project's default may not
#   MIN_INSTANCES         kept warm, and paid for                                (0)
#   MAX_INSTANCES         no more than these                                     (20)
#   CONCURRENCY           requests that one instance answers at a time, up to 100 (80)
#   CPU, MEMORY           of an instance                                         (1, 512Mi)
#   LOG_LEVEL             the least severity that is logged                      (INFO)
#   ALLOWED_ORIGINS       origins that browsers may call from, separated by commas: https://host[:port],
#                         and those of development and of apps (docs/deploy.md)  (none)
#   NOTIFICATION_CHANNELS the channels that alerts notify, separated by commas (alerts)
#                                                                                (unchanged)
#   SMOKE_KEY, SMOKE_CALL an API key and a call of its org: with both, a deployment ends with the
#                         smoke test, otherwise with the command that runs it

# Other files read these variables.
# shellcheck shell=bash disable=SC2034

# The function's settings that are passed on as they are. call_api/settings.py has their defaults and says
# what they may be.
readonly FUNCTION_SETTINGS=(RECORDINGS_BUCKET FIRESTORE_DATABASE LOG_LEVEL ALLOWED_ORIGINS)
readonly SIGNER_KEY_FILE=/secrets/signer/key.json # where the function finds SIGNER_SECRET

# require_set VARIABLE DESCRIPTION
require_set() {
  local name="$1" what="$2"
  if [[ -z "${!name:-}" ]]; then
    fail "${name} is required: ${what}."
  fi
}

# require_form VARIABLE REGEX DESCRIPTION
#
# In the C locale, [a-z] is ASCII; in others it can match accented letters.
require_form() {
  local LC_ALL=C name="$1" form="$2" what="$3"
  if [[ ! "${!name}" =~ ${form} ]]; then
    fail "${name} is malformed: ${what}."
  fi
}

require_project() {
  PROJECT="${PROJECT:-${GOOGLE_CLOUD_PROJECT:-}}"
  require_set PROJECT "the ID of the Google Cloud project"
  FUNCTION="${FUNCTION:-get-call}"
  # Service accounts are named after it, and their names are at most 30 characters long.
  require_form FUNCTION '^[a-z][a-z0-9-]{0,20}[a-z0-9]$' "2 to 22 lower-case letters, digits and hyphens"
  # No number, from which no account's address could be made. gcloud knows whether there is such a project.
  require_form PROJECT '^([0-9][0-9.-]*)?[a-z][a-z0-9.:-]*$' "a project's ID"
  readonly PROJECT FUNCTION
  readonly PRIVATE_FUNCTION="${FUNCTION}-private"
  readonly RUNTIME_ACCOUNT="${FUNCTION}-runtime@${PROJECT}.iam.gserviceaccount.com"
  readonly GATEWAY_ACCOUNT="${FUNCTION}-gateway@${PROJECT}.iam.gserviceaccount.com"
}

# Only `rollback` takes the name of the private function: the other commands derive it.
refuse_private_function() {
  if [[ "${FUNCTION}" == *-private ]]; then
    fail "FUNCTION is malformed: ${FUNCTION} is the name of the function behind the gateway."
  fi
}

require_region() {
  require_set REGION "the region to deploy to, such as europe-west1"
  GATEWAY_REGION="${GATEWAY_REGION:-${REGION}}"
  require_form REGION '^[a-z][a-z0-9-]+$' "a region, such as europe-west1"
  require_form GATEWAY_REGION '^[a-z][a-z0-9-]+$' "a region, such as europe-west1"
  readonly REGION GATEWAY_REGION
}

require_function_settings() {
  local name
  require_set RECORDINGS_BUCKET "the name of the bucket that holds the recordings"
  RECORDINGS_BUCKET="${RECORDINGS_BUCKET#gs://}"
  RECORDINGS_BUCKET="${RECORDINGS_BUCKET%/}"
  FIRESTORE_DATABASE="${FIRESTORE_DATABASE:-(default)}"
  FIRESTORE_LOCATION="${FIRESTORE_LOCATION:-${REGION}}"
  FIRESTORE_RULES="${FIRESTORE_RULES:-}"
  RETENTION_DAYS="${RETENTION_DAYS:-}"
  SIGNER_SECRET="${SIGNER_SECRET:-}"
  CONCURRENCY="${CONCURRENCY:-80}"
  require_form FIRESTORE_RULES '^(keep|replace)?$' "keep or replace"
  require_form RETENTION_DAYS '^([1-9][0-9]*)?$' "a number of days"
  require_form SIGNER_SECRET '^[A-Za-z0-9_-]*$' "a secret's name, without a version"
  require_form CONCURRENCY '^([1-9][0-9]?|100)$' \
    "1 to 100, as an instance answers at most 100 calls at a time"
  FUNCTION_ENVIRONMENT=("GOOGLE_CLOUD_PROJECT=${PROJECT}")
  for name in "${FUNCTION_SETTINGS[@]}"; do
    if [[ -n "${!name:-}" ]]; then
      require_form "${name}" '^[^;[:cntrl:]]*$' \
        "a setting holds no control character, and no semicolon, which separates settings"
      FUNCTION_ENVIRONMENT+=("${name}=${!name}")
    fi
  done
  if [[ -n "${SIGNER_SECRET}" ]]; then
    FUNCTION_ENVIRONMENT+=("RECORDING_SIGNER_KEY_FILE=${SIGNER_KEY_FILE}")
  fi
  readonly RECORDINGS_BUCKET FIRESTORE_DATABASE FIRESTORE_LOCATION FIRESTORE_RULES RETENTION_DAYS
  readonly SIGNER_SECRET CONCURRENCY FUNCTION_ENVIRONMENT
}

# Lets the function judge the environment that it would start in. Where its packages are missing, a dry
# run, which installs nothing, says so and goes on.
check_function_environment() {
  local faults
  if [[ "${DRY_RUN}" == true ]] && ! "${DEPLOY_PYTHON}" -c 'import call_api.settings' 2>/dev/null; then
    echo "(The settings of the function are not checked: run \`make install\` first.)" >&2
    return
  fi
  if ! faults="$(
    env -i PATH="${PATH}" "${FUNCTION_ENVIRONMENT[@]}" \
      "${DEPLOY_PYTHON}" -m call_api.settings --check 2>&1
  )"; then
    sed -e 's/^GOOGLE_CLOUD_PROJECT /PROJECT /' -e 's/^/deploy.sh: /' <<<"${faults}" >&2
    exit 1
  fi
}
