# What the runtime account of REGION is granted, and was granted for settings that have changed since.

# shellcheck shell=bash

# Names the grants that only earlier revisions need. Nothing is taken back here: a rollback needs them, and so,
# for an hour, do the links that are out.
name_old_grants() {
  local name read needed='' earlier='' resource
  for name in "${FUNCTION}" "${PRIVATE_FUNCTION}"; do
    read="$(read_by_revisions "${name}")"
    needed+="$(awk 'NR == 1' <<<"${read}") "
    earlier+="$(awk 'NR > 1' <<<"${read}")"$'\n'
  done
  for resource in $(tr ' ' '\n' <<<"${earlier}" | sort -u); do
    if [[ " ${needed} " != *" ${resource} "* ]]; then
      for_grant name_command "${resource}"
    fi
  done
}

# Prints what each revision of a function reads, the newest first: its bucket as gs://…, and either the secret
# that signs links or `itself`, which signs in its place.
read_by_revisions() {
  query 'gs://RECORDINGS-BUCKET SIGNER-SECRET' gcloud run revisions list \
    --service="$1" \
    --region="${REGION}" \
    --project="${PROJECT}" \
    --sort-by='~metadata.creationTimestamp' \
    --format='value[separator="|"](spec.containers[0].env,spec.volumes[].secret.secretName)' |
    sed -n -e "s/.*'RECORDINGS_BUCKET', 'value': '\([^']*\)'.*|/gs:\/\/\1 /" -e 's/ $/ itself/' -e '/^gs:/p'
}

# for_grant ACTION RESOURCE calls an action with the command that takes the grant back, if there is the grant.
for_grant() {
  local action="$1" group name="$2" role member="serviceAccount:${RUNTIME_ACCOUNT}" granted
  case "${name}" in
    gs://*) group='storage buckets' role=roles/storage.objectViewer ;;
    itself) group='iam service-accounts' name="${RUNTIME_ACCOUNT}" role=roles/iam.serviceAccountTokenCreator ;;
    *) group=secrets role=roles/secretmanager.secretAccessor ;;
  esac
  # shellcheck disable=SC2086
  granted="$(
    state_of gcloud ${group} get-iam-policy "${name}" \
      --flatten='bindings[].members' \
      --format='value(bindings.role,bindings.members)' \
      --project="${PROJECT}"
  )"
  if [[ "${DRY_RUN}" == true || $'\n'"${granted}"$'\n' == *$'\n'"${role}"$'\t'"${member}"$'\n'* ]]; then
    # shellcheck disable=SC2086
    "${action}" gcloud ${group} remove-iam-policy-binding "${name}" \
      --member="${member}" \
      --role="${role}" \
      --format=none \
      --project="${PROJECT}"
  fi
}

name_command() {
  log "Only earlier revisions need a grant. When none of them is to serve again:"
  log "  $*"
}

# Takes back what both functions of the region were granted, by this deployment or an earlier one, outside of
# the account itself, which is deleted.
take_grants_back() {
  local name read='' resource
  for name in "${FUNCTION}" "${PRIVATE_FUNCTION}"; do
    read+=" $(read_by_revisions "${name}")"
  done
  for resource in $(tr ' ' '\n' <<<"${read}" | sort -u); do
    if [[ "${resource}" != itself ]]; then
      for_grant run "${resource}"
    fi
  done
}
