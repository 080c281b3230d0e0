"""The demo's 1,000 benefits: what a video, a delivery and a rides platform could have on offer.

They come from a few families each, in English and German, at about 0.8 cents a point. Most can be had at once; some
have a window, a region, a stock, a limit per member or a pool of codes, so that every "no" can be met. Firms and
titles are invented.

The same every time: nothing here asks a clock or rolls dice. `since` is the day on which the exchange began.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final, NamedTuple

from exchange.amounts import Money
from exchange.benefit import BenefitCategory, BenefitContent, Fulfilment, Translation

CODES_PER_POOL: Final = 20
_CENTS_PER_TEN_POINTS: Final = 8
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"  # no I and O, no 1 and 0: codes are typed by people


class _Words(NamedTuple):
    english: str
    german: str


class _City(NamedTuple):
    english: str
    german: str
    country: str


def _words(text: str) -> list[_Words]:
    return [_Words(*line.split("|")) for line in text.strip().splitlines()]


_CITIES = [
    _City(*line.split("|"))
    for line in (
        "Berlin|Berlin|DE", "Hamburg|Hamburg|DE", "Munich|München|DE", "Cologne|Köln|DE", "Frankfurt|Frankfurt|DE",
        "Leipzig|Leipzig|DE", "Vienna|Wien|AT", "Graz|Graz|AT", "Zurich|Zürich|CH", "Basel|Basel|CH",
        "Paris|Paris|FR", "Lyon|Lyon|FR", "Amsterdam|Amsterdam|NL", "Brussels|Brüssel|BE", "Milan|Mailand|IT",
    )
]  # fmt: skip

_FILMS = _words("""
Last Train to Trieste|Letzter Zug nach Triest
The Lighthouse Keeper|Der Leuchtturmwärter
A Winter in Lisbon|Ein Winter in Lissabon
The Cartographer|Die Kartografin
Two Summers|Zwei Sommer
The Glass Harbour|Der gläserne Hafen
Northern Lights Hotel|Hotel Nordlicht
The Violin Maker|Der Geigenbauer
Salt and Cedar|Salz und Zeder
The Quiet Accountant|Der stille Buchhalter
Midnight at the Market|Mitternacht auf dem Markt
The Paper Astronaut|Der Papierastronaut
Letters from Tbilisi|Briefe aus Tiflis
The Beekeeper's Alibi|Das Alibi der Imkerin
Fog over Elbe|Nebel über der Elbe
The Second Violin|Die zweite Geige
Rooftops|Über den Dächern
The Borrowed Year|Das geliehene Jahr
A Map of Small Islands|Karte der kleinen Inseln
The Night Ferry|Die Nachtfähre
Copper Mountain|Kupferberg
The Translator|Die Übersetzerin
Orange Blossom Road|Orangenblütenstraße
The Last Lamplighter|Der letzte Laternenanzünder
Seven Bridges|Sieben Brücken
The Clock Tower|Der Uhrturm
Snow in April|Schnee im April
The Apprentice Baker|Der Bäckerlehrling
House of Windows|Haus der Fenster
The Long Platform|Der lange Bahnsteig
A Study in Blue|Studie in Blau
The Gardener of Prague|Der Gärtner von Prag
Thirteen Postcards|Dreizehn Postkarten
The Honest Forger|Der ehrliche Fälscher
River Without Name|Fluss ohne Namen
The Pianist's Neighbour|Die Nachbarin des Pianisten
Under the Linden|Unter den Linden
The Weather Station|Die Wetterstation
Carousel|Karussell
The Silver Tram|Die silberne Straßenbahn
A Room in Ghent|Ein Zimmer in Gent
The Owl and the Engineer|Die Eule und der Ingenieur
Harvest Moon|Erntemond
The Ninth Passenger|Der neunte Passagier
Echoes of Marble|Echo aus Marmor
The Chess Café|Das Schachcafé
Distant Harbours|Ferne Häfen
The Bookbinder|Die Buchbinderin
Winter Swimmers|Winterschwimmer
The Vanishing Vineyard|Der verschwundene Weinberg
A Taste of Rain|Geschmack von Regen
The Inventor's Daughter|Die Tochter des Erfinders
Nine Days in May|Neun Tage im Mai
The Sleeping Station|Der schlafende Bahnhof
Amber Road|Bernsteinstraße
The Good Locksmith|Der gute Schlosser
Kites over Porto|Drachen über Porto
The Island Doctor|Die Inselärztin
Half a Dozen Truths|Ein halbes Dutzend Wahrheiten
The Rainmaker's Ledger|Das Hauptbuch des Regenmachers
""")
_SERIES = _words("""
Harbour Police|Hafenpolizei
The Night Kitchen|Die Nachtküche
Signal Lost|Signal verloren
Court of Appeal|Berufungsgericht
Alpine Rescue|Bergwacht
The Archive|Das Archiv
Startup Street|Gründerstraße
Deep Blue Planet|Tiefblauer Planet
Grandmaster|Großmeister
The Vet of Sylt|Die Tierärztin von Sylt
Cold Front|Kaltfront
Bread and Butter|Brot und Butter
The Understudy|Die Zweitbesetzung
Kids of Comet Street|Die Kinder der Kometenstraße
Mission Neptune|Mission Neptun
Old Town Murders|Die Altstadtmorde
The Orchestra|Das Orchester
Ten Thousand Steps|Zehntausend Schritte
The Tower Block|Das Hochhaus
Empire of Spice|Reich der Gewürze
""")
_SPORTS = _words("""
football|Fußball
handball|Handball
basketball|Basketball
ice hockey|Eishockey
tennis|Tennis
cycling|Radsport
athletics|Leichtathletik
volleyball|Volleyball
biathlon|Biathlon
rowing|Rudern
table tennis|Tischtennis
climbing|Klettern
""")
_CONCERTS = _words("""
a piano recital|ein Klavierabend
an evening of jazz|ein Jazzabend
a chamber concert|ein Kammerkonzert
an opera gala|eine Operngala
a folk festival|ein Folkfestival
a night of techno|eine Technonacht
an unplugged session|eine Unplugged-Session
a symphony|eine Sinfonie
a choir concert|ein Chorkonzert
a film music gala|eine Filmmusikgala
a blues club night|eine Nacht im Bluesclub
an indie showcase|ein Indie-Showcase
a children's concert|ein Kinderkonzert
a tango evening|ein Tangoabend
a New Year's concert|ein Neujahrskonzert
""")
_READING = _words("""
cookery|Kochen
travel|Reisen
science|Wissenschaft
gardening|Garten
history|Geschichte
photography|Fotografie
economics|Wirtschaft
crime novels|Krimis
comics|Comics
poetry|Lyrik
parenting|Familie
architecture|Architektur
cycling|Radfahren
music|Musik
languages|Sprachen
""")
_CUISINES = _words("""
Italian|italienisch
Vietnamese|vietnamesisch
Lebanese|libanesisch
Indian|indisch
Greek|griechisch
Japanese|japanisch
Mexican|mexikanisch
Georgian|georgisch
Turkish|türkisch
Swabian|schwäbisch
vegan|vegan
Ethiopian|äthiopisch
""")
_DISHES = _words("""
Margherita pizza|Pizza Margherita
Pizza with figs|Pizza mit Feigen
Lasagne|Lasagne
Spinach ravioli|Spinatravioli
Mushroom risotto|Pilzrisotto
Gnocchi with sage|Gnocchi mit Salbei
Beef pho|Pho mit Rind
Summer rolls|Sommerrollen
Tofu bún|Bun mit Tofu
Green curry|Grünes Curry
Pad thai|Pad Thai
Chicken tikka|Chicken Tikka
Palak paneer|Palak Paneer
Dal and rice|Dal mit Reis
Falafel plate|Falafelteller
Shakshuka|Schakschuka
Mezze for two|Mezze für zwei
Gyros plate|Gyrosteller
Moussaka|Moussaka
Salmon bowl|Lachs-Bowl
Sushi box of 12|Sushi-Box mit 12 Stück
Miso ramen|Miso-Ramen
Tonkotsu ramen|Tonkotsu-Ramen
Three tacos|Drei Tacos
Bean burrito|Bohnenburrito
Quesadilla|Quesadilla
Khachapuri|Chatschapuri
Khinkali|Chinkali
Lentil soup|Linsensuppe
Köfte plate|Köfteteller
Lahmacun|Lahmacun
Käsespätzle|Käsespätzle
Maultaschen in broth|Maultaschen in der Brühe
Schnitzel with potato salad|Schnitzel mit Kartoffelsalat
Currywurst with chips|Currywurst mit Pommes
Cheeseburger|Cheeseburger
Vegan burger|Veganer Burger
Caesar salad|Caesar Salad
Injera for two|Injera für zwei
Tiramisu for two|Tiramisu für zwei
""")
_BOXES = _words("""
fruit|Obst
vegetables|Gemüse
organic vegetables|Biogemüse
breakfast|Frühstück
barbecue|Grillen
cheese|Käse
pasta|Pasta
baby|Baby
party|Party
office|Büro
bread|Brot
fish|Fisch
baking|Backen
tea|Tee
spices|Gewürze
cleaning|Putzen
pet|Haustier
picnic|Picknick
raclette|Raclette
juice|Saft
""")
_DRINKS = _words("""
Espresso|Espresso
Double espresso|Doppelter Espresso
Cappuccino|Cappuccino
Flat white|Flat White
Latte macchiato|Latte macchiato
Filter coffee|Filterkaffee
Cold brew|Cold Brew
Mocha|Mokka
Oat latte|Hafer-Latte
Chai latte|Chai Latte
Hot chocolate|Heiße Schokolade
Matcha latte|Matcha Latte
Peppermint tea|Pfefferminztee
Earl Grey|Earl Grey
Fresh lemonade|Frische Limonade
Apple spritzer|Apfelschorle
""")
_SHOPS = _words("""
the bookshop Seitenwind|die Buchhandlung Seitenwind
the toy shop Kreisel|den Spielzeugladen Kreisel
the garden centre Grünzeug|das Gartencenter Grünzeug
the outfitter Fernweh|den Ausrüster Fernweh
the bicycle workshop Speiche|die Fahrradwerkstatt Speiche
the record shop Rille|den Plattenladen Rille
the flower shop Mohn|den Blumenladen Mohn
the wine shop Korken|die Weinhandlung Korken
the pharmacy Linde|die Apotheke Linde
the optician Weitblick|den Optiker Weitblick
the stationer Tinte|den Schreibwarenladen Tinte
the electronics shop Ampere|den Elektronikladen Ampere
""")
_ROUTES = _words("""
Berlin to Hamburg|Berlin nach Hamburg
Berlin to Munich|Berlin nach München
Cologne to Frankfurt|Köln nach Frankfurt
Munich to Vienna|München nach Wien
Zurich to Milan|Zürich nach Mailand
Paris to Brussels|Paris nach Brüssel
Amsterdam to Cologne|Amsterdam nach Köln
Leipzig to Dresden|Leipzig nach Dresden
Vienna to Graz|Wien nach Graz
Hamburg to Bremen|Hamburg nach Bremen
Lyon to Paris|Lyon nach Paris
Basel to Freiburg|Basel nach Freiburg
""")
_TOWNS = _words("""
Lübeck|Lübeck
Bamberg|Bamberg
Heidelberg|Heidelberg
Weimar|Weimar
Görlitz|Görlitz
Regensburg|Regensburg
Konstanz|Konstanz
Salzburg|Salzburg
Innsbruck|Innsbruck
Lucerne|Luzern
Bern|Bern
Strasbourg|Straßburg
Annecy|Annecy
Bruges|Brügge
Ghent|Gent
Utrecht|Utrecht
Verona|Verona
Trieste|Triest
Bolzano|Bozen
Potsdam|Potsdam
""")


def benefits(handle: str, since: datetime) -> list[BenefitContent]:
    """Return what the partner of that handle offers: 334, 333 and 333."""
    return [content for family in _FAMILIES[handle] for content in family(since)]


def codes(content: BenefitContent) -> list[str]:
    """Return the codes of a benefit's pool."""
    return [_code(content.sku, number) for number in range(CODES_PER_POOL)]


