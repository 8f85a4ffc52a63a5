"""Folder mapping: every rule by example, and its invariants over made-up mailboxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mailferry.errors import LocalProtocolError, UserError
from mailferry.model.folder import INBOX, Folder, FolderLimits, FolderStatus, Path, SpecialUse
from mailferry.plan.folders import FolderPlan, FolderPolicy, map_folders
from mailferry.plan.levels import Levels, escape, stored, unescape

OPEN = FolderLimits(separator="/", forbidden=frozenset(), max_name=255)
MAILDIR = FolderLimits(
    separator=".", forbidden=frozenset("./\0"), max_name=200, case_insensitive=True, max_depth=5, max_path=240
)
EXCHANGE = ("INBOX", "Calendar", "Contacts", "Sent Items", "Drafts", "Deleted Items", "Junk Email")


def folder(label: str | Path, use: SpecialUse | None = None, messages: int = 0, selectable: bool = True) -> Folder:
    path = tuple(label.split("/")) if isinstance(label, str) else label
    return Folder(path, "/".join(path), use, selectable, False, FolderStatus(1, messages + 1, messages))


def mapped(
    source: Sequence[Folder | str],
    target: Sequence[Folder | str] = ("INBOX",),
    limits: FolderLimits = MAILDIR,
    policy: FolderPolicy | None = None,
    previous: Mapping[Path, Path] | None = None,
) -> FolderPlan:
    def full(folders: Sequence[Folder | str]) -> list[Folder]:
        return [one if isinstance(one, Folder) else folder(one) for one in folders]

    return map_folders(full(source), full(target), limits, policy, previous)


def places(plan: FolderPlan) -> dict[str, str]:
    return {pair.source.label: "/".join(pair.target_path) for pair in plan.pairs}


def rules(plan: FolderPlan) -> dict[str, str]:
    return {one.folder.label: one.rule for one in plan.excluded}


def test_an_exchange_mailbox_in_german() -> None:
    plan = mapped(
        [
            *("INBOX", "Gesendete Elemente", "Gesendete Elemente/2019", "Entwürfe", "Gelöschte Elemente"),
            *("Junk-E-Mail", "Archiv", "RSS-Feeds", "Verlauf der Unterhaltung", "Projekte/Brücke"),
            *("Kalender", "Kalender/Urlaub", "Kontakte", "Aufgaben", "Notizen", "Journal", "Postausgang"),
            *("Synchronisierungsprobleme", "Synchronisierungsprobleme/Konflikte", "Files"),
        ]
    )
    assert places(plan) == {
        "INBOX": "INBOX",
        "Gesendete Elemente": "Sent",
        "Gesendete Elemente/2019": "Sent/2019",
        "Entwürfe": "Drafts",
        "Gelöschte Elemente": "Trash",
        "Junk-E-Mail": "Junk",
        "Archiv": "Archive",
        "RSS-Feeds": "RSS-Feeds",
        "Verlauf der Unterhaltung": "Verlauf der Unterhaltung",
        "Projekte/Brücke": "Projekte/Brücke",
    }
    assert rules(plan) == {
        "Kalender": "special:calendar",
        "Kalender/Urlaub": "special:calendar",
        "Kontakte": "special:contacts",
        "Aufgaben": "special:tasks",
        "Notizen": "special:notes",
        "Journal": "special:journal",
        "Postausgang": "special:outbox",
        "Synchronisierungsprobleme": "special:sync_issues",
        "Synchronisierungsprobleme/Konflikte": "special:conflicts",
        "Files": "special:files",
    }
    texts = {one.folder.label: one.text for one in plan.excluded}
    assert texts["Kalender"] == "calendar folder: carried by its own door"
    assert texts["Kalender/Urlaub"] == "below the calendar folder: carried by its own door"
    assert plan.notes == ()


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("a.b", "a=2Eb"),
        ("a/b", "a=2Fb"),
        ("..", "=2E=2E"),
        (".", "=2E"),
        ("", "="),
        (" lead", "=20lead"),
        ("trail ", "trail=20"),
        ("tab\there", "tab=09here"),
        ("nul\0", "nul=00"),
        ("~home", "=7Ehome"),
        ("50%", "50%"),
        ("a=b", "a=b"),
        ("a=2Fb", "a=3D2Fb"),
        ("Überfällig & mehr", "Überfällig & mehr"),
        ("\ud800", "=ED=A0=80"),
    ],
)
def test_what_a_level_becomes(name: str, place: str) -> None:
    plan = mapped(["INBOX", folder((name,))])
    assert plan.pairs[1].target_path == (place,)
    assert (plan.pairs[1].note is None) == (name == place)
    assert unescape(place) == name


def test_a_target_that_ends_its_sessions_at_an_emoji_gets_none() -> None:
    plan = mapped(["INBOX", folder(("\U0001f680 Launch",)), "日本語"], limits=replace(OPEN, bmp_only=True))
    names = [pair.target_path[0] for pair in plan.pairs]
    assert names == ["INBOX", "=F0=9F=9A=80 Launch", "日本語"]
    assert unescape(names[1]) == "\U0001f680 Launch"


def test_long_names_are_cut_and_stay_apart() -> None:
    names = ["x" * 300, "x" * 299 + "y", "Ж" * 150]
    plan = mapped([folder((name,)) for name in names])
    cut = [pair.target_path[0] for pair in plan.pairs]
    assert len(set(cut)) == 3
    assert all(stored(level) <= 200 and level[:40] == name[:40] for level, name in zip(cut, names, strict=True))
    assert all(pair.note for pair in plan.pairs)


def test_too_deep_and_too_long_paths_move_up() -> None:
    plan = mapped([folder(tuple("abcdefg")), folder(tuple(letter * 60 for letter in "abcde"))])
    deep, long = (pair.target_path for pair in plan.pairs)
    assert deep == ("a", "b", "c", "d", "e - f - g")
    assert sum(stored(level) + 1 for level in long) - 1 <= 240
    assert long[:2] == ("a" * 60, "b" * 60)


def test_names_that_differ_only_by_case_or_normalisation() -> None:
    source: list[Folder | str] = [
        "INBOX",
        folder(("CAFÉ",)),
        folder(("Café",)),
        folder(("Cafe\u0301",)),
        folder(("Café", "x")),
    ]
    assert places(mapped(source, limits=OPEN)) == {
        one: one for one in ("INBOX", "CAFÉ", "Café", "Cafe\u0301", "Café/x")
    }
    plan = mapped(source)
    assert [pair.target_path for pair in plan.pairs] == [
        INBOX,
        ("CAFÉ",),
        ("Café (3)",),
        ("Cafe\u0301 (2)",),
        ("Café (3)", "x"),
    ]
    assert plan.notes == (
        "Café: goes to Café (3), since CAFÉ has that name",
        "Cafe\u0301: goes to Cafe\u0301 (2), since CAFÉ has that name",
    )


def test_numbers_where_the_target_has_no_parentheses() -> None:
    limits = FolderLimits("/", frozenset("()"), 100, case_insensitive=True)
    assert places(mapped(["A", "a"], limits=limits)) == {"A": "A", "a": "a~2"}


def test_a_folder_called_inbox_is_not_the_inbox() -> None:
    for limits in (OPEN, MAILDIR):
        plan = mapped(["INBOX", "Inbox", "Inbox/old"], limits=limits)
        assert places(plan) == {"INBOX": "INBOX", "Inbox": "Inbox (2)", "Inbox/old": "Inbox (2)/old"}
        assert plan.notes == ("Inbox: goes to Inbox (2), since INBOX has that name",)


def test_the_targets_own_special_folders_are_used() -> None:
    target: list[Folder | str] = [
        "INBOX",
        folder("Gesendet", SpecialUse.SENT),
        "Papierkorb",
        folder("Spam", selectable=False),
    ]
    source: list[Folder | str] = [*EXCHANGE, folder("Sent", messages=3)]
    plan = mapped(source, target)
    assert places(plan) == {
        "INBOX": "INBOX",
        "Sent Items": "Sent Items",
        "Sent": "Gesendet",
        "Drafts": "Drafts",
        "Deleted Items": "Papierkorb",
        "Junk Email": "Spam",
    }
    by_label = {pair.source.label: pair for pair in plan.pairs}
    assert not by_label["Sent"].create
    assert by_label["Sent"].special_use is SpecialUse.SENT
    assert by_label["Sent Items"].special_use is None
    assert by_label["Junk Email"].create
    assert "Sent Items: Sent is taken as SENT; ordinary" in plan.notes


def test_a_folder_that_the_target_has_already_is_used_as_it_is_spelled() -> None:
    plan = mapped(["INBOX", "Projects", "Projects/New"], ["INBOX", "projects"])
    assert places(plan) == {"INBOX": "INBOX", "Projects": "projects", "Projects/New": "projects/New"}
    assert [pair.create for pair in plan.pairs] == [False, False, True]


def test_nothing_is_put_into_views_that_the_target_makes_itself() -> None:
    views = [folder("Everything", SpecialUse.ALL), folder("Starred", SpecialUse.FLAGGED)]
    source: list[Folder | str] = ["INBOX", folder("All Mail", SpecialUse.ALL), folder("Flags", SpecialUse.FLAGGED)]
    policy = FolderPolicy(exclude_special=frozenset())
    assert places(mapped(source[:2], ["INBOX", *views], policy=policy))["All Mail"] == "All Mail"
    assert places(mapped([source[0], source[2]], ["INBOX", *views], policy=policy))["Flags"] == "Flags"


def test_limits_may_say_where_special_folders_are() -> None:
    limits = FolderLimits(".", frozenset("./"), 200, special_uses={SpecialUse.SENT: ("Outgoing",)})
    assert places(mapped(EXCHANGE, limits=limits))["Sent Items"] == "Outgoing"


def test_kept_names_still_get_their_use() -> None:
    plan = mapped(EXCHANGE, policy=FolderPolicy(special_names="keep"))
    pair = next(pair for pair in plan.pairs if pair.source.label == "Deleted Items")
    assert (pair.target_path, pair.special_use) == (("Deleted Items",), SpecialUse.TRASH)
    plan = mapped(EXCHANGE, ["INBOX", folder("Bin", SpecialUse.TRASH)], policy=FolderPolicy(special_names="keep"))
    pair = next(pair for pair in plan.pairs if pair.source.label == "Deleted Items")
    assert (pair.target_path, pair.special_use) == (("Deleted Items",), None)


def test_a_folder_mapped_before_stays() -> None:
    previous: dict[Path, Path] = {("Sent Items",): ("Old sent",), ("gone",): ("Drafts",), ("a",): ("Moved", "a")}
    plan = mapped([*EXCHANGE, "a", "a/b", "gone too"], previous=previous)
    assert places(plan) == {
        "INBOX": "INBOX",
        "Sent Items": "Old sent",
        "Drafts": "Drafts (2)",  # the first name is that of a folder which the source no longer has
        "Deleted Items": "Trash",
        "Junk Email": "Junk",
        "a": "Moved/a",
        "a/b": "Moved/a/b",
        "gone too": "gone too",
    }


def test_patterns() -> None:
    source = ["INBOX", "Work", "Work/2019", "Work/2019/May", "Private", "[x]", "Workshop"]
    policy = FolderPolicy(include=("inbox", "work*"), exclude=("**/may", "workshop"))
    plan = mapped(source, policy=policy)
    assert places(plan) == {one: one for one in ("INBOX", "Work", "Work/2019")}
    assert rules(plan) == {
        "Work/2019/May": "exclude:**/may",
        "Private": "include",
        "[x]": "include",
        "Workshop": "exclude:workshop",
    }
    assert set(rules(mapped(source, policy=FolderPolicy(exclude=("[x]", "w?rk/*"))))) == {
        *("[x]", "Work/2019", "Work/2019/May"),
    }


def test_a_prefix_takes_everything_below_it_under_its_own_name() -> None:
    plan = mapped([*EXCHANGE, "Sent Items/x"], policy=FolderPolicy(prefix="Old mailbox/Exchange"))
    labels = ("INBOX", "Sent Items", "Drafts", "Deleted Items", "Junk Email", "Sent Items/x")
    assert places(plan) == {label: f"Old mailbox/Exchange/{label}" for label in labels}
    assert {pair.special_use for pair in plan.pairs} == {None}


def test_overrides_are_exact_and_folders_below_follow() -> None:
    policy = FolderPolicy(overrides={"Sent Items": "Mail/Out.box", "Work": "INBOX"})
    plan = mapped([*EXCHANGE, "Sent Items/x", "sent items 2", "Work"], policy=policy)
    assert places(plan)["Sent Items"] == "Mail/Out=2Ebox"
    assert places(plan)["Sent Items/x"] == "Mail/Out=2Ebox/x"
    assert places(plan)["sent items 2"] == "sent items 2"
    assert (places(plan)["INBOX"], places(plan)["Work"]) == ("INBOX", "INBOX (2)")


@pytest.mark.parametrize(
    "policy",
    [
        FolderPolicy(overrides={"a": "/"}),
        FolderPolicy(overrides={"a": "x", "b": "x"}),
        FolderPolicy(include=("",)),
        FolderPolicy(exclude=("/",)),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(policy: FolderPolicy) -> None:
    with pytest.raises(UserError):
        mapped(["INBOX"], policy=policy)


def test_a_target_that_forbids_the_escape_is_our_bug() -> None:
    with pytest.raises(LocalProtocolError):
        Levels(FolderLimits("/", frozenset("="), 100))


def test_containers_come_along_only_where_something_goes_below_them() -> None:
    source = [
        folder("[Gmail]", selectable=False),
        folder("[Gmail]/Sent Mail", SpecialUse.SENT),
        folder("Lists", selectable=False),
        folder("Lists/dev"),
        folder("Empty", selectable=False),
    ]
    plan = mapped(source)
    assert places(plan) == {"[Gmail]/Sent Mail": "Sent", "Lists": "Lists", "Lists/dev": "Lists/dev"}
    assert rules(plan) == {"[Gmail]": "container", "Empty": "container"}


def test_views_are_left_out_only_where_all_messages_are_carried() -> None:
    views = [folder("[Gmail]/Starred", SpecialUse.FLAGGED), folder("[Gmail]/Important", SpecialUse.IMPORTANT)]
    everything = folder("[Gmail]/All Mail", SpecialUse.ALL)
    plan = mapped(["INBOX", *views, everything])
    assert rules(plan) == {"[Gmail]/Starred": "view", "[Gmail]/Important": "view"}
    assert plan.notes == ("[Gmail]/All Mail: holds all messages, those of other folders a second time",)
    assert rules(mapped(["INBOX", *views])) == {}


def test_special_folders_can_be_left_out_by_policy() -> None:
    plan = mapped([*EXCHANGE, "Junk Email/x"], policy=FolderPolicy(exclude_special=frozenset({SpecialUse.JUNK})))
    assert rules(plan) == {"Junk Email": "special:junk", "Junk Email/x": "special:junk"}
    assert places(plan)["Calendar"] == "Calendar"


NAMES = st.one_of(
    st.sampled_from(
        [
            *("INBOX", "Inbox", "inbox", "Sent", "sent", "Sent Items", "Gesendete Elemente", "Calendar", "Contacts"),
            *("Café", "Cafe\u0301", "CAFÉ", "..", ".", "", " ", "a/b", "a.b", "a=2Fb", "=", "x" * 300, "Ж" * 120),
            *("Sent (2)", "[Gmail]", "Drafts", "Trash", "~x", "nul\0", "a", "A"),
        ]
    ),
    st.text(st.characters(), max_size=6),
)
PATHS = st.lists(NAMES, min_size=1, max_size=8).map(tuple)
USES = st.one_of(st.none(), st.none(), st.sampled_from(list(SpecialUse)))
FOLDERS = st.lists(
    st.builds(folder, PATHS, USES, st.integers(0, 3), st.booleans()), max_size=14, unique_by=lambda one: one.path
)
POLICIES = st.builds(
    FolderPolicy,
    include=st.sampled_from([(), ("**",), ("in*", "s*")]),
    exclude=st.sampled_from([(), ("c*",)]),
    prefix=st.sampled_from(["", "", "Old mailbox", "Old.mailbox/ x"]),
    overrides=st.sampled_from([{}, {"Sent": "INBOX"}, {"a": "Sent", "A": "x/y.z"}]),
    special_names=st.sampled_from(["target", "keep"]),
)
LIMITS = st.sampled_from([OPEN, MAILDIR, FolderLimits(".", frozenset("()%*"), 60, 2, True)])


@given(FOLDERS, FOLDERS, LIMITS, POLICIES, st.dictionaries(PATHS, PATHS.map(lambda path: ("prev", *path)), max_size=3))
def test_the_invariants(
    source: list[Folder],
    target: list[Folder],
    limits: FolderLimits,
    policy: FolderPolicy,
    previous: dict[Path, Path],
) -> None:
    levels = Levels(limits)
    target = list({(path := levels.path(one.path)): folder(path, one.special_use) for one in target}.values())
    previous = {path: levels.path(place) for path, place in previous.items()}
    assume(len({levels.key(path) for path in previous.values()}) == len(previous))
    plan = map_folders(source, target, limits, policy, previous)

    seen = [pair.source.path for pair in plan.pairs] + [one.folder.path for one in plan.excluded]
    assert sorted(seen) == sorted(one.path for one in source)
    keys = [levels.key(pair.target_path) for pair in plan.pairs]
    assert len(set(keys)) == len(keys), "two folders in one"

    there = {levels.key(one.path) for one in target}
    for pair in plan.pairs:
        assert pair.create or levels.key(pair.target_path) in there
        assert limits.max_depth is None or len(pair.target_path) <= limits.max_depth
        for level in pair.target_path:
            assert level not in ("", ".", "..")
            assert not set(level) & (limits.forbidden | {limits.separator})
            assert level == level.strip()
            assert not any(char < " " or char == "\x7f" for char in level)
            assert stored(level) <= limits.max_name

    settled = {pair.source.path: pair.target_path for pair in plan.pairs}
    again = map_folders(source, target, limits, policy, previous | settled)
    assert {pair.source.path: pair.target_path for pair in again.pairs} == settled


@given(st.lists(st.builds(folder, PATHS), max_size=14, unique_by=lambda one: one.path))
def test_the_order_of_the_listing_does_not_matter(source: list[Folder]) -> None:
    counted = [folder(one.path, messages=index) for index, one in enumerate(source)]  # no ties between claimants
    one_way = map_folders(counted, [], MAILDIR)
    other_way = map_folders(counted[::-1], [], MAILDIR)
    assert {pair.source.path: pair.target_path for pair in one_way.pairs} == {
        pair.source.path: pair.target_path for pair in other_way.pairs
    }


@given(NAMES | st.text(st.characters(codec=None)), st.frozensets(st.sampled_from("./\\%*&é()\0~ж"), max_size=4))
def test_the_escape_is_reversible(name: str, forbidden: frozenset[str]) -> None:
    level = escape(name, forbidden - {"~"})
    assert unescape(level) == name
    assert level not in ("", ".", "..")
    assert not set(level) & (forbidden - {"~"})


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_stored_counts_no_less_than_either_encoding(level: str) -> None:
    seven = level.replace("&", "&-") if level.isascii() and level.isprintable() else None
    assert stored(level) >= len(level.encode())
    if seven is not None:
        assert stored(level) == len(seven)
    assert stored("Entwürfe") == len("Entw&APw-rfe")
    assert stored("台北日本語") == max(15, len("&U,BTFw-&ZeVnLIqe-") - 2)
