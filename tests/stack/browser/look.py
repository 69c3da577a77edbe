"""Open pages in a browser, wait for their words, and take pictures. Reads the pages, and files to write before, as JSON, and prints what it saw of each as JSON.

A page without an address is the one that the steps before led to. A step fills fields by their CSS selectors, and presses a link or
a button by its words.

Runs on a client with Debian's Chromium and Selenium.
"""

import json
import sys
import time
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.ui import WebDriverWait

#: Seconds to wait for the words of a page.
PATIENCE = 90
given = json.load(sys.stdin)
for path, text in given.get("files", {}).items():
    Path(path).write_text(text, encoding="utf-8")
options = Options()
for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--window-size=1440,1000", "--lang=en-US"):
    options.add_argument(argument)
options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
driver = webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)
driver.set_page_load_timeout(PATIENCE)
seen = []


def find(way, what):
    """Return the element as soon as it is there and shown."""

    def shown(_driver):
        return next((one for one in driver.find_elements(way, what) if one.is_displayed()), None)

    return WebDriverWait(driver, PATIENCE).until(shown, f"{what} is not on the page {driver.current_url}: {text}")


try:
    if given.get("login"):
        driver.execute_cdp_cmd("Network.enable", {})
        driver.get(given["login"])
    for page in given["pages"]:
        if page.get("url"):
            driver.get("about:blank")
            driver.get_log("browser")
            driver.get(page["url"])
        deadline, missing = time.monotonic() + PATIENCE, ["the page"]
        while missing and time.monotonic() < deadline:
            time.sleep(0.5)
            text = driver.execute_script("return document.body ? document.body.innerText : ''")
            missing = [word for word in page["words"] if word not in text]
            if page.get("shows") and not driver.execute_script("return document.querySelector(arguments[0])", page["shows"]):
                missing = [*missing, page["shows"]]
        # Moving parts come to rest.
        time.sleep(2)
        errors = [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
        seen.append(
            {
                "name": page["name"],
                "missing": missing,
                "errors": errors,
                "title": driver.title,
                "at": driver.current_url,
                "text": text,
                "picture": driver.get_screenshot_as_base64(),
            }
        )
        for step in page.get("steps", []):
            for selector, value in step.get("fill", {}).items():
                find("css selector", selector).send_keys(value)
            find("xpath", f"//*[self::a or self::button][contains(normalize-space(.), '{step['press']}')]").click()
finally:
    driver.quit()
print(json.dumps(seen))
