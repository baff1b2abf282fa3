"""`deploy.sh edge`: the load balancer before the function, its limits, its certificate, and the way past it."""

import re
import shlex

import pytest

from tests.support.cloud import EVERY_OPTION, SMOKE, After, Cloud, changes, index_of

CERTIFICATE = "get-call-edge-d0c43d"  # of api.example.com
ALONE = "internal-and-cloud-load-balancing"
PARTS = {
    f"compute {kind} get-call-edge"
    for kind in (
        *("addresses", "backend-services", "forwarding-rules", "network-endpoint-groups"),
        *("security-policies", "ssl-policies", "target-https-proxies", "url-maps"),
    )
}


@pytest.fixture
def balanced(after: After) -> Cloud:
    """A project that has the balancer too, which waits for its certificate."""
    return after("function", "edge")


@pytest.fixture
def closed(after: After) -> Cloud:
    """A project in which Google has issued the certificate, and the balancer alone reaches the function."""
    return after("function", "edge", issued(CERTIFICATE), "edge")


def issued(certificate: str) -> str:
    return f"state compute ssl-certificates {certificate} ACTIVE"


def rules(cloud: Cloud) -> dict[str, str]:
    """Return the limit of each rule, by its priority."""
    return dict(
        re.findall(r"^rule get-call-edge (\d+)\t(\d+)$", "\n".join(cloud.resources()), re.MULTILINE)
    )


def ingress(cloud: Cloud) -> str:
    return "".join(
        re.findall(r"^ingress get-call (.*)$", "\n".join(cloud.resources()), re.MULTILINE)
    )


def test_a_first_run_makes_a_balancer_and_says_which_dns_record_is_missing(deployed: Cloud) -> None:
    result = deployed.run("edge")

    assert result.code == 0, result.err
    made = {line.removesuffix(" europe-west1") for line in deployed.resources()}
    assert {f"compute ssl-certificates {CERTIFICATE}", *PARTS} <= made
    assert "The certificate of api.example.com is PROVISIONING." in result.out
    assert "  api.example.com. A 203.0.113.7\n" in result.out
    assert ingress(deployed) == ""


def test_it_speaks_https_alone_with_tls_1_2_at_least(balanced: Cloud) -> None:
    commands = balanced.commands()

    (rule,) = (command for command in commands if "forwarding-rules create" in command)
    assert "--ports=443" in rule.split()
    assert not any("http-proxies" in command for command in commands)
    policy = commands[index_of(commands, "ssl-policies create")]
    assert {"--profile=MODERN", "--min-tls-version=1.2"} <= set(policy.split())
    proxy = commands[index_of(commands, "target-https-proxies create")]
    assert "--ssl-policy=get-call-edge" in proxy.split()


def test_the_limits_are_attached_before_the_first_request_can_come(balanced: Cloud) -> None:
    commands = balanced.commands()

    key = shlex.split(commands[index_of(commands, "rules create 1000 ")])
    address = shlex.split(commands[index_of(commands, "rules create 2000 ")])
    of_both = {"--action=throttle", "--exceed-action=deny-429"}
    of_a_key = {
        "--expression=has(request.headers['authorization'])",
        "--enforce-on-key=http-header",
        "--enforce-on-key-name=authorization",
        "--rate-limit-threshold-count=6000",
        "--rate-limit-threshold-interval-sec=60",
    }
    of_an_address = {
        "--src-ip-ranges=*",
        "--enforce-on-key=ip",
        "--rate-limit-threshold-count=600",
        "--rate-limit-threshold-interval-sec=60",
    }
    assert of_both | of_a_key <= set(key)
    assert of_both | of_an_address <= set(address)
    attached = index_of(commands, "--security-policy=get-call-edge --project")
    assert index_of(commands, "rules create 2000 ") < attached
    assert attached < index_of(commands, "add-backend")


@pytest.mark.parametrize("state", ["balanced", "closed"])
def test_a_second_run_changes_nothing(state: str, request: pytest.FixtureRequest) -> None:
    cloud: Cloud = request.getfixturevalue(state)
    first = cloud.resources()

    second = cloud.succeed("edge")

    assert changes(second) == []
    assert cloud.resources() == first


