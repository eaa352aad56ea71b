"""Tables of the shell risk: effects, their classes, and the programs that are known.

A program is known by its name or by its path in a system directory. A program that no table has is `UNKNOWN`.
"""

from __future__ import annotations

from enum import Flag, auto
from typing import NamedTuple

import re2

from processors.content.risk_class import RiskClass
from processors.proof.jcs import JSONValue


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


class ShellEffect(Flag):
    """An effect that a command can have."""

    NONE = 0
    WRITES = auto()  # a file, or a setting of the user's
    DELETES = auto()  # files, processes, or things of a service
    DESTROYS = auto()  # a tree of files, a file system, or the machine's run
    SYSTEM = auto()  # writes where the system or the user's shell reads its settings
    NETWORK = auto()
    PRIVILEGE = auto()
    SECRET = auto()  # reads or writes a path of secrets
    CODE = auto()  # runs a file, or code that a service or a project holds
    UNKNOWN = auto()  # the program is in no table
    OPAQUE = auto()  # cannot be read with certainty


CLASS_OF: tuple[tuple[ShellEffect, RiskClass], ...] = (
    (ShellEffect.OPAQUE, RiskClass.CRITICAL),
    (ShellEffect.DESTROYS, RiskClass.CRITICAL),
    (ShellEffect.SYSTEM, RiskClass.CRITICAL),
    (ShellEffect.SECRET | ShellEffect.NETWORK, RiskClass.CRITICAL),  # all effects of a row together
    (ShellEffect.PRIVILEGE | ShellEffect.WRITES, RiskClass.CRITICAL),
    (ShellEffect.PRIVILEGE | ShellEffect.DELETES, RiskClass.CRITICAL),
    (ShellEffect.NETWORK, RiskClass.HIGH),
    (ShellEffect.PRIVILEGE, RiskClass.HIGH),
    (ShellEffect.SECRET, RiskClass.HIGH),
    (ShellEffect.DELETES, RiskClass.HIGH),
    (ShellEffect.CODE, RiskClass.HIGH),
    (ShellEffect.UNKNOWN, RiskClass.HIGH),
    (ShellEffect.WRITES, RiskClass.MEDIUM),
)

_E = ShellEffect


class ProgramRule(NamedTuple):
    """The effects of a program: always, and those of its options.

    `options` are names without their value. A single letter counts wherever it stands in a cluster (`-rf`), a long one
    also when it is shortened. `last` says that only the last argument is written.
    """

    effects: ShellEffect
    options: tuple[tuple[str, ShellEffect], ...] = ()
    last: bool = False


class WrapperRule(NamedTuple):
    """A program that runs the command in its arguments.

    `valued` are the options that take the next word, `plain` those that take none; `skipped` is the count of arguments
    before the command. `joined` says that the arguments are one line for a shell. `unread` says that words are added.
    """

    valued: tuple[str, ...] = ()
    plain: tuple[str, ...] = ()
    skipped: int = 0
    effects: ShellEffect = ShellEffect.NONE
    joined: bool = False
    unread: bool = False


BIN_DIRECTORIES = frozenset({"/bin/", "/sbin/", "/usr/bin/", "/usr/sbin/", "/usr/local/bin/", "/usr/local/sbin/"})

RESERVED = _names("{ } ! [[ ]] if then elif else fi for in do done while until case esac select function coproc alias")
SHELLS = _names("sh bash dash ash zsh ksh mksh rbash csh tcsh fish pwsh powershell cmd")
INTERPRETERS = _names(
    "python python2 python3 perl ruby node nodejs deno bun php lua luajit tclsh wish expect R Rscript julia osascript "
    "groovy jshell irb scala ghci gdb lldb"
)

