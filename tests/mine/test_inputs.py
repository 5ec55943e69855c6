from collections import Counter
from pathlib import Path

import pytest
from repos import commit, function, git, make_repository

from dowse.errors import ConfigError, DataError
from dowse.mine.inputs import open_places, read_places
from dowse.mine.names import matches, read_names
from dowse.mine.repositories import Repository

NONE: frozenset[str] = frozenset()


def opened(tmp_path: Path, *arguments: str | Path, exclude=NONE) -> list[Repository]:
    return open_places(read_places(arguments), tmp_path / "clones", exclude, Counter())


def install(site: Path, name: str, files: dict[str, str], metadata: str = "License-Expression: MIT") -> None:
    """Lay out one distribution as an installer does."""
    for relative, source in files.items():
        (site / relative).parent.mkdir(parents=True, exist_ok=True)
        (site / relative).write_text(source, encoding="utf-8")
    info = site / f"{name}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.2\n{metadata}\n")
    (info / "RECORD").write_text("".join(f"{relative},,\n" for relative in files))


def test_no_repository_that_models_are_trained_on_is_reserved():
    configs = Path(__file__).resolve().parents[2] / "configs"
    addresses = [line.split()[0] for line in (configs / "repositories.txt").read_text().splitlines() if line[0] != "#"]
    reserved = read_names(configs / "reserved.txt")
    assert len(addresses) > 150 and "psf/requests" in reserved
    assert not [address for address in addresses if matches(address.removeprefix("https://github.com/"), reserved)]


def test_a_list_names_paths_commits_and_names(tmp_path):
    one = make_repository(tmp_path / "one", {"a.py": "a = 1\n"})
    first = git(one, "rev-parse", "HEAD")
    commit(one, {"a.py": "a = 2\n"}, "second")
    make_repository(tmp_path / "two words", {"b.py": "b = 1\n"})
    (tmp_path / "list.txt").write_text(
        f"# repositories\none {first}\n\none - owner/one  # at its head\n'two words'\n{tmp_path}/one {first[:8]}\n"
    )
    found = opened(tmp_path, tmp_path / "list.txt")
    assert [(one.name, one.commit[:8]) for one in found] == [
        ("one", first[:8]),
        ("owner/one", git(one, "rev-parse", "HEAD")[:8]),
        ("two words", git(tmp_path / "two words", "rev-parse", "HEAD")[:8]),
    ]


def test_a_url_is_cloned_once_with_its_history(tmp_path):
    source = make_repository(tmp_path / "owner" / "kit", {"a.py": "a = 1\n"})
    first = git(source, "rev-parse", "HEAD")
    commit(source, {"a.py": "a = 2\n"}, "second")
    (tmp_path / "list.txt").write_text(f"file://{source} {first}\n")
    [found] = opened(tmp_path, tmp_path / "list.txt")
    assert (found.name, found.commit) == ("owner/kit", first)
    assert dict(found.blobs()) == {"a.py": b"a = 1\n"}
    source.rename(tmp_path / "owner" / "gone")
    [again] = opened(tmp_path, tmp_path / "list.txt")
    assert again == found


def test_several_commits_of_one_url_share_its_clone(tmp_path):
    source = make_repository(tmp_path / "owner" / "kit", {"a.py": "a = 0\n"})
    commits = [git(source, "rev-parse", "HEAD")]
    commits += [commit(source, {"a.py": f"a = {number}\n"}, f"change {number}") for number in range(1, 6)]
    (tmp_path / "list.txt").write_text("".join(f"file://{source} {one}\n" for one in commits))
    found = opened(tmp_path, tmp_path / "list.txt")
    assert [dict(one.blobs()) for one in found] == [{"a.py": f"a = {number}\n".encode()} for number in range(6)]
    assert len({one.folder for one in found}) == len(list((tmp_path / "clones").iterdir())) == 1


def test_a_url_that_cannot_be_reached_is_told_with_its_row_and_leaves_nothing(tmp_path):
    (tmp_path / "list.txt").write_text(f"\nfile://{tmp_path}/nowhere/kit\n")
    with pytest.raises(
        DataError, match=r"list\.txt row 2: file://.*/nowhere/kit: git cannot reach it.*check the address"
    ):
        opened(tmp_path, tmp_path / "list.txt")
    assert [path.name for path in (tmp_path / "clones").iterdir() if path.suffix == ".git"] == []


@pytest.mark.parametrize(
    ("line", "kind", "said"),
    [
        ("kit v9", DataError, r"list\.txt row 1: .*kit: there is no commit 'v9'"),
        ("gone", ConfigError, r"list\.txt row 1: .*gone: not a folder"),
        ("~nosuchuser/kit", ConfigError, "~nosuchuser/kit begins with the home of a user who is not here"),
        ("kit a b c", DataError, r"list\.txt row 1: 4 words"),
        ("'kit", DataError, r"list\.txt row 1: No closing quotation"),
    ],
)
def test_a_mistake_in_a_list_is_told_with_its_row(tmp_path, line, kind, said):
    make_repository(tmp_path / "kit", {"a.py": "a = 1\n"})
    (tmp_path / "list.txt").write_text(line + "\n")
    with pytest.raises(kind, match=said):
        opened(tmp_path, tmp_path / "list.txt")


