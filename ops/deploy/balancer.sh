# The load balancer of the command edge, which every command that deploys, `site`, `status` and `delete` meet too.
#
# All regions share one. Every part of it is called EDGE, except the certificates: those have EDGE and a
# hash of their domain. Each region adds a network endpoint group (NEG), which stands for its function.

# Other files read BALANCER_ALONE.
# shellcheck shell=bash disable=SC2034

# Cloud Run's name for "internal and Cloud Load Balancing": the internet reaches the function through the
# balancer alone.
readonly BALANCER_ALONE=internal-and-cloud-load-balancing

# ingress_of NAME prints from where a function takes requests, in Cloud Run's words; nothing if there is no
# such function, and in a dry run.
ingress_of() {
  local described
  described="$(
    state_of gcloud run services describe "$1" \
      --region="${REGION}" \
      --project="${PROJECT}" \
      --format='value(metadata.name,metadata.annotations["run.googleapis.com/ingress"])'
  )" || return
  if [[ -n "${described}" ]]; then
    described="${described#*$'\t'}"
    printf '%s\n' "${described:-all}"
  fi
}

# Prints where the function takes requests from the internet: its own address, or DOMAIN where `edge` has
# closed that.
public_address() {
  local open_to
  open_to="$(ingress_of "${FUNCTION}")" || return
  if [[ "${open_to}" != "${BALANCER_ALONE}" ]]; then
    address_of "${FUNCTION}"
  else
    printf 'https://%s\n' "${DOMAIN}"
  fi
}

# list_certificates PLACEHOLDER FORMAT prints the certificates of the balancer.
list_certificates() {
  query "$1" gcloud compute ssl-certificates list \
    --global \
    --project="${PROJECT}" \
    --filter="name~^${EDGE}-[0-9a-f]{6}$" \
    --format="$2"
}

# Prints the addresses of the NEGs that the balancer sends requests to; each contains its region.
list_backends() {
  state_of gcloud compute backend-services describe "${EDGE}" \
    --global \
    --flatten=backends \
    --project="${PROJECT}" \
    --format='value(backends.group)'
}
