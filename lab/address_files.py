"""Writes address books as files, the way programs export them: Outlook and Outlook Express CSV in four languages,
Netscape LDIF, csvde, vCards. The column names are those of the programs.

Invariant: the same people are in every form, so what a reader makes of one form can be compared with another.
"""

from __future__ import annotations

import base64
import csv
import io
import quopri
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Person:
    """One contact. `ex`: a legacyExchangeDN, for people of the organisation itself."""

    given: str
    surname: str
    mail: str
    second: str = ""
    phone: str = ""
    mobile: str = ""
    company: str = ""
    department: str = ""
    title: str = ""
    street: str = ""
    city: str = ""
    code: str = ""
    country: str = ""
    notes: str = ""
    nickname: str = ""
    ex: str = ""

    @property
    def name(self) -> str:
        return f"{self.given} {self.surname}".strip()


PEOPLE = (
    Person(
        "Jörg",
        "Müller",
        "joerg.mueller@partner.example",
        second="jm@home.example",
        phone="+49 30 1234567",
        mobile="+49 170 7654321",
        company="Partner & Söhne GmbH",
        department="Einkauf",
        title="Leiter",
        street="Hauptstraße 1\nHinterhaus",
        city="Köln",
        code="50667",
        country="DE",
        notes='Sagt "Moin", mag Kaffee; und Tee',
        nickname="joe",
    ),
    Person(
        "Émile", "Zola", "emile.zola@editeur.example", phone="+33 1 23 45 67 89", company="Éditeur", country="France"
    ),
    Person("Ann", "O'Neill, Jr.", "ann@client.example", mobile="+44 20 7946 0000", company="Client; Ltd"),
)
RUSSIANS = (
    Person("Юрий", "Петров", "petrov@partner.example", phone="+7 495 1234567", company="ООО Ромашка", title="Директор"),
    Person("Анна", "Щербакова", "anna@partner.example", city="Москва", country="RU"),
)
COLLEAGUES = (
    Person("Max", "Maier", "", phone="+49 30 99", ex="/o=Acme/ou=First Administrative Group/cn=Recipients/cn=mmaier"),
)

# the columns that are filled, by language, in the order of the program; the others of Outlook's 92 stay empty
OUTLOOK = {
    "English": (
        "Title,First Name,Middle Name,Last Name,Suffix,Company,Department,Job Title,Business Street,Business Street 2,"
        "Business City,Business State,Business Postal Code,Business Country/Region,Home Street,Home City,"
        "Business Phone,Home Phone,Mobile Phone,Anniversary,Birthday,E-mail Address,E-mail Type,E-mail Display Name,"
        "E-mail 2 Address,E-mail 2 Type,E-mail 2 Display Name,Initials,Notes,Office Location,Sensitivity,Web Page"
    ),
    "German": (
        "Anrede,Vorname,Weitere Vornamen,Nachname,Suffix,Firma,Abteilung,Position,Straße geschäftlich,"
        "Straße geschäftlich 2,Ort geschäftlich,Region geschäftlich,Postleitzahl geschäftlich,Land/Region geschäftlich,"
        "Straße privat,Ort privat,Telefon geschäftlich,Telefon (privat),Mobiltelefon,Jahrestag,Geburtstag,"
        "E-Mail-Adresse,E-Mail-Typ,E-Mail: Angezeigter Name,E-Mail 2: Adresse,E-Mail 2: Typ,"
        "E-Mail 2: Angezeigter Name,Initialen,Notizen,Büro,Vertraulichkeit,Webseite"
    ),
    "French": (
        "Titre,Prénom,Deuxième prénom,Nom,Suffixe,Société,Service,Titre,Rue (bureau),Rue (bureau) 2,Ville (bureau),"
        "Dép/Région (bureau),Code postal (bureau),Pays/Région (bureau),Rue (domicile),Ville (domicile),"
        "Téléphone (bureau),Téléphone (domicile),Tél. mobile,Anniversaire de mariage ou fête,Anniversaire,"
        "Adresse de messagerie,Type de messagerie,Nom complet de l'adresse de messagerie,Adresse de messagerie 2,"
        "Type de messagerie 2,Nom complet de l'adresse de messagerie 2,Initiales,Notes,Bureau,Critère de diffusion,"
        "Page Web"
    ),
    "Russian": (
        "Обращение,Имя,Отчество,Фамилия,Суффикс,Организация,Отдел,Должность,Улица (раб. адрес),Улица 2 (раб. адрес),"
        "Город (раб. адрес),Область (раб. адрес),Индекс (раб. адрес),Страна или регион (раб. адрес),"
        "Улица (дом. адрес),Город (дом. адрес),Рабочий телефон,Домашний телефон,Телефон переносной,Годовщина,"
        "День рождения,Адрес эл. почты,Тип эл. почты,Краткое имя эл. почты,Адрес 2 эл. почты,Тип 2 эл. почты,"
        "Краткое 2 имя эл. почты,Инициалы,Заметки,Расположение комнаты,Пометка,Веб-страница"
    ),
}


def outlook(people: tuple[Person, ...], language: str = "English", delimiter: str = ",") -> str:
    """Outlook's export: every field in quotation marks where it holds something, dates as zeros."""
    columns = OUTLOOK[language].split(",")
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\r\n")
    writer.writerow(columns)
    for one in people:
        streets = [*one.street.split("\n"), ""]
        mail, kind = (one.ex, "EX") if one.ex else (one.mail, "SMTP")
        beside = f"{one.name} ({one.mail})" if one.mail else one.name
        row = ["", one.given, "", one.surname, "", one.company, one.department, one.title, *streets[:2], one.city, ""]
        row += [one.code, one.country, "", "", one.phone, "", one.mobile, "0/0/00", "0/0/00", mail, kind, beside]
        row += [one.second, "SMTP" if one.second else "", one.second, "", one.notes, "", "Normal", ""]
        writer.writerow(row)
    return out.getvalue()