# Programs that only read, with the options by which they write or run something.
READERS = (
    "[ basename cal cat cd cksum cmp col colrm column comm cut df diff dirname dirs du echo egrep expand expr factor "
    "false fgrep fmt fold free getconf getent grep groups head hexdump id iostat jobs join last less let locale locate "
    "logname look ls lsb_release lscpu lsblk lsof lsusb lspci md5sum more nl nproc numfmt od paste pgrep printenv "
    "printf ps pwd "
    "readlink realpath rev seq sha1sum sha224sum sha256sum sha384sum sha512sum sleep stat strings sum tac tail test "
    "top tr tree true tsort tty type uname unexpand uptime users vmstat w wait wc whatis whereis which who whoami yes "
    "zcat zgrep zless bzcat xzcat xxd base32 base64 set shift unset export readonly local return exit break continue "
    "umask read history date hostname uniq sort file find declare typeset : man info help jq diff3 sdiff"
)
READER_OPTIONS: dict[str, tuple[tuple[str, ShellEffect], ...]] = {
    "sort": (("o", _E.WRITES), ("output", _E.WRITES), ("compress-program", _E.OPAQUE), ("T", _E.WRITES)),
    "tree": (("o", _E.WRITES),),
    "date": (("s", _E.PRIVILEGE), ("set", _E.PRIVILEGE)),
    "hostname": (("b", _E.PRIVILEGE), ("F", _E.PRIVILEGE)),
    "file": (("C", _E.WRITES), ("compile", _E.WRITES)),
    "less": (("o", _E.WRITES), ("O", _E.WRITES), ("log-file", _E.WRITES), ("k", _E.OPAQUE)),
    "man": (("P", _E.OPAQUE), ("pager", _E.OPAQUE), ("H", _E.OPAQUE), ("html", _E.OPAQUE), ("r", _E.OPAQUE)),
    "xxd": (("r", _E.WRITES),),
    "history": (("c", _E.DELETES), ("d", _E.DELETES), ("w", _E.WRITES), ("a", _E.WRITES)),
    "find": (
        ("delete", _E.DELETES), ("fprint", _E.WRITES), ("fls", _E.WRITES), ("fprint0", _E.WRITES),
        ("fprintf", _E.WRITES),
    ),
    "test": (("v", _E.OPAQUE),),
    "[": (("v", _E.OPAQUE),),
    "printf": (("v", _E.WRITES),),
    "lsof": (("D", _E.WRITES),),
}  # fmt: skip

WRITERS = (
    "cp mv ln install mkdir mkfifo touch tee split csplit gzip gunzip bzip2 bunzip2 xz unxz zstd unzip zip 7z cpio ar "
    "patch dos2unix unix2dos iconv mktemp chmod chown chgrp setfacl chattr mknod dd truncate tar "
    "convert magick ffmpeg pdftotext gpg openssl ssh-keygen uuencode uudecode pushd popd"
)
WRITER_LAST = frozenset({"cp", "ln", "install"})
WRITER_OPTIONS: dict[str, tuple[tuple[str, ShellEffect], ...]] = {
    "tar": (
        ("checkpoint-action", _E.OPAQUE), ("to-command", _E.OPAQUE), ("I", _E.OPAQUE), ("F", _E.OPAQUE),
        ("use-compress-program", _E.OPAQUE), ("rsh-command", _E.OPAQUE), ("info-script", _E.OPAQUE),
        ("new-volume-script", _E.OPAQUE), ("P", _E.SYSTEM), ("absolute-names", _E.SYSTEM),
        ("remove-files", _E.DELETES),
    ),
    "zip": (("T", _E.OPAQUE), ("TT", _E.OPAQUE), ("unzip-command", _E.OPAQUE), ("m", _E.DELETES)),
    "split": (("filter", _E.OPAQUE),),
    "cpio": (("rsh-command", _E.OPAQUE),),
    "patch": (("e", _E.OPAQUE), ("ed", _E.OPAQUE)),
    "install": (("strip-program", _E.OPAQUE),),
    "openssl": (("engine", _E.OPAQUE), ("connect", _E.NETWORK)),
}  # fmt: skip