# ---------------------------------------------------------------- the families


def _plans(_: datetime) -> Iterator[BenefitContent]:
    plans = (("Mobile", "Mobil", 499), ("Standard", "Standard", 999), ("Premium 4K", "Premium 4K", 1599),
             ("Family", "Familie", 1899), ("Student", "Student", 699))  # fmt: skip
    for english, german, cents in plans:
        for months in (1, 2, 3, 6, 12):
            span = _Words(
                "1 month" if months == 1 else f"{months} months", "1 Monat" if months == 1 else f"{months} Monate"
            )
            yield _benefit(
                f"plan-{english}-{months}", BenefitCategory.VIDEO, f"{span.english} of Lumen {english}",
                f"{span.german} Lumen {german}", cents * months,
                "Everything in the catalog, no advertisements; ends by itself.",
                "Der ganze Katalog, ohne Werbung; endet von selbst.",
                fulfilment=Fulfilment.INSTANT_CODE if months in {1, 3} else Fulfilment.PARTNER_CALL,
                member_limit=12 // months, tags=("membership", english.lower()),
            )  # fmt: skip


def _films(_: datetime) -> Iterator[BenefitContent]:
    for film in _FILMS:
        for kind, how, wie, cents in (
            ("hd", "in HD, for 48 hours", "in HD, für 48 Stunden", 399),
            ("4k", "in 4K, for 48 hours", "in 4K, für 48 Stunden", 499),
            ("own", "to keep", "zum Behalten", 999),
        ):
            yield _benefit(
                f"film-{film.english}-{kind}", BenefitCategory.VIDEO, f"{film.english}, {how}", f"{film.german}, {wie}",
                cents, "On every device that Lumen runs on.", "Auf jedem Gerät, auf dem Lumen läuft.",
                tags=("film", kind),
            )  # fmt: skip


