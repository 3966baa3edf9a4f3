"""Runs in a pod: serves a model as an OpenAI-compatible endpoint does, on port 8000. MODEL is its folder."""

import json
import os
from http.server import BaseHTTPRequestHandler, HTTPServer

from transformers import AutoModelForCausalLM, AutoTokenizer

FOLDER = os.environ["MODEL"]
TOKENIZER, MODEL = AutoTokenizer.from_pretrained(FOLDER), AutoModelForCausalLM.from_pretrained(FOLDER)


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._say({"object": "list", "data": [{"id": "served", "object": "model"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked = TOKENIZER.apply_chat_template(body["messages"], tokenize=False, add_generation_prompt=True)
        given = TOKENIZER(asked, add_special_tokens=False, return_tensors="pt")
        written = MODEL.generate(**given, max_new_tokens=body.get("max_tokens", 16), do_sample=False)
        answer = TOKENIZER.decode(written[0][given.input_ids.shape[1] :], skip_special_tokens=True)
        self._say({"choices": [{"index": 0, "message": {"role": "assistant", "content": answer}}]})

    def _say(self, document: object) -> None:
        data = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """What is asked and answered stays out of the log."""


HTTPServer(("", 8000), Handler).serve_forever()