# All other programs: effects, then names.
OTHERS: tuple[tuple[ShellEffect, str], ...] = (
    (_E.DELETES, "rm rmdir unlink kill pkill killall xkill skill"),
    (
        _E.DESTROYS,
        (
            "mkfs mkfs.ext2 mkfs.ext3 mkfs.ext4 mkfs.xfs mkfs.btrfs mkfs.vfat mkswap wipefs shred fdisk sfdisk "
            "parted gdisk "
            "sgdisk cfdisk lvremove vgremove pvremove blkdiscard hdparm shutdown reboot halt poweroff telinit init "
            "swapoff "
            "cryptsetup zpool zfs mdadm format diskpart vssadmin bcdedit srm"
        ),
    ),
    (
        _E.NETWORK,
        (
            "curl wget nc ncat netcat telnet ftp tftp sftp scp rsync rsh rlogin rexec nmap masscan ping ping6 "
            "traceroute mtr dig nslookup host whois aria2c axel lynx links elinks w3m http https httpie mail mailx "
            "sendmail "
            "mutt msmtp swaks smbclient rpcclient ldapsearch snmpwalk snmpget tcpdump tshark ngrok cloudflared chisel "
            "tor ssh-copy-id ssh-keyscan s3cmd rclone mysql psql redis-cli mongo mongosh sqlcmd kinit "
            "lwp-download lwp-request GET POST youtube-dl yt-dlp gdown dnscat"
        ),
    ),
    (
        _E.PRIVILEGE | _E.WRITES,
        (
            "useradd adduser userdel deluser usermod groupadd groupdel groupmod gpasswd passwd chpasswd chsh chfn "
            "visudo "
            "vipw mount umount losetup insmod rmmod modprobe sysctl iptables ip6tables nft ufw firewall-cmd setenforce "
            "setcap setsebool auditctl systemctl service chkconfig update-rc.d launchctl swapon "
            "dpkg rpm apt apt-get aptitude yum dnf zypper pacman apk snap flatpak dpkg-reconfigure update-alternatives "
            "ldconfig hostnamectl timedatectl ifconfig route ip ifup ifdown nmcli iwconfig ethtool tc arp kexec "
            "grub-install "
            "update-grub journalctl dmesg logrotate loginctl debugfs dumpe2fs tune2fs resize2fs fsck "
            "e2fsck quotacheck restorecon chcon semanage setfattr renice"
        ),
    ),
    (
        _E.CODE | _E.NETWORK,
        (
            "docker podman nerdctl ctr crictl kubectl helm oc terraform tofu pulumi ansible ansible-playbook vagrant "
            "aws gcloud gsutil az doctl heroku flyctl gh glab hub svn hg npm npx pnpm yarn pip pip2 pip3 pipx uv uvx "
            "poetry "
            "conda mamba gem bundle cargo go composer brew port nix nix-shell nix-env mvn gradle sbt lein cabal stack"
        ),
    ),
    (
        _E.CODE | _E.WRITES,
        (
            "make cmake ninja meson gcc g++ cc c++ clang ld as rustc javac java jar dotnet msbuild configure tox "
            "pytest "
            "vi vim nvim view ex emacs nano pico joe micro ctags"
        ),
    ),
    (_E.WRITES, "wall write mesg stty tput reset clear ulimit"),
    (
        _E.OPAQUE,
        (
            "parallel m4 dc bc ed socat enable bind complete compgen hash shopt fc flock systemd-run nsenter unshare "
            "capsh "
            "crontab at batch runuser torsocks ssh-agent fakeroot faketime setarch linux32 linux64 rlwrap unbuffer "
            "valgrind perf entr dbus-run-session xvfb-run xterm gnome-terminal konsole start-stop-daemon run-parts "
            "screen tmux proxychains script gpg-agent xdg-open open mshta rundll32 regsvr32 wscript cscript certutil"
        ),
    ),
)  # fmt: skip

