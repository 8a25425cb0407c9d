"""The live page: who gets it, and what a browser shows and does with it."""

import datetime
import json
import os
import pathlib
import shutil
import urllib.error
import urllib.request

import pytest
from conftest import SEEDED_ROLE_ARN, eventually
from up import APPLICATION, SIDECAR, Up, definition, namespaces, online
from webdriver import Browser

pytestmark = pytest.mark.xdist_group("page")

ACCEPT = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


def get(url, headers=None):
    """Status, type and text of an answer."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers or {}), timeout=10) as answer:
            return answer.status, answer.headers["content-type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers["content-type"], error.read().decode()


def test_a_browser_gets_the_page_and_a_client_the_api(server):
    status, kind, text = get(server + "/", ACCEPT)
    assert (status, kind) == (200, "text/html; charset=utf-8") and 'id="charts"' in text
    status, kind, text = get(server + "/")
    assert (status, kind) == (404, "application/json"), text


def test_what_leads_nowhere_is_said_in_the_language_of_who_asks(server):
    status, kind, text = get(server + "/nothing/%3Cb%3E", ACCEPT)
    assert (status, kind) == (404, "text/html; charset=utf-8") and "Not found" in text and "<b>" not in text
    status, kind, text = get(server + "/nothing")
    assert (status, kind) == (404, "application/json") and "there is no GET /nothing here" in text


def test_metrics_are_there_for_prometheus(server):
    status, kind, text = get(server + "/metrics")
    assert status == 200 and kind.startswith("text/plain; version=0.0.4")
    assert 'taskfault_sidecars{status="Online"}' in text


def test_nothing_is_changed_without_the_token(server):
    for headers in ({}, {"x-taskfault-token": "0" * 32}, {"x-taskfault-token": ""}):
        request = urllib.request.Request(
            f"{server}/_taskfault/live/start", b'{"template": "EXT1"}', {"content-type": "application/json"} | headers
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=10)
        assert refused.value.code == 403, headers


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    for program in ("chromium", "chromedriver"):
        if not shutil.which(program):
            if os.environ.get("CI"):
                pytest.fail(f"there is no {program}")
            pytest.skip(f"there is no {program}")
    started = Browser(tmp_path_factory.mktemp("browser"))
    yield started
    started.close()


# Its lines go to a log group that the driver makes.
LOGGED = SIDECAR | {
    "logConfiguration": {
        "logDriver": "awslogs",
        "options": {"awslogs-group": "/ecs/web", "awslogs-stream-prefix": "p", "awslogs-create-group": "true"},
    }
}


@pytest.fixture(scope="module")
def up(sidecar_binary, tmp_path_factory):
    namespaces()
    started = Up(
        tmp_path_factory.mktemp("page"), definition("web", APPLICATION, LOGGED), "--speed", "15", "--publish", "0:80",
        "--publish", "0:81", "--health-check-interval", "300", cluster="blue",
    )
    yield started
    assert started.close() == 0


def page(up):
    """The address that `up` has printed."""
    return up.line("live page: ").split()[-1]


@pytest.fixture(scope="module")
def template(up, session):
    """A CPU stress on one of the three tasks, for five minutes: 20 s here."""
    online(session.client("ssm", endpoint_url=up.url), 3)
    made = session.client("fis", endpoint_url=up.url).create_experiment_template(
        description="Stress <one> task",
        roleArn=SEEDED_ROLE_ARN,
        stopConditions=[{"source": "none"}],
        targets={
            "Tasks": {
                "resourceType": "aws:ecs:task", "selectionMode": "COUNT(1)",
                "parameters": {"cluster": "blue", "service": "web"},
            }
        },
        actions={
            "StressCpu": {
                "actionId": "aws:ecs:task-cpu-stress", "targets": {"Tasks": "Tasks"},
                "parameters": {"duration": "PT5M", "percent": "50"},
            }
        },
    )  # fmt: skip
    return made["experimentTemplate"]["id"]


@pytest.mark.sidecar
def test_an_experiment_is_watched_and_steered_in_a_browser(up, template, browser, tmp_path):
    pictures = pathlib.Path(os.environ.get("TASKFAULT_PICTURES", tmp_path))
    browser.screen(1280)
    # Who has only the address may look.
    browser.open(up.url + "/")
    start, stop = f'[data-start="{template}"]', "[data-stop]"
    eventually(lambda: "3 of 3 running" in browser.text("#now"), "three tasks run")
    eventually(lambda: browser.text(start) == "Start", "the template is there")
    assert browser.run("return document.querySelector(arguments[0]).disabled", start) is True
    assert browser.text("#link") == "live"

    browser.open(page(up))
    eventually(lambda: browser.run("return document.querySelector(arguments[0])?.disabled", start) is False, "a token")
    assert "token" not in browser.run("return location.href"), "it does not stay where others may read it"
    browser.click(start)
    running = "Stress <one> task"
    eventually(lambda: running in browser.text("#now .running") and browser.text(".countdown"), "the experiment runs")
    counted = browser.text(".countdown")
    eventually(lambda: browser.text(".countdown") != counted, "the countdown goes on")

    # The chart of the CPU moves, and shows the stress.
    line = "return [...document.querySelectorAll('[aria-labelledby=cpu] polyline')].map(it => it.getAttribute('points'))"
    before = eventually(lambda: browser.run(line), "a chart is there")
    eventually(lambda: browser.run(line) != before, "the chart moves")
    eventually(lambda: "CPU-Stress" in browser.text(".task.chosen"), "the task says what is live in it")
    eventually(lambda: browser.run("return !!document.querySelector('#charts .shade')"), "the action is shaded")
    browser.picture(pictures / "running-1280.png")

    # The log of a container stays open while the page goes on.
    browser.click(".task.chosen details:nth-of-type(2) summary")
    log = ".task.chosen details[open] pre"
    eventually(lambda: "mi-" in browser.text(log), "the log of the sidecar")

    # It asks once more, and Escape means no.
    browser.click(stop)
    assert "Stop the experiment?" in browser.text("dialog")
    browser.keys("\ue00c")
    eventually(lambda: not browser.run("return document.querySelector('dialog').open"), "the question is gone")
    assert browser.text(stop) == "Stop"
    browser.click(stop)
    browser.click("#ask-yes")
    eventually(lambda: "stopped" in browser.text("#experiments h3"), "the experiment is stopped")
    assert "is being stopped" in browser.text("#answer")

    urls = browser.requests()
    assert any("/_taskfault/live/stream" in url for url in urls)
    elsewhere = [url for url in urls if not url.startswith((up.url + "/", "data:,", "about:"))]
    assert not elsewhere, elsewhere

    browser.run("document.querySelectorAll('details').forEach(it => it.open = true)")
    grounds = set()
    for width in (380, 800, 1280, 2560):
        for scheme in ("light", "dark"):
            browser.screen(width, scheme=scheme)
            assert browser.run("return document.documentElement.scrollWidth") <= width, (width, scheme)
            grounds.add(browser.run("return getComputedStyle(document.body).backgroundColor"))
            browser.picture(pictures / f"after-{width}-{scheme}.png")
    assert len(grounds) == 2, "light and dark"


@pytest.mark.sidecar
def test_what_comes_by_a_published_port_is_drawn_and_a_failure_is_one(up, template, browser):
    """Nothing listens on port 81: each request has one task, and no other is asked in its place."""
    open_port, closed_port = (
        line.split()[0] for line in up.said.read_text().splitlines() if " leads to " in line
    )
    for _ in range(3):
        assert get(open_port + "/")[0] == 200
        status, kind, text = get(closed_port + "/")
        assert (status, kind) == (502, "text/html") and "refused" in text

    def counted():
        lines = get(up.url + "/metrics")[2].splitlines()
        return {it.rpartition(" ")[0]: float(it.rpartition(" ")[2]) for it in lines if it.startswith("taskfault_requests")}

    wanted = {"taskfault_requests_answered_total": 3, 'taskfault_requests_failed_total{kind="refused"}': 3}
    eventually(lambda: counted() == wanted, "each request is counted once")
    browser.screen(1280)
    browser.open("about:blank")
    browser.open(up.url + "/?span=all")
    eventually(lambda: "refused 3" in browser.text("[aria-labelledby=requests]"), "failures are told by kind")
    assert browser.run("return document.querySelectorAll('[aria-labelledby=times] polyline').length") > 0


@pytest.mark.sidecar
def test_the_page_has_a_name_for_everything_that_one_can_use(up, template, browser):
    browser.screen(1280)
    browser.open("about:blank")
    browser.open(page(up))
    eventually(lambda: browser.text(f'[data-start="{template}"]'), "the page is there")
    nodes = browser.cdp("Accessibility.getFullAXTree")["nodes"]
    used = [it for it in nodes if it["role"]["value"] in ("button", "link", "image", "region") and not it["ignored"]]
    assert len(used) > 10
    nameless = [it for it in used if not it.get("name", {}).get("value")]
    assert not nameless, json.dumps(nameless)[:2000]
    # Everything is reached by the keyboard, in the order of the page.
    reached = set()
    for _ in range(25):
        browser.keys("\ue004")
        reached.add(browser.run("const it = document.activeElement; return it.id || it.innerText.trim()"))
    assert {"Skip to the charts", "Last minute", "All"} <= reached, reached


@pytest.mark.sidecar
def test_what_up_sees_is_in_cloudwatch_and_what_containers_say_in_logs(up, session):
    cloudwatch, logs = (session.client(it, endpoint_url=up.url) for it in ("cloudwatch", "logs"))
    ecs = session.client("ecs", endpoint_url=up.url)
    said = up.line("its metrics: LoadBalancer ")
    balancer, group = said.split("LoadBalancer ")[1].split(", TargetGroup ")
    url = up.published()
    asked = 0

    def ask():
        nonlocal asked
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                asked += answer.status == 200
        except urllib.error.HTTPError:
            pass
        return asked >= 20

    eventually(ask, "twenty answers")

    def statistic(namespace, name, stat, **dimensions):
        """A statistic of all that was seen."""
        at = datetime.datetime.now(datetime.UTC)
        (result,) = cloudwatch.get_metric_data(
            MetricDataQueries=[{
                "Id": "m",
                "MetricStat": {
                    "Metric": {
                        "Namespace": namespace, "MetricName": name,
                        "Dimensions": [{"Name": it, "Value": value} for it, value in dimensions.items()],
                    },
                    "Period": 3600, "Stat": stat,
                },
            }],
            StartTime=at - datetime.timedelta(hours=2), EndTime=at + datetime.timedelta(hours=1),
        )["MetricDataResults"]  # fmt: skip
        return max(result["Values"], default=0)

    at_balancer = {"LoadBalancer": balancer, "TargetGroup": group}
    seen = lambda name, stat, **of: statistic("AWS/ApplicationELB", name, stat, **(of or at_balancer))
    eventually(lambda: seen("RequestCount", "Sum") >= asked, "the requests are counted")
    assert seen("HTTPCode_Target_2XX_Count", "Sum", LoadBalancer=balancer) >= asked
    assert 0 < seen("TargetResponseTime", "p50") <= seen("TargetResponseTime", "p99") < 10
    eventually(lambda: seen("HealthyHostCount", "Maximum") == 3, "three targets pass their health checks")

    service = {"ClusterName": "blue", "ServiceName": "web"}
    for name in ("CPUUtilization", "MemoryUtilization"):
        assert statistic("AWS/ECS", name, "Average", **service) > 0, name
    (task, *_) = ecs.list_tasks(cluster="blue", serviceName="web")["taskArns"]
    of_task = {"ClusterName": "blue", "TaskDefinitionFamily": "web", "TaskId": task.split("/")[-1]}
    # A program of Rust and a sidecar hold more than a megabyte, and less than the task's 128.
    held = lambda: statistic("ECS/ContainerInsights", "MemoryUtilized", "Average", **of_task)
    assert 1 < eventually(held, "the task's memory") < 128
    names = {it["MetricName"] for page in cloudwatch.get_paginator("list_metrics").paginate() for it in page["Metrics"]}
    assert {"CpuReserved", "TaskMemoryUtilization", "RequestCount", "HealthyHostCount"} <= names
    record = up.record()
    assert record["memory"][0]["limit_mib"] == 128 and record["memory"][0]["samples"][-1]["mib"] > 1

    streams = {"logGroupName": "/ecs/web", "logStreamNamePrefix": f"p/taskfault/{task.split('/')[-1]}"}
    lines = eventually(lambda: logs.filter_log_events(**streams)["events"], "the sidecar's lines")
    assert all(it["message"].strip() for it in lines)
