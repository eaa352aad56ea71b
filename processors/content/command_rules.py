"""Rules of command injection: names of programs, and patterns of RE2 made of them.

A value that a tool puts into a command line breaks out of its place with a sign that joins, substitutes or redirects,
and then names a program. So most rules are a sign and a name. Names that are English words too count only with an
argument that no sentence has. All patterns stay linear in the text.
"""

from __future__ import annotations

from processors.content.rules import TextRule


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# Names that no sentence has.
CLEAR = _names(
    "apropos arp awk bash bcdboot bcdedit busybox bzip2 certutil chattr chgrp chmod chown chpasswd cmd cmd.exe crontab "
    "csh curl dash dd dig dmesg dnf doas dpkg echo egrep eval fgrep ftp gawk gcc getent grep groupadd gunzip gzip "
    "hexdump hostname htop icacls iconv ifconfig insmod ipconfig iptables irb iwr journalctl jq kldload ksh "
    "lsb_release "
    "ls lscpu lsmod lsof lua lwp-download mawk md5sum mkdir mkfifo mkfs mknod modprobe mshta mysql mysqldump nc ncat "
    "net netcat netsh netstat nmap nohup nslookup nsenter od openssl passwd perl pgrep php pip pip3 pkexec pkill "
    "printenv printf ps psql pty pwd pwsh powershell powershell.exe python python2 python3 readelf realpath reg "
    "regedit regsvr32 rlogin rm rmdir rmt rsync ruby rundll32 runas schtasks scp sed sh sha1sum socat ssh ssh-copy-id "
    "ssh-keygen strace su sudo sysctl systemctl systeminfo taskkill tasklist tclsh tcpdump tcsh telnet tftp tmux "
    "traceroute tracert tshark uname unxz unzip useradd usermod vim visudo vmstat vssadmin wbadmin wevtutil wget "
    "whoami wmic wscript xargs xxd xz zcat zsh apt apt-get aptitude yum rpm iex lastlog fsutil nltest dsquery "
    "bitsadmin cscript attrib xcopy robocopy diskpart findstr rbash mksh fold column uniq tac ansible "
    "ansible-playbook ansible-vault ansible-config ansible-doc ansible-inventory ansible-pull chef-client "
    "pipx cscli gdb ltrace ldd objdump strings whereis finger locate updatedb mktemp usleep setsid "
    "stdbuf ionice flock"
)
# Names that are words, products or languages too.
WORDY = _names(
    "alias at base64 bc bridge cal cat cc cd chef comm copy cp cpio crash cut cvs date del df diff dir docker du ed "
    "emacs "
    "env erase ex exec exit expand expr file find fish fmt format free git go halt head help host id install ip java "
    "join jobs kill kubectl last less ln local log logger login look mail make man mkdir mount more move mv nano nice "
    "nl node npm paste patch perf pic ping pr rc reboot ren rev route rs rsh screen script seq service set shred "
    "shutdown sleep sort source split stat start stty sum sync tail tar tee test time timeout top touch tr tree type "
    "ulimit unset update users vi view vol w wait wall watch wc which who write yes zip del"
)
# Names that a value of an argument is in whole only if someone tries out a shell.
BARE = _names("ifconfig ipconfig systeminfo whoami netstat tasklist phpinfo printenv lsmod visudo uname hostname")

_CLEAR = "(?:" + "|".join(name.replace(".", r"\.") for name in CLEAR) + ")"
_WORDY = "(?:" + "|".join(WORDY) + ")"
_NAME = f"(?:{_CLEAR}|{_WORDY})"
_PATH = r"(?:[\w.~-]{0,32}(?:/[\w.-]{1,32}){0,8}/)?"
_JOIN = r"(?:[;|`]|&&|\$\(|[<>]\()"
_OPEN = r"[\s({\"'\\@!]{0,8}"
_END = r"(?:$|[\s;|&<>)}\"'`$(,/\\])"
_STOP = r"\s*(?:$|[;|&`)}\n\r\"'<>])"
# An argument that no sentence has.
_ARGUMENT = (
    r"(?:\s*[<>]\s*[\w/&$\"'~(]|[\s+,]+(?:--?[A-Za-z]|/[\w?*.\[]|\.{1,2}/|~/|\$[\w({@]|https?:|[A-Za-z]:[\\/]|"
    r"%[A-Za-z]\w*%|"
    r"\*|<|&))"
)
_ARGUMENT_OF_WORD = _ARGUMENT.replace("https?:|", "")
_OPERAND = r"[\s+]+(?:[\w@-]+\.[A-Za-z]{1,5}\b|[\"'`(]|\d{1,5}(?:\s*$|\s*[;&|)]))"