OTHER_OPTIONS: dict[str, tuple[tuple[str, ShellEffect], ...]] = {
    "rm": (("r", _E.DESTROYS), ("R", _E.DESTROYS), ("recursive", _E.DESTROYS), ("no-preserve-root", _E.DESTROYS)),
    "curl": (
        ("o", _E.WRITES), ("O", _E.WRITES), ("output", _E.WRITES), ("remote-name", _E.WRITES), ("K", _E.OPAQUE),
        ("config", _E.OPAQUE),
    ),
    "wget": (("use-askpass", _E.OPAQUE), ("e", _E.OPAQUE), ("execute", _E.OPAQUE), ("config", _E.OPAQUE)),
    "nc": (("e", _E.OPAQUE), ("c", _E.OPAQUE), ("exec", _E.OPAQUE)),
    "ncat": (("e", _E.OPAQUE), ("c", _E.OPAQUE), ("exec", _E.OPAQUE), ("sh-exec", _E.OPAQUE), ("lua-exec", _E.OPAQUE)),
    "netcat": (("e", _E.OPAQUE), ("c", _E.OPAQUE)),
    "rsync": (("e", _E.OPAQUE), ("rsh", _E.OPAQUE), ("rsync-path", _E.OPAQUE), ("delete", _E.DELETES)),
    "nmap": (("script", _E.OPAQUE), ("interactive", _E.OPAQUE)),
    "scp": (("S", _E.OPAQUE), ("o", _E.OPAQUE), ("F", _E.OPAQUE)),
    "sftp": (("S", _E.OPAQUE), ("o", _E.OPAQUE), ("F", _E.OPAQUE), ("D", _E.OPAQUE)),
    "tcpdump": (("z", _E.OPAQUE),),
    "docker": (("privileged", _E.DESTROYS),),
}  # fmt: skip

_SUDO = ("u", "g", "h", "p", "C", "r", "t", "T", "U", "R", "D", "user", "group", "host", "prompt", "chdir", "role")
_SUDO_PLAIN = ("b", "E", "H", "K", "k", "l", "n", "P", "S", "V", "v", "stdin", "background", "set-home", "list")
WRAPPERS: dict[str, WrapperRule] = {
    "sudo": WrapperRule(_SUDO, (*_SUDO_PLAIN, "preserve-env", "non-interactive"), effects=_E.PRIVILEGE),
    "doas": WrapperRule(("u", "C"), ("n", "L"), effects=_E.PRIVILEGE),
    "pkexec": WrapperRule(("user",), ("disable-internal-agent",), effects=_E.PRIVILEGE),
    "chroot": WrapperRule(("userspec", "groups"), ("skip-chdir",), 1, _E.PRIVILEGE),
    "env": WrapperRule(("u", "C", "unset", "chdir"), ("i", "0", "v", "null", "ignore-environment", "debug")),
    "nice": WrapperRule(("n", "adjustment")),
    "ionice": WrapperRule(("c", "n", "p", "class", "classdata"), ("t", "ignore")),
    "chrt": WrapperRule(("T", "P", "D"), ("b", "f", "i", "o", "r", "R"), 1),
    "taskset": WrapperRule((), ("c", "cpu-list"), 1),
    "nohup": WrapperRule(effects=_E.WRITES),
    "setsid": WrapperRule((), ("c", "f", "w", "ctty", "fork", "wait")),
    "stdbuf": WrapperRule(("i", "o", "e", "input", "output", "error")),
    "timeout": WrapperRule(
        ("s", "k", "signal", "kill-after"), ("f", "v", "p", "foreground", "preserve-status", "verbose"), 1
    ),
    "time": WrapperRule(("f", "format"), ("p", "v", "a", "portability", "verbose")),
    "strace": WrapperRule(("e", "s", "p", "P", "u", "a"), ("f", "c", "t", "T", "v", "q", "r", "y"), effects=_E.WRITES),
    "ltrace": WrapperRule(("e", "s", "p", "u", "a", "l", "n"), ("f", "c", "t", "T", "i", "r", "S"), effects=_E.WRITES),
    "watch": WrapperRule(
        ("n", "interval"), ("b", "c", "d", "e", "g", "t", "x", "beep", "color", "differences", "no-title"), joined=True
    ),
    "xargs": WrapperRule(
        ("I", "n", "P", "L", "d", "E", "s", "a", "max-args", "max-procs", "max-lines", "delimiter", "replace"),
        ("0", "r", "t", "p", "x", "null", "no-run-if-empty", "verbose", "interactive", "exit"),
        unread=True,
    ),
    "command": WrapperRule((), ("p", "v", "V")),
    "builtin": WrapperRule(),
    "exec": WrapperRule(("a",), ("c", "l")),
    "busybox": WrapperRule(),
    "toybox": WrapperRule(),
    "eval": WrapperRule(joined=True),
    "ssh": WrapperRule(
        ("b", "B", "c", "D", "e", "i", "I", "J", "l", "L", "m", "O", "p", "Q", "R", "W", "w"),
        ("4", "6", "A", "a", "C", "f", "G", "g", "K", "k", "M", "N", "n", "q", "s",
         "T", "t", "V", "v", "X", "x", "Y", "y"),
        1, _E.NETWORK, joined=True,
    ),
}  # fmt: skip