def _series(_: datetime) -> Iterator[BenefitContent]:
    for series in _SERIES:
        for season in (1, 2, 3):
            yield _benefit(
                f"series-{series.english}-{season}", BenefitCategory.VIDEO, f"{series.english}, season {season}",
                f"{series.german}, Staffel {season}", 799, "Ten episodes, to keep.", "Zehn Folgen, zum Behalten.",
                tags=("series",),
            )  # fmt: skip


def _live(since: datetime) -> Iterator[BenefitContent]:
    for week, sport in enumerate(_SPORTS):
        # Some have begun, some are to come.
        begins = since + timedelta(weeks=week - 3)
        for kind, how, wie, cents, days in (
            ("day", "one day of", "ein Tag", 499, 28), ("week", "a week of", "eine Woche", 1499, 42),
        ):  # fmt: skip
            yield _benefit(
                f"live-{sport.english}-{kind}", BenefitCategory.VIDEO, f"Live: {how} {sport.english}",
                f"Live: {wie} {sport.german}", cents, "Every match, every camera.", "Jedes Spiel, jede Kamera.",
                valid_from=begins, valid_until=begins + timedelta(days=days), tags=("live", "sport"),
            )  # fmt: skip


def _concerts(_: datetime) -> Iterator[BenefitContent]:
    for concert in _CONCERTS:
        yield _benefit(
            f"concert-{concert.english}", BenefitCategory.MUSIC, f"Concert stream: {concert.english}",
            f"Konzertstream: {concert.german}", 699, "Live, and for a week afterwards.",
            "Live und danach eine Woche lang.", tags=("concert",), stock=500,
        )  # fmt: skip