def test_a_list_that_is_no_text_and_a_path_that_is_nothing_are_refused(tmp_path):
    (tmp_path / "list.bin").write_bytes(b"\xff\xfe\0")
    with pytest.raises(DataError, match=r"list\.bin: .*expected a text file"):
        read_places([tmp_path / "list.bin"])
    with pytest.raises(ConfigError, match=r"gone: no such folder or file.*check the path"):
        read_places([tmp_path / "gone"])


def test_reserved_repositories_are_left_out_and_counted(tmp_path):
    for name, remote in (("a", "https://example.org/psf/Requests"), ("requests", ""), ("b", "https://example.org/x/b")):
        made = make_repository(tmp_path / name, {"a.py": f"{name} = 1\n"})
        if remote:
            git(made, "remote", "add", "origin", remote)
    (tmp_path / "reserved.txt").write_text("# never mined\npsf/requests\nother/b\n")
    skipped: Counter = Counter()
    places = read_places([tmp_path / "a", tmp_path / "requests", tmp_path / "b", f"file://{tmp_path}/psf/requests"])
    found = open_places(places, tmp_path / "clones", read_names(tmp_path / "reserved.txt"), skipped)
    assert [one.name for one in found] == ["x/b"]
    assert skipped == {"reserved repository": 3}


def test_a_repository_named_twice_is_one_and_folders_of_one_name_are_told_apart(tmp_path):
    for name in ("one/repo", "two/repo"):
        make_repository(tmp_path / name, {"a.py": "a = 1\n"})
    found = opened(tmp_path, tmp_path / "one" / "repo", tmp_path / "two" / "repo", tmp_path / "one" / "." / "repo")
    assert [one.name for one in found] == ["one/repo", "two/repo"]


def test_installed_distributions_are_one_repository_each(tmp_path):
    site = tmp_path / "site"
    install(site, "alpha", {"alpha/core.py": function("one")})
    install(site, "beta", {"beta.py": function("two")}, "Classifier: License :: OSI Approved :: BSD License")
    found = opened(tmp_path, site)
    assert [(one.name, one.version, one.licence, [path for path, _ in one.blobs()]) for one in found] == [
        ("alpha", "1.2", "MIT", ["alpha/core.py"]),
        ("beta", "1.2", "BSD-3-Clause", ["beta.py"]),
    ]


def test_what_an_installer_recorded_outside_its_folder_is_not_read(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret.py").write_text(function("secret"))
    site = tmp_path / "site"
    install(site, "kit", {"kit/good.py": function("f")})
    (site / "link").symlink_to(tmp_path / "elsewhere")
    with (site / "kit-1.2.dist-info" / "RECORD").open("a") as record:
        record.write(f"{tmp_path}/elsewhere/secret.py,,\nlink/secret.py,,\n../elsewhere/secret.py,,\n")
    [kit] = opened(tmp_path, site)
    assert [path for path, _ in kit.blobs()] == ["kit/good.py"]


def test_reserved_distributions_and_copies_inside_others_are_left_out(tmp_path):
    site = tmp_path / "site"
    install(site, "Http_X", {"http_x/api.py": function("reserved")})
    install(site, "kit", {name: function("f") for name in ("kit/good.py", "kit/http_x/api.py", "kit/http_x.py")})
    [kit] = opened(tmp_path, site, exclude=frozenset({"owner/http-x"}))
    assert [path for path, _ in kit.blobs()] == ["kit/good.py"]


def test_the_licence_file_of_a_distribution_is_read_where_its_metadata_say_no_more(tmp_path):
    install(tmp_path / "site", "kit", {"kit.py": function("one")}, "License-File: LICENSE")
    text = "Unlicense\n\nThis is free and unencumbered software released into the public domain.\n"
    (tmp_path / "site" / "kit-1.2.dist-info" / "licenses").mkdir()
    (tmp_path / "site" / "kit-1.2.dist-info" / "licenses" / "LICENSE").write_text(text)
    assert [one.licence for one in opened(tmp_path, tmp_path / "site")] == ["Unlicense"]


@pytest.mark.parametrize(
    ("metadata", "licence"),
    [
        ("License-Expression: BSD-3-Clause\nLicense: see file", "BSD-3-Clause"),
        ("Classifier: License :: OSI Approved :: MIT License\nLicense: whole text", "MIT"),
        ("License: Apache 2.0", "Apache-2.0"),
        ("Classifier: License :: OSI Approved :: MIT License\nClassifier: License :: OSI Approved :: GPLv9", ""),
        ("License: Proprietary", ""),
        ("Summary: none stated", ""),
    ],
)
def test_the_licence_of_a_distribution_is_taken_from_its_metadata(tmp_path, metadata, licence):
    install(tmp_path / "site", "kit", {"kit.py": function("one")}, metadata)
    assert [one.licence for one in opened(tmp_path, tmp_path / "site")] == [licence]
