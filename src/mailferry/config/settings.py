"""`mailferry.toml`: every setting, its meaning and its default, as pydantic models. Opens nothing but that file.

Invariant: a `Settings` is complete and consistent in itself; passwords stand in it by reference only. The reference
page docs/settings.md is made from these models (`python -m lab.settings_page`), so every field has a description.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, field_validator, model_validator

from mailferry.config.coexist import Coexist
from mailferry.config.fields import Domain, Reference, Table, Text
from mailferry.config.stack import StackSettings
from mailferry.config.trace import Trace
from mailferry.config.workers import Workers
from mailferry.errors import ConfigError

FILE = "mailferry.toml"
VARIABLE = "MAILFERRY_CONFIG"

DistinguishedName = Annotated[str, StringConstraints(pattern=r"^[^=,]+=.+")]
Attribute = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9-]*$")]


class Source(Table):
    """Where the people are read. Nothing is ever written there."""

    kind: Literal["ad", "ldap", "csv", "ldif", "vcard"] = Field(
        default="ad", description="`ad`: Active Directory; `ldap`: any LDAP server; `csv`, `ldif`, `vcard`: files."
    )
    url: Text = Field(
        description="`ldaps://HOST[:PORT]`, `ldap://HOST[:PORT]` (StartTLS is then asked for), or the path of a file."
    )
    bind: str | None = Field(
        default=None,
        description="Who to log in as: a DN, `user@domain` or `DOMAIN\\user`. Without it: anonymous, or `kerberos`.",
    )
    password: Reference | None = Field(
        default=None,
        description="Where the password is: `env:NAME`, `file:PATH`, `command:COMMAND` or `keyring:SERVICE/USER`.",
    )
    kerberos: bool = Field(default=False, description="Log in with the Kerberos ticket of whoever runs Mailferry.")
    base: tuple[DistinguishedName, ...] = Field(
        default=(),
        description="Where to search: a DN, or several. Default: the whole naming context. DirSync always reads that "
        "whole.",
    )
    filter: str | None = Field(default=None, description="An LDAP filter that narrows what is read.")
    names: dict[str, tuple[Attribute, ...]] = Field(
        default={},
        description="Only for `ldap`: which attributes say what, where the site has its own, such as "
        '`names.carried = ["uniSignature"]`. Fields: those of `Names` in `directory/readers/ldap_map.py`.',
    )
    ca_file: Path | None = Field(default=None, description="The CA certificates to trust instead of the system's.")
    tls: Literal["verify", "insecure", "none"] = Field(
        default="verify",
        description="`insecure` accepts any certificate, `none` uses no TLS: both only for a test network.",
    )

    @field_validator("base", mode="before")
    @classmethod
    def _one_base(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value


class Branches(Table):
    """Under which entry (relative to the suffix) each kind of recipient stands."""

    people: DistinguishedName = Field(default="ou=people", description="People with a mailbox here or elsewhere.")
    groups: DistinguishedName = Field(default="ou=groups", description="Groups and dynamic groups.")
    contacts: DistinguishedName = Field(default="ou=contacts", description="Mail contacts: people outside.")
    shared: DistinguishedName = Field(
        default="ou=shared", description="Shared mailboxes and public folders with an address."
    )
    resources: DistinguishedName = Field(default="ou=resources", description="Rooms and equipment.")


class Target(Table):
    """The open directory, which this fills."""

    url: Text = Field(description="`ldap://`, `ldaps://` or `ldapi://` of the provider (not of a replica).")
    suffix: DistinguishedName = Field(description="The directory's suffix, such as `dc=acme,dc=example`.")
    bind: str | None = Field(
        default=None, description="The DN to log in as. Without it over `ldapi://`: SASL EXTERNAL."
    )
    password: Reference | None = Field(default=None, description="Where its password is, as above.")
    ca_file: Path | None = Field(default=None, description="The CA certificates to trust instead of the system's.")
    tls: Literal["verify", "insecure", "none"] = Field(default="verify", description="As for the source.")
    branches: Branches = Field(default=Branches(), description="See `[directory.target.branches]`.")
    bulk: Path | None = Field(
        default=None,
        description="slapd's configuration directory (`/etc/ldap/slapd.d`) where the target runs on this machine: a "
        "first load then goes through `slapadd -q`, many times as fast.",
    )
    bulk_stop: Text | None = Field(default=None, description="The command that stops slapd for a bulk load.")
    bulk_start: Text | None = Field(default=None, description="The command that starts slapd again.")

    @model_validator(mode="after")
    def _bulk_is_whole(self) -> Self:
        if len({self.bulk is None, self.bulk_stop is None, self.bulk_start is None}) > 1:
            raise ValueError("bulk, bulk_stop and bulk_start go together")
        return self

    @model_validator(mode="after")
    def _branches_are_relative(self) -> Self:
        for branch in self.branches.model_dump().values():
            if branch.lower().endswith(f",{self.suffix.lower()}"):
                raise ValueError(f"branches are relative to the suffix: {branch}")
        return self


class Rules(Table):
    """Who becomes whom."""

    domains: tuple[Domain, ...] = Field(
        default=(),
        description="The domains that this organisation accepts mail for, its main one first. Empty: all are.",
    )
    uid: str = Field(
        default="{account}|{mail_local}",
        description="The uid of a new entry, from `{account} {mail_local} {mail_domain} {principal_local} {givenName} "
        "{sn} {name} {employeeNumber}`; letters become ASCII (ü → ue, Ю → yu). `|` separates further templates, "
        "taken where the one before lacks something. A uid once given stays.",
    )
    person_dn: str = Field(default="uid={uid}", description="The RDN of people, shared mailboxes and resources.")
    group_dn: str = Field(default="cn={name}", description="The RDN of groups; the same fields and `{uid}`.")
    contact_dn: str = Field(default="cn={name}", description="The RDN of contacts; the same fields and `{uid}`.")
    exclude: tuple[str, ...] = Field(
        default=(),
        description="Who stays out: patterns (`*`, `?`) of ids, account names, addresses or places (DN, `FILE:LINE`).",
    )
    exceptions: Path | None = Field(
        default=None,
        description="A CSV file `who,uid,dn,exclude,replaces`: what the rules get wrong, person by person.",
    )
    accounts_without_mail: bool = Field(default=False, description="Whether accounts without a mailbox come, too.")


class Brake(Table):
    """How much of what stands in the target one run may change or delete: the larger of both."""

    percent: float = Field(default=5.0, ge=0, le=100, description="Per cent of the entries that are Mailferry's.")
    entries: int = Field(default=20, ge=0, description="Entries.")


class Authority(Table):
    """Which side says what an attribute is."""

    target: tuple[Attribute, ...] = Field(
        default=(),
        description="Further attributes that the target side owns: given to a new entry, never changed afterwards. "
        "mailferryRoute, mailHost, mailferryPasswordFrom and userPassword always are; attributes that Mailferry does "
        "not write are everybody else's.",
    )


class Follow(Table):
    """How `mailferry directory sync --follow` keeps in step."""

    poll_seconds: float = Field(default=0.5, gt=0, le=3600, description="How often the source is asked for changes.")
    reconcile_at: str = Field(
        default="02:30",
        pattern=r"^([01]\d|2[0-3]):[0-5]\d$",
        description="When everything is compared each day (local time), which finds what a delta cannot show.",
    )


class ExchangeSide(Table):
    """People born on the open side as mail users in Exchange, by a script (`mailferry directory exchange-script`)."""

    routing_domain: Domain | None = Field(
        default=None,
        description="The open side's private domain: Exchange sends to `UID@` this domain what is for such a person.",
    )
    container: DistinguishedName | None = Field(
        default=None, description="The OU that they stand in, in Active Directory. It has to exist."
    )
    mark: str = Field(
        default="extensionAttribute15",
        pattern=r"^extensionAttribute([1-9]|1[0-5])$",
        description="The attribute (Exchange's CustomAttribute) that tells our mail users from all others; nobody else "
        "may use it.",
    )


class DirectorySettings(Table):
    """People: from where, to where, by which rules."""

    schema_: Literal["inet", "qmail"] = Field(
        default="inet",
        alias="schema",
        description="How mail attributes are written: `inet`: inetLocalMailRecipient, `qmail`: qmail-ldap's qmailUser.",
    )
    source: Source = Field(description="See `[directory.source]`.")
    target_: Target | None = Field(
        default=None,
        alias="target",
        description="See `[directory.target]`. Left out where Active Directory is the only directory.",
    )
    mapping: Rules = Field(default=Rules(), description="See `[directory.mapping]`.")
    brake: Brake = Field(default=Brake(), description="See `[directory.brake]`.")
    authority: Authority = Field(default=Authority(), description="See `[directory.authority]`.")
    follow: Follow = Field(default=Follow(), description="See `[directory.follow]`.")
    exchange: ExchangeSide = Field(default=ExchangeSide(), description="See `[directory.exchange]`.")
    decisions: Path | None = Field(
        default=None, description="The file of decisions about findings, kept by `mailferry directory clean`."
    )

    @property
    def target(self) -> Target:
        """The open directory. ConfigError: there is none, since Active Directory is the only one."""
        if self.target_ is None:
            raise ConfigError(
                "there is no open directory ([directory.target]), so nothing is brought there",
                about="mailferry.toml",
                advice='where Active Directory is the only one (coexist.route_store = "ad"), people are read there by '
                "every command: see docs/route-store.md",
            )
        return self.target_


class Settings(Table):
    """The whole file."""

    ledger: str | None = Field(
        default=None,
        description="The ledger: a path or `postgresql://…`; `--ledger` and MAILFERRY_LEDGER come before it.",
    )
    directory: DirectorySettings | None = Field(default=None, description="See `[directory]`.")
    stack: StackSettings | None = Field(default=None, description="See `[stack]`.")
    coexist: Coexist | None = Field(default=None, description="See `[coexist]`.")
    workers: Workers | None = Field(default=None, description="See `[workers]`.")
    trace: Trace = Field(default=Trace(), description="See `[trace]`.")


def read_settings(path: Path) -> Settings:
    """Read and check a file; paths in it count from its own directory. ConfigError names file, line or key."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        advice = f"write one (docs/directory.md has an example), or name it with --config or {VARIABLE}"
        raise ConfigError("there is no such file", about=str(path), advice=advice) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"it cannot be read: {error}", about=str(path)) from error
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"at line (\d+)", str(error))
        about = f"{path}:{line[1]}" if line else str(path)
        raise ConfigError(f"not TOML: {error}", about=about) from error
    try:
        settings = Settings.model_validate(content)
    except ValidationError as error:
        raise _config_error(path, error) from None  # its text shows values, which may be a mistaken password
    return _rooted(settings, path.resolve().parent)