def _reading(_: datetime) -> Iterator[BenefitContent]:
    for topic in _READING:
        yield _benefit(
            f"read-{topic.english}", BenefitCategory.READING, f"A month of magazines about {topic.english}",
            f"Ein Monat Zeitschriften: {topic.german}", 599, "Read on any screen.", "Lesbar auf jedem Bildschirm.",
            member_limit=3, tags=("magazine",),
        )  # fmt: skip


def _gaming(_: datetime) -> Iterator[BenefitContent]:
    for hours in (1, 2, 3, 5, 10):
        for tier, cents in (("HD", 99), ("4K", 149), ("4K with two players", 199)):
            zu = tier.replace("with two players", "zu zweit")
            yield _benefit(
                f"cloud-gaming-{tier}-{hours}", BenefitCategory.GAMING, f"{hours} h of cloud gaming in {tier}",
                f"{hours} Std. Cloud-Gaming in {zu}", cents * hours, "No download, no waiting.",
                "Kein Download, kein Warten.", tags=("gaming",),
            )  # fmt: skip


def _city_deliveries(_: datetime) -> Iterator[BenefitContent]:
    for city in _CITIES:
        for count in (1, 3, 5, 10, 20):
            yield _benefit(
                f"free-{city.english}-{count}", BenefitCategory.DELIVERY,
                f"Free delivery in {city.english}" if count == 1 else f"{count} free deliveries in {city.english}",
                f"Gratislieferung in {city.german}" if count == 1 else f"{count} Gratislieferungen in {city.german}",
                290 * count, "From any restaurant or shop.", "Aus jedem Restaurant und Laden.",
                regions=(city.country,), tags=("free delivery",),
            )  # fmt: skip
        for kind, wie, cents in (("by day", "tagsüber", 390), ("by night", "nachts", 590)):
            yield _benefit(
                f"express-{city.english}-{kind}", BenefitCategory.DELIVERY,
                f"Within 30 minutes in {city.english}, {kind}", f"In 30 Minuten in {city.german}, {wie}", cents,
                "Or your points come back.", "Sonst gibt es die Punkte zurück.", regions=(city.country,),
                fulfilment=Fulfilment.PARTNER_CALL, tags=("express",),
            )  # fmt: skip


