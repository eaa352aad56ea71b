"""`macaw policy validate|test|diff` on files: everything is named, nothing is sent, and hostile names do no harm."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from macaw.cli import main
from macaw.policies.files import check_files
from macaw.policies.warnings import WARNINGS
from processors.policy.globs import granting
from processors.policy.insight.overlaps import covers, intersection, overlap

VECTORS = Path(__file__).parents[1] / "vectors" / "mapl"
HOSTILE = "a\x1b[2J\u202e"


def write(folder: Path, name: str, document: Any) -> str:
    path = folder / name
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return str(path)


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    status = main(["policy", *words])
    out, err = capsys.readouterr()
    return status, out, err


# ---- validate


def refused() -> list[tuple[str, Any, str]]:
    """Return (id, text, code) of the documents of the case files that are refused by themselves."""
    found = []
    for line in map(json.loads, (VECTORS / "refusals.jsonl").read_text("utf-8").splitlines()):
        text = line.get("publish_raw") or json.dumps(line.get("publish"))
        alone = not line.keys() & {"set", "withdraw", "signer", "previous", "policies"}
        if alone and line.get("expect", [""])[0] == "refused" and not isinstance(line.get("publish"), list):
            found.append((line["id"], text, line["expect"][1]))
    return found


@pytest.mark.parametrize(("text", "code"), [row[1:] for row in refused()], ids=[row[0] for row in refused()])
def test_every_refusal_is_told_with_code_place_and_file(
    text: str, code: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the log would refuse is refused before it is sent, with exit status 1."""
    path = tmp_path / "policy.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))

    status, out, _ = run(capsys, "validate", str(path), "--json")

    found = [one for one in json.loads(out)["findings"] if one["level"] == "refusal"]
    assert status == 1
    assert [(one["code"], one["file"]) for one in found] == [(code, str(path))]
    assert found[0]["pointer"] == "" or found[0]["pointer"].startswith("/")
    assert found[0]["sentence"] != "refused"


WARNED = {
    "W_OUTSIDE_PARENT": {"policy_id": "role:a", "extends": "role:parent", "resources": ["data:x", "tool:a/b"]},
    "W_NO_DOMAIN": {"policy_id": "role:a", "resources": ["calc"]},
    "W_ATT_ORPHAN": {"policy_id": "role:a", "resources": ["tool:a"], "constraints": {"attestations": {"k": {}}}},
    "W_ATT_SHADOW": {"policy_id": "role:a", "extends": "role:parent", "attestations": ["approved"]},
    "W_BROAD_GRANT": {"policy_id": "role:a", "resources": ["**"]},
    "W_NARROW_STAR": {"policy_id": "role:a", "resources": ["*"]},
    "W_ID_CASE": {"policy_id": "restrict:org:FinTech", "denied_resources": ["tool:a"]},
    "W_ORDINARY": {"policy_id": "role:a", "denied_resources": ["tool:sh/{rm,dd}"]},
    "W_NEVER": {"policy_id": "role:a", "denied_resources": ["file:/srv/../etc/*"]},
    "W_REGEX_ANCHORED": {"policy_id": "role:a", "attestations": ["deny::{params.cmd MATCHES /[0-9]+/}"]},
    "W_REGEX_LINES": {"policy_id": "role:a", "attestations": ["deny::{params.cmd MATCHES /(?i).*drop.*/}"]},
    "W_MATCHES_CASE": {"policy_id": "role:a", "attestations": ["deny::{params.cmd MATCHES '*drop table*'}"]},
    "W_EMPTY": {"policy_id": "role:a", "description": "says nothing"},
}
PARENT = {
    "policy_id": "role:parent",
    "resources": ["tool:*"],
    "attestations": ["approved"],
    "constraints": {"attestations": {"approved": {"approval_criteria": "role:lead"}}},
}


def test_every_warning_has_a_document_that_earns_it() -> None:
    """The table below leaves none out."""
    assert WARNED.keys() == WARNINGS.keys()


