"""Settings → cn=config and the first entries, as LDIF. Pure: no file is written, no program run.

The same settings give the same bytes: passwords are hashed (Argon2id) with a salt made of the account's DN, so that a
rendered file can be compared with the one installed. The replica's own password for its provider is the one secret
that stands in clear, because slapd has to send it; the file that holds it is for slapd's eyes only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from mailferry.errors import ConfigError
from mailferry.secret import Secret
from mailferry.stack.openldap import access
from mailferry.stack.openldap.definitions import FOLDER
from mailferry.stack.openldap.settings import (
    BRANCHES,
    DAV_ACCOUNT,
    POLICIES,
    SERVICES,
    BindThrough,
    MailSchema,
    Role,
    Settings,
)
from mailferry.wire import ldif

try:
    from argon2.low_level import Type, hash_secret
except ImportError as error:
    raise ConfigError(
        "passwords need argon2-cffi, which is not installed", advice="pip install 'mailferry[directory]'"
    ) from error

MEMORY, ROUNDS, LANES = 19456, 2, 1
"""Argon2id as OWASP's password storage cheat sheet advises: KiB, passes, threads. About 20 ms."""

ADDRESSES = {MailSchema.INET: "mailLocalAddress", MailSchema.QMAIL: "mailAlternateAddress"}
"""The attribute that holds every address of a recipient, the primary one and the IMCEAEX ones included."""

_MODULES = ("back_mdb", "syncprov", "ppolicy", "unique", "constraint", "remoteauth")
_ARGON2 = f"argon2 m={MEMORY} t={ROUNDS} p={LANES}"
_INDEXES = (
    "objectClass,entryCSN,entryUUID,mailferrySourceId,mailferryKind,mailferryRoute,mailferryHidden,mailferryX500 eq",
    "cn,sn,givenName,displayName,mail,uid eq,sub",
    "member,owner,mailHost,telephoneNumber,departmentNumber,mailferryGate eq",
)
_MAIN = "olcDatabase={1}mdb,cn=config"

Entry = tuple[str, dict[str, list[str]]]


def config(settings: Settings) -> bytes:
    """cn=config as LDIF, for `slapadd -n 0`."""
    parts = [_text(entry) for entry in (_global(settings), _modules(settings), _schema_root())]
    parts += _schemas(settings)
    databases = [_frontend(settings), _config_database(settings), _main_database(settings)]
    parts += [_text(entry) for entry in (*databases, *_overlays(settings))]
    return b"".join(parts)


def first_entries(settings: Settings) -> bytes:
    """The suffix, its branches, the service accounts and the password policy, as LDIF for an empty database."""
    name = settings.suffix.split(",")[0].partition("=")[2]
    entries: list[Entry] = [
        (settings.suffix, {"objectClass": ["dcObject", "organization"], "dc": [name], "o": [name]}),
        *(
            (settings.branch(branch), {"objectClass": ["organizationalUnit"], "ou": [branch]})
            for branch in (*BRANCHES, SERVICES, POLICIES)
        ),
        _account(settings.writer_dn, settings.writer, "Mailferry, which keeps the people here in step"),
        _account(settings.replicator_dn, settings.replicator, "Replicas, which read everything"),
        _account(settings.lookup_dn, settings.lookup, "Postfix and Dovecot, which read all but passwords"),
        (
            settings.nobody_dn,
            {"objectClass": ["organizationalRole"], "cn": ["nobody"], "description": ["Member of groups without any"]},
        ),
        _policy(settings),
    ]
    if settings.dav is not None:
        entries.append(dav_account(settings.dav_dn, settings.dav))
    return b"".join(_text(entry) for entry in entries)


def dav_account(dn: str, password: Secret) -> Entry:
    """Who fills people's collections in Radicale, which knows people by uid."""
    _, values = _account(dn, password, "Radicale, to fill people's calendars and address books")
    return dn, {**values, "objectClass": [*values["objectClass"], "uidObject"], "uid": [DAV_ACCOUNT]}


def hashed(password: Secret, dn: str) -> str:
    """A password as userPassword of `dn` holds it: {ARGON2} and the encoded Argon2id hash."""
    salt = hashlib.sha256(dn.encode()).digest()[:16]
    encoded = hash_secret(password.reveal().encode(), salt, ROUNDS, MEMORY, LANES, 32, Type.ID)
    return "{ARGON2}" + encoded.decode()


def policy_dn(settings: Settings) -> str:
    return f"cn=default,{settings.branch(POLICIES)}"


def _text(entry: Entry) -> bytes:
    dn, values = entry
    return ldif.emit(dn, {name: [value.encode() for value in some] for name, some in values.items()})