def express(people: tuple[Person, ...]) -> str:
    """Outlook Express: no quotation marks but where needed, the display name first."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(["Name", "E-mail Address", "Business Phone", "Mobile Phone", "Company", "Job Title", "Notes"])
    for one in people:
        writer.writerow([one.name, one.mail, one.phone, one.mobile, one.company, one.title, one.notes])
    return out.getvalue()


def netscape(people: tuple[Person, ...], encoding: str = "latin-1") -> bytes:
    """Netscape Communicator's address book: its own names, plain 8-bit bytes, CRLF."""
    lines: list[str] = []
    for one in people:
        name = one.name.replace(",", "\\,")
        lines += [f"dn: cn={name},mail={one.mail}", f"cn: {one.name}", f"sn: {one.surname}", f"givenname: {one.given}"]
        pairs = (
            ("mail", one.mail),
            ("mozillasecondemail", one.second),
            ("xmozillanickname", one.nickname),
            ("telephonenumber", one.phone),
            ("cellphone", one.mobile),
            ("o", one.company),
            ("ou", one.department),
            ("title", one.title),
            ("streetaddress", one.street.replace("\n", ", ")),
            ("locality", one.city),
            ("postalcode", one.code),
            ("countryname", one.country),
            ("description", one.notes),
        )
        lines += [f"{name}: {value}" for name, value in pairs if value]
        lines += ["xmozillausehtmlmail: FALSE", "objectclass: top", "objectclass: person", ""]
    return "\r\n".join(lines).encode(encoding)


def csvde(people: tuple[Person, ...]) -> str:
    """csvde of a few users: hexadecimal where a value is not ASCII, `;` between values."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(
        [
            "DN",
            "objectClass",
            "cn",
            "sn",
            "givenName",
            "mail",
            "proxyAddresses",
            "telephoneNumber",
            "objectGUID",
            "info",
        ]
    )

    def cell(text: str) -> str:
        return text.replace(";", "\\;") if text.isascii() else f"X'{text.encode().hex()}'"

    for number, one in enumerate(people, 1):
        name = one.name.replace(",", "\\,")
        proxies = ";".join(f"{kind}:{mail}" for kind, mail in (("SMTP", one.mail), ("smtp", one.second)) if mail)
        writer.writerow(
            [
                f"CN={name},OU=People,DC=acme,DC=example",
                "top;person;organizationalPerson;user",
                cell(one.name),
                cell(one.surname),
                cell(one.given),
                one.mail,
                proxies,
                one.phone,
                f"X'{number.to_bytes(16, 'little').hex()}'",
                cell(one.notes),
            ]
        )
    return out.getvalue()


def vcards(people: tuple[Person, ...], version: str) -> bytes:
    """Cards as telephones (2.1: quoted-printable with soft line ends), Outlook and Apple (3.0, 4.0: folded UTF-8)."""
    return b"".join(_card(one, version) for one in people)


def _card(one: Person, version: str) -> bytes:
    photo = base64.b64encode(b"\xff\xd8\xff\xe0" + bytes(120))
    if version == "2.1":
        lines = [
            b"BEGIN:VCARD",
            b"VERSION:2.1",
            b"N" + _quoted(f"{one.surname};{one.given};;;"),
            b"FN" + _quoted(one.name),
            b"ORG" + _quoted(f"{one.company};{one.department}"),
            b"TEL;WORK;VOICE:" + one.phone.encode(),
            b"TEL;CELL:" + one.mobile.encode(),
            b"EMAIL;PREF;INTERNET:" + one.mail.encode(),
            b"EMAIL;INTERNET:" + one.second.encode(),
            b"NOTE" + _quoted(one.notes),
            b"PHOTO;TYPE=JPEG;ENCODING=BASE64:",
            *(b" " + photo[at : at + 72] for at in range(0, len(photo), 72)),
            b"",
            b"END:VCARD",
        ]
        return b"\r\n".join(lines) + b"\r\n"

    def plain(text: str) -> str:
        text = text.replace("\\", "\\\\").replace("\n", "\\n")
        return text.replace(",", "\\,").replace(";", "\\;")

    home = "TYPE=home" if version == "4.0" else "TYPE=INTERNET"
    picture = (
        f"PHOTO:data:image/jpeg;base64,{photo.decode()}"
        if version == "4.0"
        else f"PHOTO;ENCODING=b;TYPE=JPEG:{photo.decode()}"
    )
    lines_out = [
        "BEGIN:VCARD",
        f"VERSION:{version}",
        f"UID:urn:uuid:{one.mail}",
        f"N:{plain(one.surname)};{plain(one.given)};;;",
        f"FN:{plain(one.name)}",
        f"ORG:{plain(one.company)};{plain(one.department)}",
        f"item1.TEL;TYPE=work:{one.phone}",
        f"TEL;TYPE=cell:{one.mobile}",
        f"EMAIL;{home}:{one.second}",
        f"EMAIL;{'PREF=1' if version == '4.0' else 'TYPE=INTERNET,PREF'}:{one.mail}",
        f"NOTE:{plain(one.notes)}",
        picture,
        "END:VCARD",
    ]
    return b"".join(_folded(line) for line in lines_out)


def _quoted(text: str) -> bytes:
    """`;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:` and the text, with soft line ends."""
    encoded = quopri.encodestring(text.encode(), quotetabs=True).replace(b"\n", b"\r\n")
    return b";CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:" + encoded


def _folded(line: str) -> bytes:
    data = line.encode()
    return b"\r\n ".join(data[at : at + 74] for at in range(0, max(len(data), 1), 74)) + b"\r\n"