def _plus(_: datetime) -> Iterator[BenefitContent]:
    for months in (1, 3, 6, 12):
        yield _benefit(
            f"plus-{months}", BenefitCategory.DELIVERY, f"Hurtig Plus, {months} month{'s' * (months > 1)}",
            f"Hurtig Plus, {months} Monat{'e' * (months > 1)}", 890 * months, "Every delivery free.",
            "Jede Lieferung gratis.", fulfilment=Fulfilment.PARTNER_CALL, member_limit=12 // months,
            tags=("membership",),
        )  # fmt: skip


def _restaurants(_: datetime) -> Iterator[BenefitContent]:
    for cuisine in _CUISINES:
        for euros in (5, 10, 15, 20):
            yield _benefit(
                f"eat-{cuisine.english}-{euros}", BenefitCategory.FOOD, f"{euros} EUR off {cuisine.english} food",
                f"{euros} EUR Rabatt, {cuisine.german} essen", 100 * euros, "On one order, with other offers too.",
                "Auf eine Bestellung, auch mit anderen Angeboten.", tags=("restaurant", cuisine.english.lower()),
            )  # fmt: skip


def _dishes(_: datetime) -> Iterator[BenefitContent]:
    for number, dish in enumerate(_DISHES):
        yield _benefit(
            f"dish-{dish.english}", BenefitCategory.FOOD, f"{dish.english}, delivered", f"{dish.german}, geliefert",
            890 + 50 * (number % 9), "From a kitchen nearby.", "Aus einer Küche in der Nähe.",
            tags=("dish",), stock=60 if number % 4 == 0 else None,
        )  # fmt: skip


def _boxes(since: datetime) -> Iterator[BenefitContent]:
    for number, box in enumerate(_BOXES):
        for size, wie, cents in (("small", "klein", 990), ("medium", "mittel", 1690), ("large", "groß", 2490)):
            # Some end soon.
            ends = since + timedelta(days=14 + number) if number % 5 == 0 else None
            yield _benefit(
                f"box-{box.english}-{size}", BenefitCategory.SHOPPING, f"A {size} box: {box.english}",
                f"Eine Kiste, {wie}: {box.german}", cents, "Packed in the morning.", "Am Morgen gepackt.",
                valid_until=ends, stock=200, tags=("box", size),
            )  # fmt: skip


