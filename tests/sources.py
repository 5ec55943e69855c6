"""A small project in several languages, and how tests write files."""

import os
import time
from pathlib import Path

FILES = {
    "src/upload/client.py": '''"""Talk to the storage service."""

import time

MAX_ATTEMPTS = 5


class UploadClient:
    """Send files to the storage service."""

    def __init__(self, session):
        self.session = session

    def retry_upload(self, path, attempts=MAX_ATTEMPTS):
        """Try a failed upload again, waiting longer each time."""
        for attempt in range(attempts):
            try:
                return self.session.put(path)
            except ConnectionError:
                time.sleep(2**attempt)
        raise ConnectionError(f"gave up on {path} after {attempts} attempts")

    def delete_remote(self, path):
        """Remove a stored file from the service, and forget what was cached of it."""
        self.session.delete(path)
        self.session.cache.pop(path, None)
''',
    "src/config/parser.py": '''def parse_duration(text):
    """Turn a duration such as 5m or 2h30m into seconds."""
    total, number = 0, ""
    for letter in text:
        if letter.isdigit():
            number += letter
        else:
            total += int(number) * {"h": 3600, "m": 60, "s": 1}[letter]
            number = ""
    return total


def load_settings(path):
    """Read key=value settings from a file, comments left out."""
    with open(path) as lines:
        pairs = [line.split("=", 1) for line in lines if "=" in line and not line.startswith("#")]
    return {key.strip(): value.strip() for key, value in pairs}
''',
    "server/router.go": """package server

import "strings"

// Router matches request paths against registered patterns.
type Router struct {
	routes map[string]Handler
}

// AddRoute registers a handler for a pattern.
func (r *Router) AddRoute(pattern string, handler Handler) {
	if !strings.HasPrefix(pattern, "/") {
		panic("a pattern must begin with a slash")
	}
	r.routes[pattern] = handler
}

// matchPath finds the longest registered prefix of a request path.
func (r *Router) matchPath(path string) (Handler, bool) {
	for end := len(path); end > 0; end = strings.LastIndex(path[:end], "/") {
		if handler, found := r.routes[path[:end]]; found {
			return handler, true
		}
	}
	return nil, false
}
""",
    "web/cart.ts": """export interface CartItem {
  sku: string;
  price: number;
  quantity: number;
}

export function applyDiscount(items: CartItem[], percent: number): number {
  const total = items.reduce((sum, item) => sum + item.price * item.quantity, 0);
  return total * (1 - percent / 100);
}

export const formatPrice = (cents: number, currency = "EUR"): string => {
  const formatter = new Intl.NumberFormat("en", { style: "currency", currency });
  return formatter.format(cents / 100);
};
""",
    "tests/test_client.py": """from upload.client import UploadClient


def test_retry_upload_gives_up_after_five_attempts(session):
    session.fail_always()
    client = UploadClient(session)
    client.retry_upload("a.bin", attempts=5)
""",
    "README.md": "# A project\n\nIt uploads files, and sells things.\n",
}


def write_files(root: Path, files: dict[str, str], age_s: float = 60.0) -> Path:
    """Write files below a folder, last changed a while ago, as in a checkout that nobody is editing."""
    for path, text in files.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
        stat = place.stat()
        os.utime(place, (stat.st_atime - age_s, stat.st_mtime - age_s))
    time.sleep(0.06)  # ctime cannot be set back, and a file that changed a moment ago is not trusted by its stat
    return root