# Subcommands whose effects are known. All others have those of the program, or are UNKNOWN.
# Scripts of awk and sed that only print: no call of the system, no pipe, no file, no execution.
AWK_SCRIPT = re2.compile(r"system|getline|[|>@]|printf\s*\(?\s*\"%c|-f")
SED_SCRIPT = re2.compile(
    r"^(?:s/[^/\n]*/[^/\n]*/[gpiI0-9]*|s\|[^|\n]*\|[^|\n]*\|[gpiI0-9]*|s,[^,\n]*,[^,\n]*,[gpiI0-9]*|"
    r"s#[^#\n]*#[^#\n]*#[gpiI0-9]*|"
    r"s:[^:\n]*:[^:\n]*:[gpiI0-9]*|(?:[0-9$]+(?:[,~][0-9$]+)?|/[^/\n]*/)?!?[pdqn=])$"
)
_GIT_LOW = "status log diff show rev-parse ls-files ls-tree cat-file blame shortlog describe rev-list help version"
_GIT_MEDIUM = "add commit init stash tag branch mv restore switch merge"
_GIT_NETWORK = "clone fetch pull push remote ls-remote submodule"
GIT: dict[str, ShellEffect] = {
    **dict.fromkeys(_GIT_LOW.split(), _E.NONE),
    **dict.fromkeys(_GIT_MEDIUM.split(), _E.WRITES),
    **dict.fromkeys(_GIT_NETWORK.split(), _E.NETWORK | _E.WRITES),
    "rm": _E.DELETES,
    "clean": _E.DESTROYS,
    "reset": _E.DELETES,
}
GIT_OPTIONS: tuple[tuple[str, ShellEffect], ...] = (
    ("output", _E.WRITES), ("ext-diff", _E.OPAQUE), ("upload-pack", _E.OPAQUE), ("receive-pack", _E.OPAQUE),
    ("force", _E.DELETES), ("mirror", _E.DELETES), ("template", _E.OPAQUE), ("open-files-in-pager", _E.OPAQUE),
    ("exec", _E.OPAQUE), ("textconv", _E.OPAQUE),
)  # fmt: skip
SUBCOMMANDED = _names(
    "git docker podman kubectl helm oc terraform ansible aws gcloud az gh glab npm pnpm yarn pip pip3 pipx uv poetry "
    "conda "
    "gem bundle cargo go composer brew apt apt-get yum dnf zypper pacman snap systemctl service ip nmcli svn hg "
    "openssl dotnet nix heroku vagrant launchctl firewall-cmd ufw"
)

# Variables that change what a program's name means or what a program runs.
STEERING = _names(
    "PATH IFS ENV CDPATH SHELL PROMPT_COMMAND PS4 SHELLOPTS PYTHONPATH PYTHONSTARTUP PYTHONHOME NODE_OPTIONS NODE_PATH "
    "PERL5OPT PERL5LIB PERL5DB RUBYOPT RUBYLIB PAGER MANPAGER EDITOR VISUAL BROWSER LESSOPEN LESSCLOSE "
    "JAVA_TOOL_OPTIONS "
    "_JAVA_OPTIONS CLASSPATH GLOBIGNORE HOME TAR_OPTIONS RSYNC_RSH CVS_RSH SSH_ASKPASS SUDO_ASKPASS HISTFILE "
    "GCONV_PATH LOCPATH NLSPATH TERMINFO OPENSSL_CONF MAKEFLAGS"
)
STEERING_PREFIXES = ("LD_", "DYLD_", "GIT_", "BASH_", "PIP_", "NPM_", "npm_", "DOCKER_", "KUBE")

