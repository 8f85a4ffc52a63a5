"""Names of people for the lab's organisation, in the scripts that real ones are written in.

Invented by combining parts; no list of real people. Invariant: for one seed the same names come in the same order, and
no two people have the same one (there are some 50,000).
"""

from __future__ import annotations

import itertools
import random
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

_One = TypeVar("_One")
_Other = TypeVar("_Other")


@dataclass(frozen=True, slots=True)
class Name:
    """`given` and `surname` as written; `ascii_given` and `ascii_surname` for accounts and addresses, "
    "lower case."""

    given: str
    surname: str
    ascii_given: str
    ascii_surname: str
    language: str

    @property
    def shown(self) -> str:
        """As an address list shows it: Chinese has the surname first, and no space."""
        return self.surname + self.given if self.language == "zh" else f"{self.given} {self.surname}"


@dataclass(frozen=True, slots=True)
class _Language:
    code: str
    weight: int
    given: str
    stems: str
    endings: str


_LANGUAGES = (
    _Language(
        "de",
        24,
        "Anna Bernd Claudia Dörte Emil Friederike Günther Hannelore Ingo Jörg Käthe Lukas Martina Nils Otto "
        "Petra Rüdiger "
        "Sabine Thomas Ulrike Volker Waltraud Xaver Yvonne Andreas Bärbel Christoph Dagmar Erik Franziska "
        "Götz Heike Jens "
        "Karin Ludwig Monika Norbert Renate Stefan Ute",
        "Berg Schön Hoff Groß Stein Kirch Müll Wald Brück Feld Grün Lind Roß Schäf Wein Baum Eich Fürst Kühl "
        "Lang Neu Öhl "
        "Reich Sand Thal Über Vogt Weiß Ziegl Hahn",
        "mann er ner inger ler bach stein hofer meier haus feld ke",
    ),
    _Language(
        "en",
        18,
        "Alice Brian Charlotte Dylan Edith Frank Grace Harold Imogen Jack Kathleen Leonard Mary Nigel Olivia "
        "Patrick Queenie "
        "Robert Siân Timothy Una Victor Wendy Zoë Arthur Beryl Conor Daphne Eamon Fiona",
        "Ash Black Clay Dun Elling Fair Green Hart Ken Law Mar Nor O'Bri Pember Rad Sea Thorn Under Wal West "
        "White Winter "
        "Yard Stan Brad Hal Lin Mid New Ox",
        "ford ton well ley by wood combe worth field house more ham",
    ),
    _Language(
        "fr",
        14,
        "Agnès Benoît Chloé Désiré Élodie François Gaëlle Hervé Inès Jérôme Laëtitia Maël Noémie Océane "
        "Raphaël Sébastien "
        "Thérèse Ursule Valérie Yves Anaïs Bruno Cécile Didier Ève Fabrice",
        "Bel Beau Char Cour Dela Duf Fon Gré Hér La Le Mont Mor Per Pré Roche Saint Tour Val Ville Bois Châ "
        "Font Gran Mar",
        "mont pier sard tier vault rière lette quet rond lais gnon champ",
    ),
    _Language(
        "pl",
        12,
        "Agnieszka Bogdan Celina Dariusz Elżbieta Feliks Grażyna Henryk Iwona Józef Kinga Łukasz Małgorzata "
        "Norbert Oliwia "
        "Paweł Róża Stanisław Urszula Wojciech Zofia Łucja Błażej Żaneta",
        "Kowal Wiśniew Dąbrow Zieliń Szymań Woźniak Kozłow Jankow Mazur Krawczy Piotrow Grabow Pawłow Michal "
        "Zając Król Wróbl "
        "Jabłoń Majew Olszew Stępień Jawor Malinow Adamczy Dudziń",
        "ski cki wicz czyk ek iak owicz owski",
    ),
    _Language(
        "ru",
        14,
        "Александр Борис Валентина Галина Дмитрий Екатерина Жанна Зоя Игорь Ксения Леонид Марина Николай "
        "Ольга Пётр Раиса Сергей "
        "Татьяна Ульяна Фёдор Юлия Яков Алексей Вера",
        "Бонда Василь Гончар Давид Еремь Захар Ивань Климе Лысь Макси Назар Остап Павлю Романь Савче Тимо "
        "Филипп Хоми "
        "Шевч Щерба Юрчу Ярем Коваль Петр",
        "енко юк ович ыч щук ейко чак ей",
    ),
    _Language(
        "el",
        9,
        "Αλέξανδρος Βασιλική Γεώργιος Δήμητρα Ελένη Ζωή Ηλίας Θεοδώρα Ιωάννης Κωνσταντίνος Λουκία Μαρία "
        "Νικόλαος Ξένια Όλγα "
        "Παναγιώτης Ρένα Σπύρος Τάσος Φώτης Χρήστος Ανδρέας",
        "Αναστασ Βασιλ Γεωργ Δημητρ Ευαγγελ Ηλι Θεοδωρ Ιωανν Κωνσταντιν Λαμπρ Μιχαηλ Νικολα Παναγιωτ Σταυρ "
        "Χριστ Φωτ "
        "Αντων Μαρκ Πετρ Στεφαν",
        "όπουλος ίδης άκης ιάδης έας άτος ούδης ίτης",
    ),
)