def directory_settings(path: Path) -> tuple[Settings, DirectorySettings]:
    """The settings and their `[directory]`. ConfigError where that is missing."""
    settings = read_settings(path)
    if settings.directory is None:
        raise ConfigError("it has no [directory] section", about=str(path), advice="docs/directory.md has an example")
    return settings, settings.directory


_WRONG = {
    "extra_forbidden": "no such setting",
    "missing": "it is needed",
    "string_pattern_mismatch": "it is not of the right form",
    "string_type": "a text in quotation marks is wanted",
    "tuple_type": 'a list is wanted, such as ["a", "b"]',
    "int_parsing": "a whole number is wanted",
    "float_parsing": "a number is wanted",
    "bool_parsing": "true or false is wanted",
}
"""Words for people in place of pydantic's, by its type of error."""


def _config_error(path: Path, error: ValidationError) -> ConfigError:
    wrong = []
    for one in error.errors(include_url=False, include_input=False, include_context=False):
        key = ".".join(map(str, one["loc"]))
        what = _WRONG.get(one["type"], one["msg"])
        wrong.append(f"{key}: {what.removeprefix('Value error, ')}")
    return ConfigError("; ".join(wrong), about=str(path), advice="docs/settings.md describes every setting")


def _rooted(settings: Settings, folder: Path) -> Settings:
    """The same, with relative paths counted from `folder`."""
    if settings.directory is None:
        return settings
    one, target = settings.directory, settings.directory.target_

    def under(path: Path | None) -> Path | None:
        return None if path is None else folder / path

    source: dict[str, Any] = {"ca_file": under(one.source.ca_file)}
    if one.source.kind in ("csv", "ldif", "vcard"):
        source["url"] = str(folder / one.source.url)
    changed: dict[str, Any] = {
        "source": one.source.model_copy(update=source),
        "target_": target and target.model_copy(update={"ca_file": under(target.ca_file), "bulk": under(target.bulk)}),
        "mapping": one.mapping.model_copy(update={"exceptions": under(one.mapping.exceptions)}),
        "decisions": under(one.decisions),
    }
    whole: dict[str, Any] = {"directory": one.model_copy(update=changed)}
    if (coexist := settings.coexist) is not None:
        exchange = coexist.exchange.model_copy(update={"ca_file": under(coexist.exchange.ca_file)})
        events, letters, rules = coexist.events, coexist.letters, coexist.rules
        if events is not None:
            events = events.model_copy(update={"ca_file": under(events.ca_file)})
        if letters is not None:
            letters = letters.model_copy(update={"templates": under(letters.templates)})
        if rules is not None:
            rules = rules.model_copy(update={"folder": under(rules.folder), "owners": under(rules.owners)})
        changed = {"exchange": exchange, "events": events, "letters": letters, "rules": rules}
        second = coexist.second and coexist.second.model_copy(update={"ca_file": under(coexist.second.ca_file)})
        whole["coexist"] = coexist.model_copy(update={**changed, "second": second})
    return settings.model_copy(update=whole)
