# usage: ./deploy.sh rollback [REVISION] [--dry-run]
# summary: give all traffic to an earlier revision
#
# Gives all traffic of the function to REVISION, which must be ready. Without REVISION, it takes the
# newest ready revision that is older than the serving one, has another image, and was not rejected by a
# canary; where a canary was interrupted, the one with the larger share. Running it again goes back one
# more revision. FUNCTION=get-call-private rolls back the function behind the gateway. The next deployment
# takes all traffic again.
#
# PROJECT and REGION are required.

# shellcheck shell=bash

source ops/deploy/traffic.sh

run_rollback() {
  local REVISION="${1:-}"
  require_arguments rollback 1 "$@"
  if [[ -n "${REVISION}" ]]; then
    require_form_of_revision "${REVISION}"
    require_gcloud
    require_ready_revision "${REVISION}"
  else
    require_gcloud
    REVISION="$(find_previous_revision)"
  fi
  log "giving all traffic of ${FUNCTION} to ${REVISION}"
  move_traffic --to-revisions="${REVISION}=100"
}

# In the C locale, [a-z] is ASCII; in others it can match accented letters.
require_form_of_revision() {
  local LC_ALL=C
  if [[ ! "$1" =~ ^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$ ]]; then
    fail "REVISION is malformed: $(printf '%q' "$1") is not up to 63 lower-case letters, digits and hyphens, such as ${FUNCTION}-00007-abc."
  fi
}

# list_revisions PLACEHOLDER prints name, readiness and image of each revision, newest first. Cloud Run
# lists the condition Ready first.
list_revisions() {
  query "$1" gcloud run revisions list \
    --service="${FUNCTION}" \
    --region="${REGION}" \
    --project="${PROJECT}" \
    --sort-by='~metadata.creationTimestamp' \
    --format='value(metadata.name,status.conditions[0].status,spec.containers[0].image)'
}

# Stops unless the revision belongs to the function and is ready.
require_ready_revision() {
  local revisions ready
  revisions="$(list_revisions "$1"$'\tTrue\tOLD')"
  ready="$(awk -F '\t' -v name="$1" '$1 == name { print $2 }' <<<"${revisions}")"
  if [[ -z "${ready}" ]]; then
    fail "there is no revision $1 of ${FUNCTION} in ${REGION}."
  fi
  if [[ "${ready}" != True ]]; then
    fail "the revision $1 is not ready, so it cannot take the traffic."
  fi
}

# Prints the newest ready revision that is older than the serving one and has another image. A
# revision of the same image only differs in a setting: its code is the one to get away from. One that a
# canary has rejected is tagged so, and passed over. Where a canary was interrupted, it is the one that
# still has the larger share.
find_previous_revision() {
  local traffic serving rejected revisions previous
  traffic="$(list_traffic $'100\tSERVING')" || return
  serving="$(serving_revision <<<"${traffic}")"
  if [[ "$(awk -F '\t' '$1 > 0' <<<"${traffic}" | wc -l)" -gt 1 ]]; then
    printf '%s\n' "${serving}"
    return
  fi
  rejected="$(awk -F '\t' '$4 ~ /^rejected-/ { printf "%s,", $2 }' <<<"${traffic}")"
  revisions="$(list_revisions $'SERVING\tTrue\tNEW\nPREVIOUS-REVISION\tTrue\tOLD')" || return
  previous="$(
    awk -F '\t' -v serving="${serving}" -v rejected=",${rejected}" \
      'older && $2 == "True" && $3 != image && !index(rejected, "," $1 ",") { print $1; exit }
       $1 == serving { older = 1; image = $3 }' <<<"${revisions}"
  )"
  if [[ -z "${previous}" ]]; then
    fail "there is no ready revision of ${FUNCTION} that is older than ${serving}, which serves, and has another image."
  fi
  printf '%s\n' "${previous}"
}
