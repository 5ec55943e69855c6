"""Step 7 of 7, serve: the tokens that open a server, kept in a file that does not hold them.

A token is 32 random bytes, shown once; the file holds its SHA-256, which is enough for a secret nobody can guess, when
it ends, and which folders it opens (all where none are named). The file belongs to the user alone and is read again
when it changes, so that what is removed is closed at once.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import platformdirs

from dowse.errors import ConfigError, DataError
from dowse.records import write_json

PREFIX = "dowse_"
"""Lets tools that look for leaked secrets recognise one."""


@dataclass(frozen=True, slots=True)
class Token:
    """What the file knows of a token; times are ISO 8601 in UTC, `folders` absolute, None for all."""

    name: str
    sha256: str
    created: str
    expires: str | None = None
    folders: tuple[str, ...] | None = None

    def is_over(self, now: datetime) -> bool:
        """Tell whether it has expired."""
        return self.expires is not None and datetime.fromisoformat(self.expires) <= now

    @property
    def allowed(self) -> frozenset[Path] | None:
        """The folders it opens, None for all."""
        return None if self.folders is None else frozenset(map(Path, self.folders))


class TokenFile:
    """The tokens of one user."""

    def __init__(self, path: Path | None = None) -> None:
        """Look at `path`, by default a file in the user's configuration folder."""
        self.path = path or Path(platformdirs.user_config_dir("dowse")) / "tokens.json"
        self._seen: tuple[int, int, int] | None = None
        self._tokens: list[Token] = []

    def tokens(self) -> list[Token]:
        """Return all tokens, none where there is no file.

        Raises:
            DataError: the file is not one of tokens.
        """
        try:
            stat = self.path.stat()
            seen = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if seen != self._seen:
                self._tokens = [
                    _token(record) for record in json.loads(self.path.read_text(encoding="utf-8"))["tokens"]
                ]
                self._seen = seen
        except FileNotFoundError:
            self._tokens, self._seen = [], None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{self.path} is no file of tokens ({error}); remove it, and make tokens anew") from error
        return self._tokens

    def find(self, secret: str) -> Token | None:
        """Return the token with this secret, None if there is none or its time is over.

        The time it takes does not depend on which token is right, nor on how much of one.
        """
        digest = _digest(secret)
        found = None
        for token in self.tokens():
            if hmac.compare_digest(token.sha256, digest):
                found = token
        return None if found is None or found.is_over(datetime.now(UTC)) else found

    def holds(self, token: Token) -> bool:
        """Tell whether a token that was found still opens what it did; not where the file cannot be read any more."""
        try:
            return token in self.tokens() and not token.is_over(datetime.now(UTC))
        except DataError:
            return False

    def add(self, name: str, days: int | None = None, folders: Sequence[Path] = ()) -> str:
        """Make a token and return its secret, which is kept nowhere.

        Raises:
            ConfigError: there is one of that name.
        """
        if any(token.name == name for token in self.tokens()):
            raise ConfigError(f"there is a token {name!r} already; remove it first, or choose another name")
        secret = PREFIX + secrets.token_urlsafe(32)
        now = datetime.now(UTC)
        token = Token(
            name,
            _digest(secret),
            now.isoformat(timespec="seconds"),
            None if days is None else (now + timedelta(days=days)).isoformat(timespec="seconds"),
            tuple(str(folder.resolve()) for folder in folders) or None,
        )
        self._write([*self.tokens(), token])
        return secret

    def remove(self, name: str) -> None:
        """Forget a token.

        Raises:
            ConfigError: there is none of that name.
        """
        kept = [token for token in self.tokens() if token.name != name]
        if len(kept) == len(self.tokens()):
            known = ", ".join(token.name for token in kept) or "none"
            raise ConfigError(f"there is no token {name!r}, expected one of: {known}")
        self._write(kept)

    def close_folder(self, folder: Path, dry_run: bool = False) -> list[str]:
        """Let no token open a folder by name any more, and return the names of those that did.

        A token that opened nothing else is removed: without any folder it would open all.

        Args:
            folder: the folder, resolved.
            dry_run: change nothing.
        """
        opening = [token for token in self.tokens() if token.folders and str(folder) in token.folders]
        if opening and not dry_run:
            changed = []
            for token in self.tokens():
                left = tuple(one for one in token.folders or () if one != str(folder))
                if token not in opening:
                    changed.append(token)
                elif left:
                    changed.append(replace(token, folders=left))
            self._write(changed)
        return [token.name for token in opening]

    def _write(self, tokens: Sequence[Token]) -> None:
        write_json(self.path, {"tokens": [asdict(token) for token in tokens]}, mode=0o600)


def _token(record: dict[str, object]) -> Token:
    folders = record.get("folders")
    texts = {key: record.get(key) for key in ("name", "sha256", "created", "expires")}
    if not all(isinstance(value, str) or (key == "expires" and value is None) for key, value in texts.items()):
        raise ValueError(f"one of its tokens is {texts}")
    expires = texts["expires"]
    if isinstance(expires, str) and datetime.fromisoformat(expires).tzinfo is None:
        raise ValueError(f"when {texts['name']} expires, {expires}, is of no time zone")
    if not str(texts["sha256"]).isascii():
        raise ValueError(f"the SHA-256 of {texts['name']} is none")
    if folders is not None and not (isinstance(folders, list) and all(isinstance(one, str) for one in folders)):
        raise ValueError(f"the folders of {texts['name']} are {folders!r}")
    return Token(**texts, folders=None if folders is None else tuple(folders))  # type: ignore[arg-type]


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