def test_the_function_s_own_address_is_closed_last_and_once_the_domain_answers(
    balanced: Cloud,
) -> None:
    balanced.add(issued(CERTIFICATE))

    result = balanced.run("edge", **SMOKE)

    assert result.code == 0, result.err
    assert result.out == "smoke https://api.example.com the-key 77\n"
    (closing,) = changes(result.commands)
    assert f"run services update get-call --ingress={ALONE} " in closing
    assert ingress(balanced) == ALONE


def test_a_domain_that_does_not_answer_leaves_the_own_address_open(balanced: Cloud) -> None:
    balanced.add(issued(CERTIFICATE))

    result = balanced.run("edge", **SMOKE, BROKEN_URL="https://api.example.com")

    assert result.code != 0
    assert ingress(balanced) == ""


def test_a_deployment_keeps_the_address_closed_and_is_tested_through_the_domain(
    deployed: Cloud, closed: Cloud
) -> None:
    open_ = deployed.commands()
    assert "--ingress-settings=all " in open_[index_of(open_, "functions deploy")]

    result = closed.run("function", **SMOKE)

    assert result.code == 0, result.err
    assert result.out == "smoke https://api.example.com the-key 77\n"
    deploy = result.commands[index_of(result.commands, "functions deploy get-call ")]
    assert "--ingress-settings=internal-and-gclb " in deploy
    assert ingress(closed) == ALONE


def test_a_canary_behind_the_balancer_is_tested_through_the_domain_alone(closed: Cloud) -> None:
    """The tag's address is as closed as the function's own."""
    result = closed.run("canary", **SMOKE)

    assert result.code == 0, result.err
    assert result.out == "smoke https://api.example.com the-key 77\n" * 5
    assert not any("--update-tags" in command for command in result.commands)
    assert index_of(result.commands, "get-call-1=90") < index_of(result.commands, "-2=100")


@pytest.mark.parametrize("command", ["function", "canary"])
def test_a_closed_function_is_deployed_by_who_says_its_domain(command: str, closed: Cloud) -> None:
    result = closed.run(command, **SMOKE | {"DOMAIN": ""})

    assert result.code == 1
    assert result.err.splitlines()[-1] == (
        "deploy.sh: DOMAIN is required: get-call takes requests from the load balancer alone."
    )
    assert changes(result.commands) == []


def test_a_certificate_that_google_has_given_up_is_a_failure(deployed: Cloud) -> None:
    """To run it again would wait for ever."""
    deployed.add(f"state compute ssl-certificates {CERTIFICATE} PROVISIONING_FAILED_PERMANENTLY")

    result = deployed.run("edge")

    assert result.code == 1
    assert f"or delete {CERTIFICATE} and run this again." in result.err
    assert ingress(deployed) == ""


def test_a_region_is_deleted_where_the_balancer_went_before(balanced: Cloud) -> None:
    resources = (balanced.home / "resources").read_text().splitlines(keepends=True)
    left = [line for line in resources if not line.startswith("compute backend-services")]
    (balanced.home / "resources").write_text("".join(left))

    balanced.succeed("delete")

    assert not any("network-endpoint-groups" in line for line in balanced.resources())


def test_the_gateway_s_function_stays_open_to_the_gateway(closed: Cloud) -> None:
    commands = closed.succeed("gateway")

    deploy = commands[index_of(commands, "functions deploy get-call-private ")]
    assert "--ingress-settings=all " in deploy


def test_the_site_needs_the_address_that_is_closed(closed: Cloud) -> None:
    refused = closed.run("site")
    closed.succeed("edge", INGRESS="all")
    closed.succeed("site")

    assert refused.code == 1
    assert "INGRESS=all ./deploy.sh edge, with its other settings, opens it" in refused.err
    assert len(refused.err.splitlines()) == 1
    assert ingress(closed) == "all"


