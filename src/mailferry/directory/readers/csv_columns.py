"""The column names of address book exports: what Outlook, Outlook Express and Exchange's own shell call each thing.

Names as the programs write them in English, German, French and Russian. Reads no file. Invariant: a name means the
same in every language, except `Title` (`Titre`), which is the salutation where another column is the job title.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

# field: its names in English, German, French, Russian ("" where there is none), then those of other programs
_NAMES: dict[str, tuple[str, ...]] = {
    "given": ("First Name", "Vorname", "Prénom", "Имя"),
    "middle": ("Middle Name", "Weitere Vornamen", "Deuxième prénom", "Отчество", "Zweiter Vorname"),
    "surname": ("Last Name", "Nachname", "Nom", "Фамилия"),
    "suffix": ("Suffix", "Suffix", "Suffixe", "Суффикс", "Namenszusatz"),
    "name": ("Name", "Name", "", "Полное имя", "DisplayName", "Display Name", "Anzeigename", "Nom complet"),
    "nickname": ("Nickname", "Rufname", "Surnom", "Псевдоним"),
    "initials": ("Initials", "Initialen", "Initiales", "Инициалы"),
    "title": ("Job Title", "Position", "Fonction", "Должность"),
    "title?": ("Title", "", "Titre", ""),
    "o": ("Company", "Firma", "Société", "Организация", "Компания"),
    "department": ("Department", "Abteilung", "Service", "Отдел"),
    "room": ("Office Location", "Büro", "Bureau", "Расположение комнаты", "Office"),
    "number": ("Organizational ID Number", "Organisationsnr.", "Code organisation", "Код организации",
               "Organisations-Nr."),
    "mail": ("E-mail Address", "E-Mail-Adresse", "Adresse de messagerie", "Адрес эл. почты", "Adresse de courrier",
             "Email Address", "E-mail", "Adresse e-mail", "Электронная почта", "PrimarySmtpAddress",
             "WindowsEmailAddress"),
    "mail type": ("E-mail Type", "E-Mail-Typ", "Type de messagerie", "Тип эл. почты", "Type de courrier"),
    "mail name": ("E-mail Display Name", "E-Mail: Angezeigter Name", "Nom complet de l'adresse de messagerie",
                  "Краткое имя эл. почты", "Nom complet de l'adresse de courrier"),
    "mail 2": ("E-mail 2 Address", "E-Mail 2: Adresse", "Adresse de messagerie 2", "Адрес 2 эл. почты",
               "Adresse de courrier 2"),
    "mail 2 type": ("E-mail 2 Type", "E-Mail 2: Typ", "Type de messagerie 2", "Тип 2 эл. почты", "Type de courrier 2"),
    "mail 3": ("E-mail 3 Address", "E-Mail 3: Adresse", "Adresse de messagerie 3", "Адрес 3 эл. почты",
               "Adresse de courrier 3"),
    "mail 3 type": ("E-mail 3 Type", "E-Mail 3: Typ", "Type de messagerie 3", "Тип 3 эл. почты", "Type de courrier 3"),
    "telephoneNumber": ("Business Phone", "Telefon geschäftlich", "Téléphone (bureau)", "Рабочий телефон",
                        "Rufnummer (geschäftlich)", "Phone"),
    "telephoneNumber 2": ("Business Phone 2", "Telefon geschäftlich 2", "Téléphone 2 (bureau)", "Телефон раб. 2"),
    "telephoneNumber 3": ("Company Main Phone", "Telefon Firma", "Téléphone société", "Основной телефон организации"),
    "homePhone": ("Home Phone", "Telefon privat", "Téléphone (domicile)", "Домашний телефон", "Rufnummer (privat)"),
    "homePhone 2": ("Home Phone 2", "Telefon privat 2", "Téléphone 2 (domicile)", "Телефон дом. 2"),
    "mobile": ("Mobile Phone", "Mobiltelefon", "Tél. mobile", "Телефон переносной", "Téléphone mobile",
               "Мобильный телефон"),
    "mobile 2": ("", "Mobiltelefon 2", "", ""),
    "fax": ("Business Fax", "Fax geschäftlich", "Télécopie (bureau)", "Рабочий факс", "Fax"),
    "pager": ("Pager", "Pager", "Récepteur de radiomessagerie", "Пейджер"),
    "street": ("Business Street", "Straße geschäftlich", "Rue (bureau)", "Улица (раб. адрес)", "StreetAddress"),
    "street 2": ("Business Street 2", "Straße geschäftlich 2", "Rue (bureau) 2", "Улица 2 (раб. адрес)"),
    "street 3": ("Business Street 3", "Straße geschäftlich 3", "Rue (bureau) 3", "Улица 3 (раб. адрес)"),
    "city": ("Business City", "Ort geschäftlich", "Ville (bureau)", "Город (раб. адрес)", "City"),
    "state": ("Business State", "Region geschäftlich", "Dép/Région (bureau)", "Область (раб. адрес)",
              "Bundesland (geschäftlich)", "StateOrProvince"),
    "code": ("Business Postal Code", "Postleitzahl geschäftlich", "Code postal (bureau)", "Индекс (раб. адрес)",
             "PostalCode"),
    "country": ("Business Country/Region", "Land/Region geschäftlich", "Pays/Région (bureau)",
                "Страна или регион (раб. адрес)", "Business Country", "Land geschäftlich", "Pays (bureau)",
                "Страна (раб. адрес)", "CountryOrRegion"),
    "home street": ("Home Street", "Straße privat", "Rue (domicile)", "Улица (дом. адрес)"),
    "home street 2": ("Home Street 2", "Straße privat 2", "Rue (domicile) 2", "Улица 2 (дом. адрес)"),
    "home street 3": ("Home Street 3", "Straße privat 3", "Rue (domicile) 3", "Улица 3 (дом. адрес)"),
    "home city": ("Home City", "Ort privat", "Ville (domicile)", "Город (дом. адрес)", "Stadt (privat)"),
    "home state": ("Home State", "Bundesland/Kanton privat", "Dép/Région (domicile)", "Область (дом. адрес)",
                   "Bundesland (privat)"),
    "home code": ("Home Postal Code", "Postleitzahl privat", "Code postal (domicile)", "Почтовый код (дом.)"),
    "home country": ("Home Country/Region", "Land/Region privat", "Pays/Région (domicile)",
                     "Страна или регион (дом. адрес)", "Home Country", "Land privat", "Pays (domicile)"),
    "page": ("Web Page", "Webseite", "Page Web", "Веб-страница", "Business Web Page", "Webseite (geschäftlich)"),
    "notes": ("Notes", "Notizen", "Notes", "Заметки", "Kommentare", "Commentaires"),
    # Get-Recipient, Get-Mailbox | Export-Csv
    "addresses": ("EmailAddresses", "", "", ""),
    "legacy": ("LegacyExchangeDN", "", "", ""),
    "external": ("ExternalEmailAddress", "", "", ""),
    "kind": ("RecipientTypeDetails", "", "", ""),
    "guid": ("Guid", "", "", ""),
    "mailbox": ("ExchangeGuid", "", "", ""),
    "account": ("SamAccountName", "", "", ""),
    "principal": ("UserPrincipalName", "", "", ""),
    "hidden": ("HiddenFromAddressListsEnabled", "", "", ""),
}  # fmt: skip
ADDRESS_FIELDS = frozenset({"mail", "mail 2", "mail 3", "addresses", "external"})
_LANGUAGES = ("English", "German", "French", "Russian")
_OTHER = re.compile(r"[\W_]+")


def plain(name: str) -> str:
    """A column name without case, signs and double blanks, so that small differences between versions do not count."""
    return _OTHER.sub(" ", unicodedata.normalize("NFC", name).casefold()).strip()


_FIELDS = {plain(name): field for field, names in _NAMES.items() for name in names if name}
_SPOKEN = {
    plain(name): language
    for names in _NAMES.values()
    for language, name in zip(_LANGUAGES, names, strict=False)
    if name and not (name == names[0] and language != "English")
}


@dataclass(frozen=True, slots=True)
class Columns:
    """What each column of a file is: a field, or "" for one that is not read; and the language of most of them."""

    fields: tuple[str, ...]
    names: tuple[str, ...]
    language: str

    @property
    def unknown(self) -> tuple[str, ...]:
        return tuple(name for field, name in zip(self.fields, self.names, strict=True) if not field and name.strip())


def understand(names: Sequence[str]) -> Columns:
    """The columns of a header line."""
    fields = [_FIELDS.get(plain(name), "") for name in names]
    if fields.count("title?") > 1 or ("title" in fields and "title?" in fields):
        fields[fields.index("title?")] = "salutation"
    fields = ["title" if field == "title?" and "title" not in fields else field for field in fields]
    taken: set[str] = set()
    for at, field in enumerate(fields):
        fields[at] = "" if field in taken else field
        taken.add(field)
    spoken = [_SPOKEN[plain(name)] for name in names if plain(name) in _SPOKEN]
    language = max(_LANGUAGES, key=lambda one: (spoken.count(one), -_LANGUAGES.index(one)))
    return Columns(tuple(fields), tuple(names), language)