def _global(settings: Settings) -> Entry:
    values = {
        "objectClass": ["olcGlobal"],
        "cn": ["config"],
        "olcPidFile": [str(settings.run_dir / "slapd.pid")],
        "olcArgsFile": [str(settings.run_dir / "slapd.args")],
        "olcIdleTimeout": ["900"],
        "olcLocalSSF": ["128"],
        "olcThreads": ["16"],
        "olcToolThreads": ["1"],  # slapadd -q of OpenLDAP 2.5 corrupts its heap with two, now and then
        "olcIndexSubstrIfMinlen": ["1"],
    }
    if settings.role is Role.PROVIDER:
        values["olcServerID"] = [str(settings.server_id)]
    if settings.require_tls:
        values["olcSecurity"] = ["simple_bind=128"]
    if settings.tls is not None:
        values["olcTLSCertificateFile"] = [str(settings.tls.certificate)]
        values["olcTLSCertificateKeyFile"] = [str(settings.tls.key)]
        values["olcTLSCACertificateFile"] = [str(settings.tls.authority)]
        values["olcTLSProtocolMin"] = ["3.3"]
    return "cn=config", values


def _modules(settings: Settings) -> Entry:
    names = [*_MODULES, _ARGON2]
    loads = [f"{{{number}}}{name}" for number, name in enumerate(names)]
    values = {"objectClass": ["olcModuleList"], "cn": ["module"], "olcModulePath": [str(settings.modules)]}
    return "cn=module,cn=config", {**values, "olcModuleLoad": loads}


def _schema_root() -> Entry:
    return "cn=schema,cn=config", {"objectClass": ["olcSchemaConfig"], "cn": ["schema"]}


def _schemas(settings: Settings) -> Iterator[bytes]:
    """OpenLDAP's own schemas, which slapadd reads where they are installed, and ours."""
    for name in ("core", "cosine", "nis", "inetorgperson", "misc"):
        yield f"include: file://{settings.schemas / f'{name}.ldif'}\n\n".encode()
    for name in own_schemas(settings):
        yield (FOLDER / f"{name}.ldif").read_bytes()


def own_schemas(settings: Settings) -> tuple[str, ...]:
    """Names of the schema files of ours that a server loads, in order."""
    return ("qmail", "mailferry") if settings.mail_schema is MailSchema.QMAIL else ("mailferry",)


def _frontend(settings: Settings) -> Entry:
    return "olcDatabase={-1}frontend,cn=config", {
        "objectClass": ["olcDatabaseConfig", "olcFrontendConfig"],
        "olcDatabase": ["{-1}frontend"],
        "olcAccess": ['to dn.base="" by * read', 'to dn.base="cn=subschema" by * read', "to * by * none"],
        "olcPasswordHash": ["{ARGON2}"],
        "olcDefaultSearchBase": [settings.suffix],  # macOS asks without a base
    }


def _config_database(settings: Settings) -> Entry:
    managers = "".join(
        f' by dn.exact="gidNumber={gid}+uidNumber={uid},cn=peercred,cn=external,cn=auth" manage'
        for uid, gid in settings.managers
    )
    return "olcDatabase={0}config,cn=config", {
        "objectClass": ["olcDatabaseConfig"],
        "olcDatabase": ["{0}config"],
        "olcRootDN": ["cn=config"],
        "olcAccess": [f"to *{managers} by * none"],
    }


def _main_database(settings: Settings) -> Entry:
    values = {
        "objectClass": ["olcDatabaseConfig", "olcMdbConfig"],
        "olcDatabase": ["{1}mdb"],
        "olcDbDirectory": [str(settings.data_dir)],
        "olcSuffix": [settings.suffix],
        "olcRootDN": [settings.admin_dn],
        "olcRootPW": [hashed(settings.admin, settings.admin_dn)],
        "olcDbMaxSize": [str(settings.max_size)],
        "olcDbIndex": [*_INDEXES, f"{ADDRESSES[settings.mail_schema]} eq"],
        "olcDbCheckpoint": ["1024 5"],
        "olcAccess": access.rules(settings),
        "olcLimits": access.limits(settings),
        "olcLastMod": ["TRUE"],
    }
    if not settings.durable:
        values["olcDbNoSync"] = ["TRUE"]
        values["olcDbEnvFlags"] = ["writemap"]
    if settings.role is Role.REPLICA:
        values["olcSyncrepl"] = [_syncrepl(settings)]
        values["olcUpdateRef"] = [settings.provider]
    return _MAIN, values