_C, _S, _E, _P = "command.chain", "command.substitution", "command.evasion", "command.path"
_B, _W, _R, _X = "command.bare", "command.windows", "command.reverse_shell", "command.code"

RULES = (
    # A sign that joins, and a program.
    TextRule("chain-clear", _C, rf"(?i){_JOIN}{_OPEN}{_PATH}{_CLEAR}{_END}"),
    TextRule("chain-wordy", _C, rf"(?i){_JOIN}{_OPEN}{_PATH}{_WORDY}(?:{_ARGUMENT}|{_OPERAND})"),
    TextRule("chain-alone", _C, rf"{_JOIN}{_OPEN}{_PATH}{_WORDY}{_STOP}"),
    TextRule("background", _C, rf"(?i)&{_OPEN}{_PATH}(?:{_CLEAR}{_END}|{_NAME}(?:{_ARGUMENT}|{_OPERAND}))"),
    TextRule("background-tight", _C, rf"(?i)(?:^|[^\s&])&{_PATH}{_NAME}\s*(?:$|[;|&`)])"),
    TextRule("line", _C, rf"(?i)[\r\n]\s*{_PATH}{_NAME}{_ARGUMENT}"),
    TextRule("line-alone", _C, rf"(?i)^[^\r\n]{{0,40}}[\r\n]+\s*(?:/[\w./-]{{1,40}}/)?{_NAME}\s*[;|&]?\s*[\r\n]*$"),
    TextRule(
        "path-after-sign", _C,
        r"(?:[;|`]|&&?|\$\(|\n)\s*[\"']?(?:\.{0,2}/)(?:usr/|s?bin/|etc/|tmp/|var/|opt/|dev/)[\w?*./-]+",
    ),
    TextRule("leading", _C, r"^[\s\"')\]]*(?:;|\|\||&&?)[\s\"'({]*[\w./\\~$%{@]"),
    TextRule("leading-pipe", _C, r"^[\s\"')\]]*\|[\s\"'({]*[\w./\\~$%{@][^|\n]*(?:\|\s*)?$"),
    TextRule("closing", _C, rf"(?i)^[\w.-]{{0,32}}[\"')\]]{{1,4}}\s*[;|&]{{1,2}}\s*{_NAME}\b"),
    TextRule(
        "wrapped", _C,
        rf"(?i)\b(?:sudo|doas|nohup|strace|ltrace|setsid|busybox|xargs)\s+(?:-\w+\s+)*{_NAME}{_END}",
    ),
    TextRule("into-shell", _C, r"(?i)\|\s*(?:sudo\s+)?(?:/\w+(?:/\w+)*/)?(?:ba|da|z|k|c|tc)?sh\s*(?:$|[;|&\s)\"'-])"),
    # Substitutions.
    TextRule("substitution", _S, rf"(?i)(?:\$\(|`|[<>]\()\s*(?:\$\(|{_PATH}{_CLEAR}{_END})|\$\(\s*[`(]"),
    TextRule("substitution-call", _S, r"\$\(\s*[A-Za-z][\w-]{0,32}(?:\)\s*$|\s+[-/\w$'\"][^()]{0,200}\)|\))"),
    TextRule("arithmetic", _S, r"\$\(\([^)]{0,60}\)|\$\[[^\]]{0,60}\]"),
    TextRule(
        "expansion", _S,
        r"\$\{(?:IFS|PATH|HOME|SHELL|PWD|OLDPWD|BASH\w*)\b|\$\{!?\w+(?:[#%^,]|//?|:-?\d|@[A-Za-z]\})",
    ),
    TextRule("here-text", _S, r"<<<\s*[\w\"'$`]"),
    # Disguises.
    TextRule("blank", _E, r"\$(?:IFS\b|\{IFS[^}]{0,16}\})|\{(?:[\w./-]{0,32},)+[\w./*?'\"#-]{1,64}\}\s*$"),
    TextRule("braces", _E, r"^\s*\{,[\w/#?,-]{1,60}\}|^\s*\{/\?"),
    TextRule(
        "wild-path", _E,
        r"(?:^|[\s;|&=<(+])/(?:[\w*?]{0,8}\?\?[\w*?]{0,8}|\?|etc|e?t?\*|bin|b\*|usr|"
        r"\[\w+/*\]\w*)/\w*[?*\[][\w?*\[\]!./-]*",
    ),
    TextRule("wild-folder", _E, r"(?:^|[\s;|&=<(+])/(?:\?{2,4}|et[?*]|bi[?*]|[be?]\*|\[e/*\]tc)/?[\w?*]*"),
    TextRule("hidden-name", _E, r"(?i)\b(?:c\\a\\?t|w\\h?o?|b\\a|c\\u|l\\s|n\\c)\w*\s"),
    TextRule(
        "encoded", _E,
        r"(?i)\bbase64\s+(?:-d|--decode|-D)|\bxxd\s+-r|\|\s*(?:rev|tac)\b[^|]{0,40}\|\s*\w*sh\b|"
        r"\becho\s+-e\s+[\"']?\\\\?x[0-9a-f]",
    ),
    TextRule("alias", _E, r"(?i)\balias\s+(?:-p\s+)?[\w+.-]{1,32}=\S"),
    # Shells that call home, and functions.
    TextRule("socket", _R, r"/dev/(?:tcp|udp)/"),
    TextRule("netcat", _R, r"(?i)\b(?:nc|ncat|netcat|nc\.traditional)\b.{0,80}\s-\w*[ec]\w*\s"),
    TextRule("interactive", _R, r"(?i)\b(?:ba|z|k|c|da)?sh\s+-\w*i\w*\s*(?:>|<|\d?>&|$)|\bpty\.spawn\b|\bmkfifo\s+/"),
    TextRule("function", _R, r"(?:^|[\s;:=\"'])\w*\s*\(\)\s*\{\s*(?:$|:?\s*;|[^}]{0,80}[|;&][^}]{0,80}\})"),
    # Paths that only an attack names.
    TextRule(
        "secret-file", _P,
        r"(?i)(?:^|[\s;|&=<:\"'(@,/])/*etc/+(?:\./)*(?:passwd|g?shadow|sudoers|hosts|group|issue|crontab)\b",
    ),
    TextRule("program-path", _P, rf"(?i)^\s*(?:/?usr)?(?:/?local)?/?s?bin/{_NAME}{_END}"),
    TextRule(
        "redirect", _P,
        r">{1,2}\s*(?:/(?:etc|tmp|var|dev|root|home|usr|proc)/|~/|[\w./-]+\.(?:php|sh|jsp|aspx?|bat|ps1|py|cgi)\b)",
    ),
    TextRule("windows-file", _P, r"(?i)(?:%systemroot%|%windir%|c:\\win\w*)\\(?:repair|system32|system)\\"),
    # Windows.
    TextRule("for", _W, r"(?i)(?:^|[&|;(])\s*@?for\s+(?:/[dflr]\b[^%]{0,80})?%{1,2}\S+\s+in\s*\("),
    TextRule("for-named", _W, r"(?i)(?:^|[&|;(])\s*@?for\s+/[dflr]\s[^(]{0,80}\bin\s*\(.{0,200}\)\s*do\b"),
    TextRule(
        "if-state", _W,
        r"(?i)(?:^|[&|;(])\s*if(?:\s*/i)?\s+(?:not\s+)?(?:exist\s+\S|defined\s+\w+\s|errorlevel\s+\d|"
        r"cmdextversion\s+\d)",
    ),
    TextRule("if-letters", _W, r"(?i)(?:^|[&|;(])\s*if\s*/i\s+\S"),
    TextRule(
        "if-variable", _W,
        r"(?i)(?:^|[&|;(])\s*if\s+(?:not\s+)?[\"'(\[]?%.{1,60}(?:==|\s(?:gtr|lss|geq|leq|neq|equ)\s)",
    ),
    TextRule(
        "if-equal", _W,
        r"(?i)(?:^|[&|;(])\s*if\s+(?:not\s+)?\S[^=\n]{0,40}==\s*\S[^:\n]{0,40}?\s+\(?@?(?:echo|set|goto|cmd|call|"
        r"exit|del|copy|start|type|dir)\b",
    ),
    TextRule(
        "powershell", _W,
        r"(?i)\b(?:powershell|pwsh)(?:\.exe)?\s+(?:-|/|[a-z]:\\|[\"'&$(])|\b(?:iex|invoke-expression|"
        r"invoke-webrequest|iwr|start-process|downloadstring)\b\s*[(\"'$-]",
    ),
    TextRule("cmd", _W, r"(?i)\bcmd(?:\.exe)?\s*/[ckrv]\b|%comspec%"),
    TextRule(
        "registry", _W,
        r"(?i)\breg(?:\.exe)?\s+(?:add|delete|query|save|export|import)\s+[\"']?(?:hk|\\\\)|\bregedit\s+/",
    ),
    TextRule("account", _W, r"(?i)\bnet1?\s+(?:user|localgroup|group|share|use)\s+[\w\"'/\\]"),
    # Code of another language that runs a program.
    TextRule(
        "call", _X,
        r"(?i)(?:^|[^\w.])(?:system|shell_exec|passthru|proc_open|popen|pcntl_exec|os\.system|os\.popen|"
        r"subprocess\.\w+|child_process\.\w+|eval|exec|assert)\s*\(\s*(?:[\"'$`@]|base64_decode|\w+\s*\()",
    ),
    TextRule("php", _X, r"(?i)<\?(?:php\b|=)|\b(?:phpinfo|phpversion)\s*\(\s*\)"),
    TextRule("server-side", _X, r"(?i)<!--\s*#\s*(?:exec|include|config)\b"),
    TextRule(
        "template", _X,
        r"(?i)\$\{\s*@?\w+\s*\(|\{\$\{|\{\{.{0,80}(?:__\s*\w+\s*__|\bconfig\b|get_user_file|\bself\b|\brequest\b|"
        r"popen|\.constructor).{0,200}\}\}|#\{\s*`",
    ),
    TextRule("runtime", _X, r"(?i)\bgetRuntime\s*\(\s*\)|\bProcessBuilder\s*\(|\bT\(java\.lang"),
    # The whole value is a command.
    TextRule("bare", _B, rf"(?i)^\s*[\"'\\]?(?:{'|'.join(BARE)})[\"']?\s*(?:\(\))?;?\s*$"),
    TextRule(
        "bare-clear", _B,
        rf"(?i)^\s*[\"'\\]?{_PATH}{_CLEAR}[\"']?(?:\.exe)?(?:{_ARGUMENT}|[\s+]+[\w.@-]+[\s+]+{_ARGUMENT})",
    ),
    TextRule("bare-wordy", _B, rf"^\s*[\"'\\]?{_PATH}{_WORDY}[\"']?{_ARGUMENT_OF_WORD}"),
    TextRule("bare-dir", _B, r"(?i)^\s*(?:dir|type|del|copy|cd|rd|md)[\s+]+(?:/[a-z]\s+)*(?:[a-z]:[\\/]|%\w+%|\\\\)"),
    TextRule(
        "bare-sleep", _B,
        r"^\s*(?:sleep|usleep|kill -9)\s+\d{1,6}\s*$|^\s*which\s+(?:nc|netcat|gcc|wget|curl|python3?|perl|ruby|php|"
        r"bash)\s*$",
    ),
    TextRule("bare-script", _B, rf"^\s*(?:{_CLEAR}|echo|perl|python3?|ruby|php)\s+(?:-\w+\s+)?[\"'].{{0,200}}[\"']"),
    TextRule(
        "bare-manager", _B,
        r"^\s*(?:pip3?|pipx|npm|gem|apt|apt-get|yum|dnf|brew)\s+install\s+\S+\s*$|^\s*(?:ansible-\w+|kubectl|"
        r"systemctl|crontab|iptables|cscli)\s+[\w-]+",
    ),
    # Lines of other protocols.
    TextRule(
        "mail-line", "command.protocol",
        r"\r\n\s*(?:[A-Za-z]{0,2}\d{1,4}\s+|\w\s+)?(?:QUIT|AUTH|EHLO|HELO|MAIL FROM:|RCPT TO:|DATA|RSET|VRFY|"
        r"STARTTLS|(?i:authenticate|uid store|store \d|search flagged|fetch \d|login \S+ \S+))",
    ),
)  # fmt: skip

# Signs that a shell reads as a blank, and that it drops from a word.
BLANKS = r"\$IFS(?:\$\d)?|\$\{IFS[^}]{0,16}\}"
EXPANSION = r"\$\{[^{}\s]{0,40}\}"
DROPPED = ("$@", "$*", "$!", "$_", "$$", "$?", "$#", "$-", "$0", "\\", "'", '"', "^")