@pytest.mark.parametrize("code", WARNED)
def test_a_warning_is_told_and_refuses_nothing(code: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exactly this one, at its place; exit status 0."""
    files = [write(tmp_path, "one.json", WARNED[code]), write(tmp_path, "parent.json", PARENT)]

    status, out, _ = run(capsys, "validate", *files, "--json")

    assert status == 0
    assert [(one["code"], one["file"]) for one in json.loads(out)["findings"]] == [(code, files[0])]


def test_a_chain_is_checked_over_all_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Parents in any order; a circle, a parent that is nowhere and a second file with an id are refused."""
    a = write(tmp_path, "a.json", {"policy_id": "role:a", "extends": "role:b"})
    b = write(tmp_path, "b.json", {"policy_id": "role:b", "denied_resources": ["tool:x"]})
    circle = write(tmp_path, "c.json", {"policy_id": "role:b", "extends": "role:a"})

    assert run(capsys, "validate", a, b)[0] == 0
    for files, codes in (
        ((a,), {"E_EXTENDS_UNKNOWN"}),
        ((a, circle), {"E_EXTENDS_CYCLE"}),
        ((a, b, circle), {"E_CONFLICT"}),
    ):
        status, out, _ = run(capsys, "validate", *files, "--json")
        assert status == 1
        assert {one["code"] for one in json.loads(out)["findings"]} == codes


def test_only_the_organisation_key_signs_for_everybody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`org:` is refused unless one says whose key will sign; ids that come with calls always are."""
    shared = write(tmp_path, "org.json", {"policy_id": "org:base", "denied_resources": ["tool:x"]})

    assert "E_PREFIX_RESERVED" in run(capsys, "validate", shared)[1]
    assert run(capsys, "validate", shared, "--organisation")[0] == 0


def test_findings_as_sarif(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each result refers to a rule of its code, a file and a level, as SARIF 2.1.0 wants it."""
    bad = write(tmp_path, "bad file.json", {"policy_id": "role:a", "surprise": 1})
    broad = write(tmp_path, "broad.json", WARNED["W_BROAD_GRANT"])

    status, out, err = run(capsys, "validate", bad, broad, "--format", "sarif")

    log = json.loads(out)
    [one] = log["runs"]
    rules = one["tool"]["driver"]["rules"]
    assert (status, log["version"], err) == (1, "2.1.0", "")
    assert log["$schema"].endswith("sarif-schema-2.1.0.json")
    assert [(r["ruleId"], r["level"]) for r in one["results"]] == [
        ("E_UNKNOWN_FIELD", "error"),
        ("W_BROAD_GRANT", "warning"),
    ]
    assert [rules[r["ruleIndex"]]["id"] for r in one["results"]] == [r["ruleId"] for r in one["results"]]
    places = [r["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for r in one["results"]]
    assert places[0].endswith("bad%20file.json")
    assert all(r["message"]["text"] for r in one["results"])


def test_what_stands_in_a_file_cannot_drive_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names of members, files and cases are escaped wherever they are shown."""
    bad = write(tmp_path, "bad.json", {"policy_id": "role:a", HOSTILE: 1})
    cases = write(tmp_path, "cases.jsonl", {"id": HOSTILE, "resource": f"tool:{HOSTILE}", "expect": [HOSTILE, "x"]})

    for words in (
        ("validate", bad),
        ("validate", bad, "--format", "sarif"),
        ("test", cases),
        ("test", cases, "--json"),
    ):
        status, out, err = run(capsys, *words)
        assert status == 1
        assert all(line.isprintable() for line in (out + err).split("\n"))
        assert "\\u001b" in out or "\\x1b" in out


# ---- test


@pytest.mark.parametrize("name", ["conformance", "readings", "refusals", "patterns"])
def test_the_case_files_of_the_language_pass(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Operators' cases are played by the same rules as the language's own."""
    status, out, _ = run(capsys, "test", str(VECTORS / f"{name}.jsonl"), "--json")

    assert [one for one in json.loads(out)["results"] if not one["passed"]] == []
    assert status == 0


def test_a_case_that_comes_out_otherwise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is told with what was found and the check that decided; exit status 1."""
    policy = write(tmp_path, "p.json", {"policy_id": "user:eve", "resources": ["tool:a"], "denied_resources": ["*a"]})
    case = {"id": "c1", "session": {"user": "eve"}, "resource": "tool:a", "expect": ["allowed", "ALLOWED"]}
    cases = write(tmp_path, "cases.jsonl", case)

    status, out, err = run(capsys, "test", cases, "--policies", policy)

    assert status == 1
    assert re.search(r"c1\s+allowed ALLOWED\s+denied RESOURCE_DENIED\s+user:eve /denied_resources/0", out)
    assert "1 cases, 1 failed" in err
    assert run(capsys, "test", write(tmp_path, "none.jsonl", ""))[0] == 1  # nothing was tested


def test_an_approval_for_one_use_serves_one_call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where the policy lets a grant be used twice: the stricter of both counts."""
    meta = {"approval_criteria": "role:lead", "timeout": 60, "max_uses": 2}
    needs = {"policy_id": "tool:x", "resources": ["**"], "attestations": ["ok"]}
    given = {"key": "ok", "status": "approved", "one_time": True, "at": "2026-03-02T14:59:00Z"}
    case = {
        "id": "once",
        "policies": [needs | {"constraints": {"attestations": {"ok": meta}}}],
        "session": {"user": "eve"},
        "resource": "x",
        "times": ["2026-03-02T15:00:00Z", "2026-03-02T15:00:01Z"],
        "attestations": [given | {"by": [{"user": "lee", "is": ["role:lead"]}]}],
        "expect": [["allowed", "ALLOWED"], ["pending", "APPROVAL_PENDING"]],
    }

    assert run(capsys, "test", write(tmp_path, "cases.jsonl", case))[0] == 0


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"resourcs": ["tool:a"]}, "unknown field `resourcs`: did you mean `resources`?"),
        ({"constraints": {"rate_limits": 5}}, "unknown field `rate_limits`: did you mean `rate_limit`?"),
        ({"quorum": 2}, "unknown field `quorum` at this place: it belongs to another object"),
        ({"zzz/~": 1}, "unknown field `zzz/~`"),
    ],
)
def test_a_field_that_the_language_does_not_have_is_named(
    document: dict[str, object], told: str, tmp_path: Path
) -> None:
    """With the nearest field that the language has, if one is near."""
    path = write(tmp_path, "p.json", {"policy_id": "role:a", **document})

    _, [finding] = check_files([Path(path)])

    assert (finding.code, finding.sentence) == ("E_UNKNOWN_FIELD", told)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "the line is not JSON, syntax error"),
        ("[]", "the line is not a JSON object"),
        ('{"id": "a", "resorce": "tool:a", "expect": []}', "a case has no member 'resorce'"),
        ('{"id": "a", "expect": []}', "the case has none of `resource`, `publish`"),
        ('{"id": "a", "set": "gone", "resource": "tool:a", "expect": []}', "the set 'gone' is not defined"),
        ('{"id": "a", "session": "gone", "resource": "tool:a", "expect": []}', "the session 'gone' is not defined"),
        ('{"id": "a", "now": "noon", "resource": "tool:a", "expect": []}', "not an RFC 3339 time"),
        ('{"id": "a", "policies": [{"policy_id": 1}], "resource": "tool:a", "expect": []}', "would be refused: E_TYPE"),
        ('{"id": "a", "history": [{}], "resource": "tool:a", "expect": []}', "has a member of a wrong form"),
        ('{"set": "a", "files": ["gone/*.json"]}', "'gone/*.json' in `files` matches no file"),
        ('{"set": "a", "files": ["/etc/*.json"]}', "relative to the case file"),
        ('{"sets": 1}', "defines nothing"),
    ],
)
def test_a_case_file_that_is_none(line: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence with file and line; never a failed case, never a passed one."""
    cases = write(tmp_path, "cases.jsonl", "\n" + line)

    status, out, err = run(capsys, "test", cases)

    assert (status, out) == (1, "")
    assert "cases.jsonl:2: " in err
    assert message in err
    assert err.count("\n") == 1


# ---- diff


def test_flips_between_two_versions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A bound that moved by one is found, and so is a member and a pattern; what is the same is 'none found'."""
    spec = {"n": {"max": 5}, "c": ["a", "b"]}
    base = {"policy_id": "restrict:team:red", "constraints": {"parameters": {"tool:shop/*": spec}}}
    old = write(tmp_path, "old.json", base)
    versions = {
        "bound": {**spec, "n": {"max": 6}},
        "member": {**spec, "c": ["a"]},
        "required": {**spec, "n": {"max": 5, "required": True}},
    }
    for name, changed in versions.items():
        new = write(tmp_path, f"{name}.json", {**base, "constraints": {"parameters": {"tool:shop/*": changed}}})
        status, out, _ = run(capsys, "diff", old, new, "--json")
        assert status == 0
        assert any(flip["before"][0] != flip["after"][0] for flip in json.loads(out)["flips"]), name
    denied = write(tmp_path, "denied.json", {**base, "denied_resources": ["tool:shop/**/admin"]})
    assert '"RESOURCE_DENIED"' in run(capsys, "diff", old, denied, "--json")[1]
    same = run(capsys, "diff", old, old)[1]
    assert "none found" in same
    assert ": none\n" not in same


def test_effective_without_a_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Roles are alternatives; attributes that no policy looks at are a mistake."""
    files = [
        write(tmp_path, f"{name}.json", {"policy_id": f"role:{name}", "resources": [f"tool:{name}/*"]})
        for name in ("a", "b")
    ]
    policies = [word for file in files for word in ("--policies", file)]

    status, out, _ = run(
        capsys, "effective", "--attributes", '{"user": "eve", "roles": ["a", "b"]}', *policies, "--json"
    )
    assert status == 0
    assert [one["branch"] for one in json.loads(out)["alternatives"]] == ["role:a", "role:b"]
    assert "roles are alternatives" in run(capsys, "effective", "--attributes", '{"roles": ["a", "b"]}', *policies)[1]
    assert "NO_POLICY" in run(capsys, "effective", "--attributes", "{}", *policies)[1]
    for attributes, code in (('{"rolls": []}', 1), ("[]", 1), ('{"user": "*"}', 1), ("{", 1)):
        assert run(capsys, "effective", "--attributes", attributes, *policies)[0] == code
    assert run(capsys, "effective")[0] == 2
    assert run(capsys, "effective", "--attributes", "{}")[0] == 2
    assert run(capsys, "simulate")[0] == 2


def test_a_folder_that_is_no_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A stranger's folder is refused in one sentence, whatever is in it."""
    policy = write(tmp_path, "p.json", {"policy_id": "role:a"})
    folder = tmp_path / "evidence"
    folder.mkdir()
    for name, text in (("manifest.json", "{}"), ("manifest.json", "[" * 100_000), ("surprise", ""), ("", "")):
        if name:
            (folder / name).write_text(text)
        status, out, err = run(capsys, "simulate", "--policy", policy, "--log", str(folder))
        assert (status, out) == (1, "")
        assert err.startswith("macaw: ")
        assert f"cannot read {folder} as an export: " in err
        assert "`macaw audit export DIR`" in err
        assert err.count("\n") == 1


# ---- patterns against each other

PIECES = st.lists(st.sampled_from(["a", "b", "/", ":", "*", "**"]), max_size=6).map("".join)
TEXTS = st.text(alphabet="ab/:", max_size=6)


@given(PIECES, PIECES, TEXTS)
def test_patterns_held_against_each_other_agree_with_names(one: str, other: str, text: str) -> None:
    """What meets both overlaps, what meets the narrower meets the wider, and an intersection loses no name."""
    left, right = granting(one)(text), granting(other)(text)

    if left and right:
        assert overlap(one, other)
        assert any(all(granting(part)(text) for part in found.split(" & ")) for found in intersection((one,), (other,)))
    if covers(one, other) and right:
        assert left
