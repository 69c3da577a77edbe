"""A person at a browser, without one: goes to the tracking server, fills the provider's forms, and comes back. Runs on the client host.

Reads what to do as JSON from its input, and prints the pages that it came by, and what the session that it has in the end may do.
"""

import html.parser
import http.cookiejar
import json
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request


class Forms(html.parser.HTMLParser):
    """The forms of a page: where each is sent, its fields, and its buttons."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag == "form":
            self.found.append({"action": attributes.get("action"), "fields": {}, "buttons": []})
        elif self.found and attributes.get("name"):
            if tag == "button" or attributes.get("type") == "submit":
                self.found[-1]["buttons"].append((attributes["name"], attributes.get("value") or ""))
            elif tag == "input":
                self.found[-1]["fields"][attributes["name"]] = attributes.get("value", "")


class StayHere(urllib.request.HTTPRedirectHandler):
    """Leaves redirects to the caller."""

    def redirect_request(self, *_arguments):
        return None


given = json.load(sys.stdin)
trust = urllib.request.HTTPSHandler(context=ssl.create_default_context(cadata=given["authorities"]))
cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
browser = urllib.request.build_opener(urllib.request.ProxyHandler({}), trust, cookies, StayHere())
visited = []


def request(url, method="GET", body=None, headers=None):
    """Send a request, and return status, text and where it sends on to."""
    try:
        answer = browser.open(urllib.request.Request(url, method=method, data=body, headers=headers or {}), timeout=120)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        return answer.status, answer.read().decode(errors="replace"), answer.headers.get("Location")


def go(url, form=None):
    """Visit a page as a browser does, through all redirects, and return where that ended and what stands there."""
    body = urllib.parse.urlencode(form).encode() if form is not None else None
    for _redirect in range(20):
        if "/callback?" in url:  # where the answer of the provider comes back
            query = urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query)
            url = url.split("?")[0] + "?" + urllib.parse.urlencode({**dict(query), **given["tampered"]})
        status, text, further = request(url, "POST" if body else "GET", body, {"Accept": "text/html", "Referer": given["provider"] + "/"})
        visited.append([status, url])
        if not further:
            return url, text
        url, body = urllib.parse.urljoin(url, further), None
    raise SystemExit("redirects without an end: " + json.dumps(visited))


url, text = go(given["server"] + "/login")
for _page in range(5):
    if not url.startswith(given["provider"]):
        break
    form = next((form for form in Forms(text).found if "csrf_token" in form["fields"]), None)
    if form is None:
        raise SystemExit("no form where one is awaited: " + json.dumps(visited) + text[:2000])
    fields = {**form["fields"], **{name: given[name] for name in ("login", "password") if name in form["fields"]}}
    fields.update([button for button in form["buttons"] if button[1] in ("", given["answer"])][:1])
    url, text = go(urllib.parse.urljoin(url, form["action"] or url), fields)

api, kind = given["server"] + "/api/2.0/mlflow/", {"Content-Type": "application/json"}
result = {"ended": url, "visited": visited, "search": request(api + "experiments/search?max_results=10")[0]}
if given["experiment"]:
    text = request(api + "experiments/create", "POST", json.dumps({"name": given["experiment"]}).encode(), kind)[1]
    result["experiment"] = json.loads(text)["experiment_id"]
    text = request(api + "runs/create", "POST", json.dumps({"experiment_id": result["experiment"], "run_name": "by a person"}).encode(), kind)[1]
    path = json.loads(text)["run"]["info"]["artifact_uri"].split("mlflow-artifacts:/")[-1]
    artifact = f"{given['server']}/api/2.0/mlflow-artifacts/artifacts/{path}/note.txt"
    request(artifact, "PUT", b"what a person writes")
    result["artifact"] = request(artifact)[1]
    token = json.dumps({"name": given["experiment"], "expiration": given["token_ends"]}).encode()
    result["token"] = json.loads(request(given["server"] + "/api/2.0/mlflow/users/current/tokens", "POST", token, kind)[1])
result["users"] = request(given["server"] + "/api/2.0/mlflow/users/details")[0]
request(given["server"] + "/logout")
result["after_logout"] = request(api + "experiments/search?max_results=10")[0]
print(json.dumps(result))
