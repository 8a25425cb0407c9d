"""A headless Chromium, driven through WebDriver: as little of that protocol as the tests of the live page need."""

import base64
import json
import re
import shutil
import subprocess
import urllib.error
import urllib.request

from conftest import eventually, stop

#: How WebDriver names an element in JSON.
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Browser:
    """One Chromium with one window, and a profile in `folder`."""

    def __init__(self, folder):
        self.log = folder / "chromedriver.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen([shutil.which("chromedriver"), "--port=0"], stdout=log, stderr=log)
        self.session = None
        try:
            port = eventually(lambda: re.search(r"successfully on port (\d+)", self.log.read_text()), "chromedriver listens")
            self.url = f"http://127.0.0.1:{port[1]}"
            options = {
                "binary": shutil.which("chromium"),
                "args": [
                    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                    f"--user-data-dir={folder / 'profile'}",
                ],
            }  # fmt: skip
            wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"performance": "ALL"}}
            made = self.call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
            self.session = f"/session/{made['sessionId']}"
            # The browser's own first page has requests of its own.
            self.open("about:blank")
            self.requests()
        except BaseException:
            self.close()
            raise

    def call(self, method, path, body=None):
        """One command; the value of its answer."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path, data, {"content-type": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {path}: {error.read().decode()[:600]}") from error

    def open(self, url):
        """Loads a page."""
        self.call("POST", f"{self.session}/url", {"url": url})

    def run(self, script, *arguments):
        """The value that a script returns."""
        return self.call("POST", f"{self.session}/execute/sync", {"script": script, "args": list(arguments)})

    def text(self, selector):
        """The text of the first element that fits, empty without one."""
        return self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector)

    def click(self, selector):
        """A click as a user makes it: what is covered or disabled is none."""
        eventually(lambda: self.clicked(selector), f"a click on {selector}")

    def clicked(self, selector):
        """Whether the element was still there when it was clicked: the page may just have drawn it anew."""
        body = {"using": "css selector", "value": selector}
        element = self.call("POST", f"{self.session}/element", body)[ELEMENT]
        try:
            self.call("POST", f"{self.session}/element/{element}/click", {})
        except AssertionError as error:
            if "stale element reference" in str(error):
                return False
            raise
        return True

    def keys(self, text):
        """Presses keys on what has the focus."""
        actions = [{"type": kind, "value": key} for key in text for kind in ("keyDown", "keyUp")]
        body = {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]}
        self.call("POST", f"{self.session}/actions", body)

    def cdp(self, command, **parameters):
        """A command of the browser's own protocol."""
        return self.call("POST", f"{self.session}/goog/cdp/execute", {"cmd": command, "params": parameters})

    def screen(self, width, height=900, scheme="light"):
        """Plays a screen of this size that prefers a colour scheme."""
        self.cdp("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def picture(self, path, whole=True):
        """A picture of the page."""
        shot = self.cdp("Page.captureScreenshot", captureBeyondViewport=whole, format="png")
        path.write_bytes(base64.b64decode(shot["data"]))

    def requests(self):
        """The URL of every request since this was last asked."""
        entries = self.call("POST", f"{self.session}/se/log", {"type": "performance"})
        messages = [json.loads(entry["message"])["message"] for entry in entries]
        return [it["params"]["request"]["url"] for it in messages if it["method"] == "Network.requestWillBeSent"]

    def close(self):
        """Ends the browser and its driver."""
        if self.session:
            self.call("DELETE", self.session)
        stop(self.process)