def test_a_changed_figure_changes_its_rule_alone(balanced: Cloud) -> None:
    commands = balanced.succeed("edge", KEY_REQUESTS_PER_MINUTE="1200")

    (change,) = changes(commands)
    assert "security-policies rules update 1000 " in change
    assert rules(balanced) == {"1000": "1200", "2000": "600"}


def test_keys_can_be_counted_with_everybody_else(balanced: Cloud) -> None:
    """Against somebody who invents a key for each request: the first rule that matches is the only one."""
    balanced.succeed("edge", KEY_REQUESTS_PER_MINUTE="0", ADDRESS_REQUESTS_PER_MINUTE="6000")
    assert rules(balanced) == {"2000": "6000"}

    balanced.succeed("edge")
    assert rules(balanced) == {"1000": "6000", "2000": "600"}


def test_another_region_joins_the_balancer(balanced: Cloud) -> None:
    commands = balanced.succeed("edge", REGION="asia-south1")

    assert [shlex.split(command)[2:5] for command in changes(commands)] == [
        ["network-endpoint-groups", "create", "get-call-edge"],
        ["backend-services", "add-backend", "get-call-edge"],
    ]
    regions = re.findall(
        r"^backend get-call-edge .*/regions/([^/]+)/", "\n".join(balanced.resources()), re.MULTILINE
    )
    assert sorted(regions) == ["asia-south1", "europe-west1"]


def test_a_new_domain_is_served_beside_the_old_one_until_it_has_a_certificate(
    closed: Cloud,
) -> None:
    closed.succeed("edge", DOMAIN="calls.example.com")
    (both,) = (line for line in closed.resources() if line.startswith("certificates "))
    new = both.split(",")[1]
    closed.add(issued(new))
    closed.succeed("edge", DOMAIN="calls.example.com")

    assert both == f"certificates get-call-edge {CERTIFICATE},{new}"
    assert f"certificates get-call-edge {new}" in closed.resources()
    assert f"compute ssl-certificates {CERTIFICATE}" not in closed.resources()


def test_a_dry_run_shows_a_run_with_a_certificate(cloud: Cloud) -> None:
    lines = cloud.run("edge", "--dry-run").out.splitlines()

    assert f"--ingress={ALONE} " in lines[-1]
    assert "--ingress=all " in cloud.run("edge", "--dry-run", **EVERY_OPTION).out


# What the other commands do with it


def test_status_shows_the_balancer(balanced: Cloud) -> None:
    result = balanced.run("status")

    assert "\nedge:\nstate: ACTIVE\n" in result.out
    asked = "\n".join(result.commands)
    for part in ("address", "managed.status", "managed.domains", "backends", "rateLimitThreshold"):
        assert part in asked


def test_delete_removes_the_balancer_from_the_outside_in(after: After) -> None:
    cloud = after("function", "edge", "delete")
    commands = cloud.commands()

    assert not [line for line in cloud.resources() if " get-call-edge" in line]
    removed = [shlex.split(c)[2:4] for c in commands if re.search("compute .* (delete|remove)", c)]
    assert [" ".join(words) for words in removed] == [
        *("backend-services remove-backend", "network-endpoint-groups delete"),
        *("forwarding-rules delete", "target-https-proxies delete", "ssl-certificates delete"),
        *("ssl-policies delete", "url-maps delete", "backend-services delete"),
        *("security-policies delete", "addresses delete"),
    ]
    assert index_of(commands, "remove-backend") < index_of(commands, "functions delete get-call ")


def test_delete_leaves_the_balancer_to_another_region(balanced: Cloud) -> None:
    balanced.succeed("edge", REGION="asia-south1")
    balanced.add("functions projects/my-project/locations/asia-south1/functions/get-call")

    balanced.succeed("delete")

    left = balanced.resources()
    assert "compute network-endpoint-groups get-call-edge asia-south1" in left
    assert "compute network-endpoint-groups get-call-edge europe-west1" not in left
    assert "compute forwarding-rules get-call-edge" in left
    assert len([line for line in left if line.startswith("backend get-call-edge ")]) == 1