def _syncrepl(settings: Settings) -> str:
    parts = [
        f"rid={settings.replica_id:03}",
        f"provider={settings.provider}",
        "bindmethod=simple",
        f'binddn="{settings.replicator_dn}"',
        f'credentials="{settings.replicator.reveal()}"',
        f'searchbase="{settings.suffix}"',
        'attrs="*,+"',
        "type=refreshAndPersist",
        'retry="1 10 5 +"',
        'keepalive="60:5:10"',
        "schemachecking=off",
    ]
    if settings.tls is not None:
        parts.append(f'tls_cacert="{settings.tls.authority}" tls_reqcert=demand')
        parts += ["starttls=critical"] if settings.provider.startswith("ldap://") else []
    return " ".join(parts)


def _overlays(settings: Settings) -> Iterator[Entry]:
    """The overlays of the main database, the innermost first: slapd asks the last one first. ppolicy is the outermost,
    so that it counts wrong passwords wherever they are checked; bind-through lies before what holds its writes."""
    through, provider = settings.bind_through, settings.role is Role.PROVIDER
    overlays: list[tuple[str, dict[str, list[str]]]] = []
    if provider:
        log = {"objectClass": ["olcSyncProvConfig"], "olcSpCheckpoint": ["100 5"], "olcSpSessionlog": ["10000"]}
        unique = ("mail", ADDRESSES[settings.mail_schema], "mailferrySourceId", "uid")
        uris = [f"ldap:///?{name}?sub" for name in unique]
        overlays = [("syncprov", log), ("unique", {"objectClass": ["olcUniqueConfig"], "olcUniqueURI": uris})]
    if through and provider:
        overlays.append(("constraint", _capture_only(settings)))
    if through:
        overlays.append(("remoteauth", _remoteauth(through, capture=provider)))
    overlays.append(("ppolicy", {"objectClass": ["olcPPolicyConfig"], "olcPPolicyDefault": [policy_dn(settings)]}))
    for number, (name, values) in enumerate(overlays):
        label = f"{{{number}}}{name}"
        yield f"olcOverlay={label},{_MAIN}", {**values, "olcOverlay": [label]}


def _capture_only(settings: Settings) -> dict[str, list[str]]:
    """No password may be set here for people whose password is the source's (docs/decisions/0005-passwords.md)."""
    theirs = "(&(mailferryBindName=*)(!(mailferryPasswordFrom=capture))(!(mailferryPasswordFrom=here)))"
    rule = f'userPassword regex ^$ restrict="ldap:///{settings.suffix}??sub?{theirs}"'
    return {"objectClass": ["olcConstraintConfig"], "olcConstraintAttribute": [rule]}


def _remoteauth(through: BindThrough, *, capture: bool) -> dict[str, list[str]]:
    """Only the provider captures: slapo-remoteauth would write into a replica's own copy."""
    tls = "starttls=no"
    if through.authority is not None:
        tls = f"starttls={'critical' if through.start_tls else 'no'} tls_cacert={through.authority} tls_reqcert=demand"
    return {
        "objectClass": ["olcRemoteAuthCfg"],
        "olcRemoteAuthDNAttribute": ["mailferryBindName"],
        "olcRemoteAuthDomainAttribute": ["mailferryBindDomain"],
        "olcRemoteAuthDefaultDomain": [through.default],
        "olcRemoteAuthMapping": [f'{domain} "{" ".join(urls)}"' for domain, urls in through.domains.items()],
        "olcRemoteAuthRetryCount": ["0"],
        "olcRemoteAuthStore": ["TRUE" if capture else "FALSE"],
        "olcRemoteAuthTLS": [tls],
    }


def _account(dn: str, password: Secret, description: str) -> Entry:
    return dn, {
        "objectClass": ["organizationalRole", "simpleSecurityObject"],
        "cn": [dn.split(",")[0].partition("=")[2]],
        "userPassword": [hashed(password, dn)],
        "description": [description],
    }


def _policy(settings: Settings) -> Entry:
    """Lock-out after `failures` wrong passwords, for a minute; no expiry, no history: those are the source's to ask."""
    return policy_dn(settings), {
        "objectClass": ["applicationProcess", "pwdPolicy"],
        "cn": ["default"],
        "pwdAttribute": ["userPassword"],
        "pwdLockout": ["TRUE"],
        "pwdMaxFailure": [str(settings.failures)],
        "pwdFailureCountInterval": ["600"],
        "pwdLockoutDuration": ["60"],
        "pwdCheckQuality": ["0"],
        "pwdAllowUserChange": ["TRUE"],
        "pwdMustChange": ["FALSE"],
    }