def _drinks(_: datetime) -> Iterator[BenefitContent]:
    for drink in _DRINKS:
        yield _benefit(
            f"drink-{drink.english}", BenefitCategory.FOOD, f"{drink.english} to go", f"{drink.german} zum Mitnehmen",
            390, "In any café that Hurtig delivers from.", "In jedem Café, aus dem Hurtig liefert.",
            member_limit=10, tags=("coffee",),
        )  # fmt: skip


def _shops(_: datetime) -> Iterator[BenefitContent]:
    for shop in _SHOPS:
        for euros in (5, 10, 15, 25, 50):
            yield _benefit(
                f"shop-{shop.english.split()[-1]}-{euros}", BenefitCategory.SHOPPING,
                f"{euros} EUR voucher for {shop.english}", f"Gutschein über {euros} EUR für {shop.german}", 100 * euros,
                "Type the code at the till.", "Den Code an der Kasse eingeben.",
                fulfilment=Fulfilment.INSTANT_CODE if euros in {10, 25} else Fulfilment.NONE, tags=("voucher",),
            )  # fmt: skip


def _city_rides(_: datetime) -> Iterator[BenefitContent]:
    for city in _CITIES:
        for euros in (5, 10, 15, 20, 30):
            yield _benefit(
                f"ride-{city.english}-{euros}", BenefitCategory.RIDES, f"{euros} EUR off a ride in {city.english}",
                f"{euros} EUR Rabatt auf eine Fahrt in {city.german}", 100 * euros, "Good for one ride.",
                "Gilt für eine Fahrt.", regions=(city.country,), tags=("voucher",),
            )  # fmt: skip
        yield _benefit(
            f"night-{city.english}", BenefitCategory.RIDES, f"Home safely by night in {city.english}",
            f"Nachts sicher nach Hause in {city.german}", 1200, "Between 22:00 and 5:00, up to 10 km.",
            "Zwischen 22 und 5 Uhr, bis 10 km.", regions=(city.country,), fulfilment=Fulfilment.PARTNER_CALL,
            tags=("night",),
        )  # fmt: skip
        for vehicle, womit in (("bicycle", "Fahrrad"), ("scooter", "Roller")):
            yield _benefit(
                f"day-{city.english}-{vehicle}", BenefitCategory.RIDES, f"A day by {vehicle} in {city.english}",
                f"Ein Tag mit dem {womit} in {city.german}", 990, "24 hours, as many trips as you like.",
                "24 Stunden, beliebig viele Fahrten.", regions=(city.country,), tags=("day pass", vehicle),
            )  # fmt: skip
        yield _benefit(
            f"lounge-{city.english}", BenefitCategory.TRAVEL, f"Airport lounge in {city.english}",
            f"Flughafen-Lounge in {city.german}", 2900, "Three hours before departure.", "Drei Stunden vor dem Abflug.",
            fulfilment=Fulfilment.INSTANT_CODE, tags=("airport",),
        )  # fmt: skip


def _airports(_: datetime) -> Iterator[BenefitContent]:
    for airport in [*_CITIES, *[_City(town.english, town.german, "") for town in _TOWNS[:5]]]:
        for trip, wie, factor in (("one way", "einfach", 1), ("return", "hin und zurück", 2)):
            for comfort, how, cents in (("standard", "Standard", 2900), ("comfort", "Komfort", 4500)):
                yield _benefit(
                    f"airport-{airport.english}-{trip}-{comfort}", BenefitCategory.TRAVEL,
                    f"To the airport from {airport.english}, {trip}, {comfort}",
                    f"Von {airport.german} zum Flughafen, {wie}, {how}", cents * factor, "The driver waits an hour.",
                    "Der Fahrer wartet eine Stunde.", fulfilment=Fulfilment.PARTNER_CALL, tags=("airport", comfort),
                )  # fmt: skip


def _minutes(_: datetime) -> Iterator[BenefitContent]:
    for vehicle, womit, cents in (("bicycle", "Fahrrad", 10), ("scooter", "Roller", 19), ("moped", "Moped", 26)):
        for minutes in (15, 30, 60, 120, 240):
            yield _benefit(
                f"minutes-{vehicle}-{minutes}", BenefitCategory.RIDES, f"{minutes} minutes by {vehicle}",
                f"{minutes} Minuten mit dem {womit}", cents * minutes, "In one trip or in several.",
                "In einer Fahrt oder in mehreren.", tags=(vehicle,),
            )  # fmt: skip


