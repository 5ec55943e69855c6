"""A real HTTP server on loopback that speaks the OpenAI protocol, and misbehaves as told."""

import base64
import hashlib
import json
import struct
import threading
import time
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "sk-a-key-for-tests"
DIMENSIONS = 8


def word_vector(text):
    """A bag of words as numbers: texts that share words point the same way."""
    vector = [0.0] * DIMENSIONS
    for word in text.lower().split():
        vector[hashlib.sha256(word.encode()).digest()[0] % DIMENSIONS] += 1.0
    return vector


class EndpointServer(ThreadingHTTPServer):
    """Answers `reply(messages)`; each fault of `plan` spoils one request first.

    Faults: a status ("429"), "429 after 0.3" with a Retry-After, "cut" (half a body), "error 200" (an error under
    status 200), "drop" (the connection is closed), "slow 2" (waits as many seconds), "floats" (embeddings as numbers
    instead of base64), "few" (one embedding too little), "nan", "usage {}" (counts these tokens).
    """

    daemon_threads = True

    def __init__(self, reply=lambda messages: f"answer to: {messages[-1]['content']}", plan=(), always="", key=""):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.reply, self.plan, self.always, self.key = reply, deque(plan), always, key
        self.bodies, self.times, self.headers_seen = [], [], []
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    @property
    def questions(self):
        return [body["messages"][-1]["content"] for body in self.bodies]

    def handle_error(self, request, client_address):
        """A client that was killed leaves its connections: that is what the tests are about."""

    def __enter__(self):
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        with server.lock:
            server.bodies.append(body)
            server.times.append(time.monotonic())
            server.headers_seen.append(dict(self.headers))
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
            fault = server.plan.popleft() if server.plan else server.always
        try:
            self.answer(body, fault)
        finally:
            with server.lock:
                server.at_once -= 1

    def answer(self, body, fault):
        kind, _, value = fault.partition(" ")
        if kind == "slow":
            time.sleep(float(value))
        if self.server.key and self.headers["Authorization"] != f"Bearer {self.server.key}":
            return self.send(
                401, {"error": {"message": f"Incorrect API key provided: {self.headers['Authorization']}"}}
            )
        if kind.isdigit():
            headers = {"Retry-After": value.removeprefix("after ")} if value else {"retry-after-ms": "20"}
            return self.send(int(kind), {"error": {"message": f"refused with {kind}"}}, headers)
        if kind == "drop":
            self.close_connection = True
            return None
        if kind == "error":
            return self.send(200, {"error": {"message": "upstream failed", "code": 502}})
        whole = self.chat(body) if self.path == "/v1/chat/completions" else self.embeddings(body, kind)
        if kind == "usage":
            whole["usage"] = json.loads(value)
        text = json.dumps(whole)
        return self.send(200, text[: len(text) // 2] if kind == "cut" else text)

    def chat(self, body):
        text = self.server.reply(body["messages"])
        prompt = sum(len(message["content"].split()) for message in body["messages"])
        return {
            "id": "1",
            "object": "chat.completion",
            "created": 0,
            "model": body["model"],
            "choices": [
                {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}},
            ],
            "usage": {
                "prompt_tokens": prompt,
                "completion_tokens": len(text.split()),
                "total_tokens": prompt + len(text.split()),
            },
        }

    def embeddings(self, body, kind):
        vectors = [word_vector(text) for text in body["input"]]
        if kind == "nan":
            vectors[0][0] = float("nan")
        if body.get("encoding_format") == "base64" and kind != "floats":
            data = [base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode() for vector in vectors]
        else:
            data = vectors
        entries = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(data)]
        entries.reverse()  # the protocol numbers them; nothing says that they come in order
        tokens = sum(len(text.split()) for text in body["input"])
        return {
            "object": "list",
            "model": body["model"],
            "data": entries[1:] if kind == "few" else entries,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }

    def send(self, status, body, headers=None):
        content = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