_CHINESE_WEIGHT = 9
_CHINESE_SURNAMES = """
王wang 李li 张zhang 刘liu 陈chen 杨yang 赵zhao 黄huang 周zhou 吴wu
徐xu 孙sun 胡hu 朱zhu 高gao 林lin 何he 郭guo 马ma 罗luo
"""
_CHINESE_GIVEN = """
伟wei 芳fang 娜na 敏min 静jing 丽li 强qiang 磊lei 军jun 洋yang
勇yong 艳yan 杰jie 娟juan 涛tao 明ming 超chao 兰lan 霞xia 平ping
"""

_LETTERS = dict(zip("абвгдезийклмнопрстуфыэ", "abvgdeziiklmnoprstufye", strict=True))
_LETTERS |= {"ё": "yo", "ж": "zh", "х": "kh", "ц": "ts", "ч": "ch", "ш": "sh", "щ": "shch", "ъ": "", "ь": "", "ю": "yu"}
_LETTERS |= dict(zip("αβγδεζηικλμνοπρσςτυφω", "avgdeziiklmnoprsstyfo", strict=True))
_LETTERS |= {"я": "ya", "θ": "th", "ξ": "x", "χ": "ch", "ψ": "ps", "ß": "ss", "ł": "l", "ä": "ae", "ö": "oe", "ü": "ue"}


def to_ascii(text: str) -> str:
    """Lower-case letters a-z and digits that people would write for a name in another script; the rest "
    "is left out."""
    written = "".join(_LETTERS.get(letter, letter) for letter in unicodedata.normalize("NFC", text).lower())
    plain = unicodedata.normalize("NFD", written)
    return "".join(
        _LETTERS.get(letter, letter) for letter in plain if letter.isascii() or letter in _LETTERS
    ).translate({ord(letter): None for letter in " '’-.,"})


def names(seed: int) -> Iterator[Name]:
    """Distinct names, in a mixture of languages, until they run out."""
    chance = random.Random(f"names {seed}")
    pools = {language.code: _combined(language, chance) for language in _LANGUAGES} | {"zh": _chinese(chance)}
    weights = {language.code: language.weight for language in _LANGUAGES} | {"zh": _CHINESE_WEIGHT}
    while pools:
        code = chance.choices(list(pools), [weights[left] for left in pools])[0]
        name = next(pools[code], None)
        if name is None:
            del pools[code]
        else:
            yield name


def _combined(language: _Language, chance: random.Random) -> Iterator[Name]:
    surnames = [stem + end for stem in language.stems.split() for end in language.endings.split()]
    for given, surname in _shuffled(language.given.split(), sorted(set(surnames)), chance):
        yield Name(given, surname, to_ascii(given), to_ascii(surname), language.code)


def _chinese(chance: random.Random) -> Iterator[Name]:
    first = [(part[0], part[1:]) for part in _CHINESE_SURNAMES.split()]
    parts = [(part[0], part[1:]) for part in _CHINESE_GIVEN.split()]
    given = [(one[0] + two[0], one[1] + two[1]) for one in parts for two in parts]
    for (sign, sound), (signs, sounds) in _shuffled(first, given, chance):
        yield Name(signs, sign, sounds, sound, "zh")


def _shuffled(ones: Sequence[_One], others: Sequence[_Other], chance: random.Random) -> Iterator[tuple[_One, _Other]]:
    pairs = list(itertools.product(ones, others))
    chance.shuffle(pairs)
    return iter(pairs)
