"""Words and sentences of the bad pages, and of `prose`: English that says nothing."""

PRODUCTS = "lamps shoes watches phones mattresses curtains printers suitcases bicycles kettles".split()
TOWNS = "Aldermoor Brackwater Cindle Dunmere Estwick Farrowby Gelling Harrowgate".split()
GAMES = "roulette blackjack poker baccarat slots keno".split()
# Vocabulary of `prose`. Wide enough that a page hardly says five words twice: the repetition filter takes template
# text.
ADJECTIVES = """old young quiet narrow green heavy early broken clever plain distant warm bitter round hollow steep
    pale honest dusty busy gentle lonely crooked silver wooden famous hidden empty cheerful stubborn careful bright
    sudden ancient modern shallow simple""".split()
NOUNS = """bridge mill harbour market school chapel garden station library workshop orchard tower letter basket wagon
    ladder kitchen river window candle blanket hammer pocket compass meadow teacher farmer nurse painter sailor miller
    tailor hunter widow stranger cousin neighbour captain doctor singer rope barrel drawer feather mountain island
    cellar fence corner village journey winter supper story promise question answer secret morning picture needle
    button kettle saddle lantern stable chimney valley""".split()
VERBS = """found carried painted repaired followed watched remembered sold borrowed described measured opened counted
    forgot admired crossed cleaned hid mended praised visited avoided copied noticed moved protected searched studied
    trusted wanted""".split()
PLACES = "near behind beside above below beyond across inside outside around".split()
TIMES = """before after during until since despite without""".split()
ADVERBS = (
    "unfortunately extraordinarily nevertheless simultaneously enthusiastically unquestionably comparatively"
    " uncomfortably".split()
)
SHAPES = (
    "the {a} {n} {v} a {n} {p} the {n}",
    "{t} the {n} a {a} {n} {v} every {n}",
    "nobody {v} that {n} because the {n} {v} it with a {a} {n}",
    "she {v} her {a} {n} and he {v} the {n} of a {n}",
    "{p} the {a} {n} they {v} some {n} that the {n} had {v}",
    "what the {n} {v} was a {a} {n}, or so the {n} and his {n} have to say",
    "when a {n} {v} the {a} {n}, its {n} {v} to be {p} our {n}",
    "it is said that {n} and {n} {v} one {a} {n} {t} the {n}",
)
FOREIGN = {
    "de": (
        (
            "Der {a} in {t} öffnet seine Tür jeden Morgen um {n} Uhr, und viele Nachbarn kommen schon vor der Arbeit"
            " vorbei."
        ),
        "Seit {n} Jahren arbeitet die Familie in diesem alten Haus am Fluss, das früher eine Mühle gewesen ist.",
        "Am Wochenende gibt es einen kleinen Markt, auf dem man frisches Gemüse, Käse und warmes Brot kaufen kann.",
        "Die Kinder der Stadt {t} lernen in der Schule, wie ein {a} früher ohne Maschinen gearbeitet hat.",
        "Wer mehr darüber wissen möchte, kann im Rathaus nach den {n} Büchern über die Geschichte des Ortes fragen.",
        "Im Winter wird es hier sehr still, weil der Schnee die Straßen bedeckt und nur wenige Gäste übernachten.",
        (
            "Der Bürgermeister sagte, dass die neue Brücke erst in {n} Monaten fertig werde und mehr kosten solle als"
            " geplant."
        ),
    ),
    "fr": (
        "Le {a} de {t} ouvre sa porte chaque matin à {n} heures, et beaucoup de voisins passent avant le travail.",
        (
            "Depuis {n} ans, la famille travaille dans cette vieille maison au bord de la rivière, qui était autrefois"
            " un moulin."
        ),
        (
            "Le samedi, il y a un petit marché où l'on peut acheter des légumes frais, du fromage et du pain encore"
            " chaud."
        ),
        "Les enfants de {t} apprennent à l'école comment un {a} travaillait autrefois sans aucune machine.",
        "Ceux qui veulent en savoir davantage peuvent demander à la mairie les {n} livres sur l'histoire du village.",
        (
            "En hiver, tout devient très calme, parce que la neige couvre les rues et que peu de visiteurs restent la"
            " nuit."
        ),
        (
            "Le maire a expliqué que le nouveau pont ne serait terminé que dans {n} mois et coûterait plus cher que"
            " prévu."
        ),
    ),
    "es": (
        "El {a} de {t} abre su puerta cada mañana a las {n}, y muchos vecinos pasan por allí antes de ir al trabajo.",
        "Desde hace {n} años la familia trabaja en esta casa vieja junto al río, que antes había sido un molino.",
        "Los sábados hay un pequeño mercado donde se pueden comprar verduras frescas, queso y pan todavía caliente.",
        "Los niños de {t} aprenden en la escuela cómo trabajaba antes un {a} sin ninguna máquina.",
        "Quien quiera saber más puede preguntar en el ayuntamiento por los {n} libros sobre la historia del pueblo.",
        (
            "En invierno todo queda muy tranquilo, porque la nieve cubre las calles y pocos visitantes pasan la noche"
            " aquí."
        ),
        (
            "El alcalde dijo que el puente nuevo no estará terminado hasta dentro de {n} meses y que costará más de lo"
            " previsto."
        ),
    ),
}
TRADES = {
    "de": ("Bäcker", "Schmied", "Tischler"),
    "fr": ("boulanger", "forgeron", "menuisier"),
    "es": ("panadero", "herrero", "carpintero"),
}
LOREM = (
    (
        "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut labore et dolore"
        " magna aliqua."
    ),
    (
        "Ut enim ad minim veniam, quis nostrud exercitation ullamco laboris nisi ut aliquip. So much for lorem ipsum"
        " until we have a text."
    ),
)
