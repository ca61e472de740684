"""The project key: its file, and the keyed hash of all that it decides.

What comes of it stands elsewhere: new UIDs and the mark of a run in `keyed`, then `dates` and
`pseudonyms`. Each purpose hashes in a domain of its own; a new one takes a new name in `keyed_hash`
and changes nothing that exists.
"""

from __future__ import annotations

import os

# A pipe runs one process per file, and hashlib takes milliseconds to import (it loads OpenSSL).
# The module below is the one that hashlib itself takes blake2b from; some builds leave it out.
try:
    from _blake2 import blake2b as blake2b
except ImportError:
    from hashlib import blake2b as blake2b

from .errors import KeyFileError, UsageError

KEY_BYTES = 32

# Any change of an output for the same key and input is a new version.
ALGORITHM_VERSION = 1

# Of what is remembered under a key: entries of some 300 bytes, so 5 MB. Files of one study share
# most of their UIDs.
CACHE_LIMIT = 16384

# ---------------------------------------------------------------------------------------- key file

_KEY_PREFIX = b"dcmveil-key-1 "
_HEX_DIGITS = b"0123456789abcdefABCDEF"
# A key file has fewer than 100 bytes. The limit keeps a wrong path, such as a device, harmless.
_KEY_FILE_LIMIT = 4096
_O_BINARY: int = getattr(os, "O_BINARY", 0)  # Windows only: no translation of line ends


def _key_fault(key: bytes) -> str:
    """What is wrong with a key, or an empty string."""
    if len(key) != KEY_BYTES:
        return f"a key has {KEY_BYTES} bytes"
    if key.count(key[0]) == KEY_BYTES:
        return "a key of one repeated byte is no secret"
    return ""


def check_key(key: bytes) -> None:
    fault = _key_fault(key)
    if fault:
        raise UsageError(fault)


def new_key() -> bytes:
    """A new secret key: 32 bytes from the operating system's random source."""
    return os.urandom(KEY_BYTES)


def format_key(key: bytes) -> str:
    """The one line of a key file, with its line end.

    Raises UsageError for a key that is not 32 bytes, or is one repeated byte.
    """
    check_key(key)
    return f"{_KEY_PREFIX.decode()}{key.hex()}\n"


def write_key(path: str | os.PathLike[str], key: bytes) -> None:
    """Create a key file that only its owner can read (mode 0600).

    Raises KeyFileError if the file exists (it is never overwritten) or cannot be written, and
    UsageError for a key that is not 32 bytes, or is one repeated byte.
    """
    line = format_key(key).encode()
    try:
        # The mode is set by the same call that creates: the key is never readable by others.
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _O_BINARY, 0o600)
    except FileExistsError:
        raise KeyFileError("the key file exists already, and is never overwritten") from None
    except (OSError, ValueError) as error:
        raise KeyFileError(f"cannot create the key file: {_why(error)}") from None
    try:
        with open(file, "wb") as stream:
            stream.write(line)
            stream.flush()
            os.fsync(file)  # data may be rewritten under this key at once: it must not get lost
    except OSError as error:
        _remove(path)  # half a key is in the way of the next attempt
        raise KeyFileError(f"cannot write the key file: {_why(error)}") from None


def read_key(path: str | os.PathLike[str]) -> bytes:
    """The key in a file: the line of `format_key`, 64 hexadecimal digits, or 32 raw bytes.

    White space around the two text forms is ignored. Not more than 4 KiB are read. Raises
    KeyFileError if the file is missing, unreadable or not a key; the message shows neither
    content nor path, because the key itself is easily given in place of the path.
    """
    try:
        content = _read_start(path)
    except FileNotFoundError:
        raise KeyFileError(
            "the key file does not exist; this command makes one: dcmveil key new FILE"
        ) from None
    except (OSError, ValueError) as error:
        raise KeyFileError(f"cannot read the key file: {_why(error)}") from None
    key = _parse_key(content)
    if key is None:
        raise KeyFileError(
            "the key file does not hold a key: one line 'dcmveil-key-1' and 64 hexadecimal "
            "digits, the digits alone, or 32 raw bytes"
        )
    fault = _key_fault(key)
    if fault:
        raise KeyFileError(fault)
    return key


def _parse_key(content: bytes) -> bytes | None:
    if len(content) == KEY_BYTES:
        return content
    if len(content) >= _KEY_FILE_LIMIT:
        return None  # the rest was not read
    digits = content.strip().removeprefix(_KEY_PREFIX)
    # bytes.fromhex alone would allow white space between the digits.
    if len(digits) != 2 * KEY_BYTES or digits.translate(None, _HEX_DIGITS):
        return None
    return bytes.fromhex(digits.decode())


def _read_start(path: str | os.PathLike[str]) -> bytes:
    file = os.open(path, os.O_RDONLY | _O_BINARY)
    try:
        content = b""
        while len(content) < _KEY_FILE_LIMIT:
            part = os.read(file, _KEY_FILE_LIMIT - len(content))
            if not part:
                break
            content += part
        return content
    finally:
        os.close(file)


def _remove(path: str | os.PathLike[str]) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass  # the error that led here says more


def _why(error: Exception) -> str:
    """The reason alone: the full text of an OSError shows the path."""
    return getattr(error, "strerror", None) or "not a usable path"


# -------------------------------------------------------------------------------------- keyed hash


def keyed_hash(key: bytes, domain: str, size: int, salt: bytes = b"") -> blake2b:
    """An empty keyed hash of `size` bytes; two domains never give related digests."""
    person = f"dcmveil {domain} {ALGORITHM_VERSION}".encode()  # blake2b takes 16 bytes
    return blake2b(key=key, person=person, digest_size=size, salt=salt)


def digest_of(*texts: str | bytes) -> bytes:
    """32 bytes that tell these texts from any others; no key, no secret."""
    digest = blake2b(digest_size=32)
    for text in texts:
        value = text.encode() if isinstance(text, str) else text
        digest.update(len(value).to_bytes(8, "big") + value)  # it cannot run into the next one
    return digest.digest()
