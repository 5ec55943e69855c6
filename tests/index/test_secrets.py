import pytest
from sources import write_files

from dowse import Searcher
from dowse.config import IndexSettings
from dowse.index.local import LocalStore
from dowse.index.secrets import FORMS, findings, secrets_in
from dowse.index.update import skipped_by_reason, update
from dowse.models.static import default_static

# Joined here from parts, so that no file of this repository holds what looks like a secret.
LETTERS = "Q3eGr1ZbLn7TwJ6dXu9KfYs2VhMc5RpA8oBtEiUyWqDgHjNkPzS4xFvC0mLaI7e"
HEX = "9f8c2e61d07b4a35f8e1c6d92b70a4e35d18f6c29b07e4a1d35c8f62e9b07a41"
LIVE = {
    "AWS access key": "AKIA" + "Q3EGRIZBLN7TWJ6D",
    "Anthropic API key": "sk-ant-api03-" + LETTERS,
    "Azure storage key": "AccountKey=" + (LETTERS + LETTERS)[:86] + "==",
    "DigitalOcean token": "dop_v1_" + HEX,
    "Dowse token": "dowse_" + LETTERS[:43],
    "GitHub token": "ghp_" + LETTERS[:36],
    "GitLab token": "glpat-" + LETTERS[:20],
    "Google API key": "AIza" + LETTERS[:35],
    "Hugging Face token": "hf_" + "".join(filter(str.isalpha, LETTERS))[:34],
    "npm token": "npm_" + LETTERS[:36],
    "OpenAI API key": "sk-proj-" + LETTERS[:20] + "T3BlbkFJ" + LETTERS[:20],
    "password in an address": "postgres://ann:" + "Gr1ZbLn7" + "@db.shop.com",
    "private key": "-----BEGIN RSA PRIVATE " + "KEY-----\n" + LETTERS,
    "PyPI token": "pypi-" + "AgEIcHlwaS5vcmc" + LETTERS,
    "SendGrid API key": "SG." + LETTERS[:22] + "." + LETTERS[:43],
    "Slack token": "xoxb-" + "482910573628-" + LETTERS[:24],
    "Slack webhook": "https://hooks.slack" + ".com/services/T0A1B2C3D/B0A1B2C3D/" + LETTERS[:24],
    "Stripe key": "sk_live_" + LETTERS[:24],
}
HARMLESS = [
    "AKIA" + "IOSFODNN7EXAMPLE",
    "ghp_" + "x" * 36,
    "MYAKIA" + "Q3EGRIZBLN7TWJ6D",
    HEX,
    "https://example.com/a:b@c",
    "postgres://user:password@localhost/db",
    "postgres://ann:{password}@db.shop.com",
    "postgres://ann:$PASSWORD@db.shop.com",
    "redis://ann:Gr1ZbLn7@redis.test",
    "-----BEGIN PUBLIC KEY-----\n" + LETTERS,
    'header = "-----BEGIN PRIVATE KEY-----"',
    "git@github.com:dowse/dowse.git",
    "sk_test_" + LETTERS[:24],
]


def test_every_form_is_told_by_a_live_value_and_named_by_its_line():
    assert list(LIVE) == list(dict.fromkeys(form.kind for form in FORMS))
    for kind, value in LIVE.items():
        assert list(secrets_in(f"first line\nvalue = '{value}'\nlast line")) == [(2, kind)]
    assert list(secrets_in("github_pat_" + LETTERS + LETTERS)) == [(1, "GitHub token")]


@pytest.mark.parametrize("text", HARMLESS)
def test_what_opens_nothing_is_passed_over(text):
    assert list(secrets_in(text)) == []


def test_files_with_secrets_are_flagged_and_can_be_kept_out_and_come_back(tmp_path):
    secret = f"import shop\n\n\ndef connect():\n    return shop.open('{LIVE['GitHub token']}')\n"
    root = write_files(tmp_path / "project", {"keys.py": secret, "fine.py": "def fine():\n    return 1\n"})
    store = LocalStore(tmp_path / "index", "project")
    update(store, root, IndexSettings(), default_static())
    assert findings(store.documents()) == [("keys.py", 5, "GitHub token")]
    update(store, root, IndexSettings(leave_out_secrets=True), default_static())
    assert skipped_by_reason(store) == {"holds a secret": 1}
    assert {document.path for document in store.documents()} == {"fine.py"}
    update(store, root, IndexSettings(), default_static())
    assert {document.path for document in store.documents()} == {"fine.py", "keys.py"}
    store.close()


def test_a_secret_that_lies_in_two_documents_counts_once(tmp_path):
    root = write_files(tmp_path / "project", {"a.py": f"KEY = '{LIVE['Stripe key']}'\n"})
    with Searcher.from_path(root, tmp_path / "index") as searcher:
        documents = list(searcher.documents())
    assert findings([*documents, *documents]) == [("a.py", 1, "Stripe key")]