def _cars(_: datetime) -> Iterator[BenefitContent]:
    for car, auto, cents in (
        ("a small car", "Kleinwagen", 900),
        ("an estate car", "Kombi", 1300),
        ("a van", "Transporter", 1700),
    ):
        for span, dauer, factor in (("1 hour", "1 Stunde", 1), ("3 hours", "3 Stunden", 2), ("6 hours", "6 Stunden", 3),
                                    ("1 day", "1 Tag", 5), ("a weekend", "ein Wochenende", 8)):  # fmt: skip
            yield _benefit(
                f"car-{car}-{span}", BenefitCategory.RIDES, f"{car.capitalize()} for {span}", f"{auto}, {dauer}",
                cents * factor, "Charged, insured, 100 km a day included.",
                "Geladen, versichert, 100 km am Tag inklusive.", fulfilment=Fulfilment.PARTNER_CALL, stock=40,
                tags=("car sharing",),
            )  # fmt: skip


def _trains(since: datetime) -> Iterator[BenefitContent]:
    for week, route in enumerate(_ROUTES):
        for trip, wie, factor in (("one way", "einfach", 1), ("return", "hin und zurück", 2)):
            for fare, tarif, cents in (("saver", "Spartarif", 1990), ("flexible", "flexibel", 3990)):
                begins = since + timedelta(weeks=week - 8) if fare == "saver" else None
                yield _benefit(
                    f"train-{route.english}-{trip}-{fare}", BenefitCategory.TRAVEL,
                    f"By train from {route.english}, {trip}, {fare}",
                    f"Mit der Bahn von {route.german}, {wie}, {tarif}", cents * factor,
                    "Second class, seat reserved.", "Zweite Klasse, mit Sitzplatz.",
                    valid_from=begins, valid_until=None if begins is None else begins + timedelta(weeks=10),
                    tags=("train", fare),
                )  # fmt: skip


def _hotels(_: datetime) -> Iterator[BenefitContent]:
    for town in _TOWNS:
        for nights, naechte, cents in (("1 night", "1 Nacht", 7900), ("2 nights", "2 Nächte", 14900)):
            yield _benefit(
                f"hotel-{town.english}-{nights}", BenefitCategory.TRAVEL, f"{nights} for two in {town.english}",
                f"{naechte} zu zweit in {town.german}", cents, "With breakfast, ten minutes from the station.",
                "Mit Frühstück, zehn Minuten vom Bahnhof.", fulfilment=Fulfilment.PARTNER_CALL, member_limit=2,
                stock=20, tags=("hotel",),
            )  # fmt: skip


_FAMILIES: Final = {
    "video": (_plans, _films, _series, _live, _concerts, _reading, _gaming),
    "delivery": (_city_deliveries, _plus, _restaurants, _dishes, _boxes, _drinks, _shops),
    "rides": (_city_rides, _airports, _minutes, _cars, _trains, _hotels),
}


# ---------------------------------------------------------------- one benefit


def _benefit(
    sku: str, category: BenefitCategory, english: str, german: str, cents: int, description: str, beschreibung: str,
    *, tags: Sequence[str] = (), **more: Any,
) -> BenefitContent:  # fmt: skip
    return BenefitContent(
        sku=_slug(sku), category=category, title=english, description=description,
        translations=(Translation("de", german, beschreibung),),
        points_price=-(-cents // _CENTS_PER_TEN_POINTS) * 10, face_value=Money(cents, "EUR"), tags=tuple(tags), **more,
    )  # fmt: skip


def _slug(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


def _code(sku: str, number: int) -> str:
    picked = [_LETTERS[byte % len(_LETTERS)] for byte in sha256(f"{sku} {number}".encode()).digest()[:12]]
    return "-".join("".join(picked[start : start + 4]) for start in (0, 4, 8))
