"""Which account the servers run as. PostgreSQL refuses root, and root's home is closed to everyone else."""

import hashlib
import os
import pwd
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from engine.errors import Misconfigured


@dataclass(frozen=True, slots=True)
class Account:
    """Whom the servers run as when we are root."""

    uid: int
    gid: int

    def can_enter(self, path: Path) -> bool:
        """True when the account reaches `path` and may enter or run it: the kernel is asked, not the mode bits."""
        try:
            return not subprocess.run(
                ["test", "-x", path], user=self.uid, group=self.gid, extra_groups=[], cwd=path.anchor, check=False
            ).returncode
        except PermissionError as refused:
            raise Misconfigured(
                "PostgreSQL refuses to run as root and this container forbids changing the user: "
                "run Carillon as an ordinary user, or set DATABASE_URL and REDIS_URL"
            ) from refused

    def own(self, path: Path) -> None:
        os.chown(path, self.uid, self.gid)


def server_account(data: Path) -> Account | None:
    """None when we are not root: the servers then run as we do. Else the owner of `data`, `postgres` or `nobody`."""
    if os.geteuid() != 0:
        return None
    if data.exists() and (owner := data.stat()).st_uid != 0:
        return Account(owner.st_uid, owner.st_gid)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(entry.pw_uid, entry.pw_gid)
    raise Misconfigured("PostgreSQL refuses to run as root and there is no user 'postgres' or 'nobody' to run it as")


def reachable_folder(folder: Path, account: Account | None, *, keep: bool) -> Path:
    """`folder`, created if absent, or one below the system's temporary folder when `account` cannot enter it.

    No mode is changed on a folder that was there before. The substitute of a kept folder has a fixed name, so that the
    next start finds it; it must be ours, for anyone may create names there.
    """
    created = make_folder(folder, account)
    if account is None or account.can_enter(folder):
        return folder
    if created:
        folder.rmdir()
    substitute = (
        Path(tempfile.gettempdir(), _substitute_name(folder)) if keep else Path(tempfile.mkdtemp("", "carillon-"))
    )
    if keep:
        make_folder(substitute, account)
    else:
        substitute.chmod(0o711)
    if substitute.is_symlink() or substitute.stat().st_uid != os.geteuid():
        raise Misconfigured(f"{substitute} belongs to someone else: remove it, or name another folder")
    if not account.can_enter(substitute):
        raise Misconfigured(f"user {account.uid}, who runs PostgreSQL, cannot enter {substitute}: set TMPDIR")
    return substitute


def kept_folder(folder: Path) -> Path:
    """Where the data of a start with `keep` in `folder` is: there, or in its substitute (`reachable_folder`)."""
    substitute = Path(tempfile.gettempdir(), _substitute_name(folder.absolute()))
    return substitute if substitute.exists() and not folder.exists() else folder


def make_folder(folder: Path, account: Account | None) -> bool:
    """True when it was absent. What is created the servers' account can enter and nobody list, whatever the umask."""
    if folder.exists():
        return False
    try:
        folder.mkdir(parents=True)
    except OSError as failed:
        raise Misconfigured(f"cannot create {folder}: {failed.strerror}; name another folder") from failed
    folder.chmod(0o700 if account is None else 0o711)
    return True


def _substitute_name(folder: Path) -> str:
    return f"carillon-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]}"