# Paths of secrets, in lower case.
SECRET_PATH = re2.compile(
    r"(?i)/etc/(?:g?shadow|sudoers|ssl/private|krb5\.keytab|master\.passwd|security/passwd|ppp/)|(?:^|[/~])\.(?:ssh|"
    r"gnupg|aws|"
    r"azure|kube|docker|netrc|pgpass|my\.cnf|npmrc|pypirc|git-credentials|vault-token|password-store|htpasswd|boto|"
    r"s3cfg|env|bash_history|zsh_history|mysql_history|psql_history|mozilla|config/gcloud|config/google-chrome|"
    r"config/gh|local/share/keyrings)(?:$|[/.*\s])|(?:^|[/=@:])id_(?:rsa|dsa|ecdsa|ed25519)|\.(?:pem|key|p12|pfx|jks|"
    r"keystore|kdbx|ppk|keytab)$|/proc/(?:\d+|self|kcore|\*)/?(?:environ|mem|maps|fd|root)?|/dev/(?:k?mem|port)|"
    r"/var/run/(?:docker\.sock|secrets)|/run/(?:docker\.sock|secrets)|/root/\.|(?:^|/)(?:shadow|gshadow|sudoers|"
    r"credentials|secrets?)(?:$|[./*])|\\(?:sam|security|system32\\config|ntds)|ntds\.dit|wp-config\.php|"
    r"169\.254\.169\.254|metadata\.google\.internal|login\.keychain"
)
SECRET_NAMES = (
    "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "credentials", "shadow", "gshadow", "sudoers", "secret", "secrets",
    "server.key", "private.pem", ".env", ".ssh", ".netrc", ".aws", "key.p12", "secrets.yaml",
)  # fmt: skip

# Places where the system, a shell, a scheduler or a repository reads what it runs.
SYSTEM_PATH = re2.compile(
    r"(?i)^(?:/+\.?/*)*(?:etc|boot|usr|bin|sbin|lib\w*|proc|sys|root|opt|dev/(?:sd|hd|vd|xvd|nvme|disk|mapper|mmcblk|"
    r"k?mem|"
    r"loop|dm-)|var/(?:spool|lib|log|www)|system|library|private/etc|efi)(?:$|[/\w*])|(?:^|[/~])\.(?:bash\w*|profile|"
    r"zsh\w*|zprofile|"
    r"login|cshrc|tcshrc|kshrc|inputrc|ssh|gitconfig|vimrc|xinitrc|xprofile|config/(?:autostart|systemd|fish)|"
    r"git/hooks|"
    r"git/config|netrc|npmrc|pypirc|aws|kube|docker)|authorized_keys|cron|sudoers|launchagents|launchdaemons|systemd|"
    r"\\windows|\\system32|ld\.so"
)
HARMLESS_TARGETS = frozenset({"/dev/null", "/dev/stdout", "/dev/stderr", "/dev/tty", "/dev/full", "/dev/zero"})
NETWORK_PATH = re2.compile(r"^/dev/(?:tcp|udp)/")
URL = re2.compile(r"(?i)[a-z][a-z0-9+.-]*://|^[\w.-]+@[\w.-]+:")


def statement() -> JSONValue:
    """Return all tables of this module, for the digest of the shell risk."""
    tables = (
        CLASS_OF, sorted(BIN_DIRECTORIES), sorted(RESERVED), sorted(SHELLS), sorted(INTERPRETERS), READERS,
        READER_OPTIONS, WRITERS, sorted(WRITER_LAST), WRITER_OPTIONS, OTHERS, OTHER_OPTIONS, WRAPPERS, GIT, GIT_OPTIONS,
        sorted(SUBCOMMANDED), sorted(STEERING), STEERING_PREFIXES, SECRET_NAMES, sorted(HARMLESS_TARGETS),
        [one.pattern for one in (AWK_SCRIPT, SED_SCRIPT, SECRET_PATH, SYSTEM_PATH, NETWORK_PATH, URL)],
    )  # fmt: skip
    return [_written(table) for table in tables]


def _written(value: object) -> JSONValue:
    """Return a part of a table as JSON; tables are a few floors high."""
    match value:
        case dict():
            return {str(name): _written(member) for name, member in value.items()}
        case list() | tuple():
            return [_written(item) for item in value]
        case Flag():
            return int(value.value)
        case bool() | int():
            return value
        case _:
            return str(value)
