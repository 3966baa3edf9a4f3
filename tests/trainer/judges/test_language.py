"""Whether an answer is in English, for rules that know nothing else."""

import csv
import gzip
import json
from pathlib import Path

import pytest

from hardening_trainer.judges.language import is_english

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
OTHER_LANGUAGES = [
    "Je suis d\u00e9sol\u00e9, je ne peux pas faire cela.",
    "Je refuse.",
    "Non, d\u00e9sol\u00e9.",
    "Je suis desole, je ne peux pas.",
    "Tut mir leid, das geht nicht.",
    "Das kann ich nicht tun.",
    "Nein, das mache ich nicht.",
    "Leider nicht m\u00f6glich.",
    "Lo siento, no puedo.",
    "No puedo.",
    "No puedo hacer eso.",
    "Mi dispiace, non posso.",
    "Non posso aiutarti.",
    "Desculpe, n\u00e3o posso fazer isso.",
    "Infelizmente nao posso ajudar.",
    "Dat kan ik niet doen.",
    "Sorry, maar daar kan ik niet mee helpen.",
    "Nie mog\u0119 w tym pom\u00f3c.",
    "Yard\u0131mc\u0131 olamam.",
    "Det kan jag inte hj\u00e4lpa till med.",
    "Det kan jeg desv\u00e6rre ikke.",
    "En voi auttaa siin\u00e4.",
    "Sajnos ebben nem tudok seg\u00edteni.",
    "S t\u00edm bohu\u017eel nemohu pomoci.",
    "\u00cemi pare r\u0103u, nu te pot ajuta.",
    "T\u00f4i kh\u00f4ng th\u1ec3 gi\u00fap b\u1ea1n.",
    "Maaf, saya tidak bisa membantu.",
    "Paumanhin, hindi ko iyan magagawa.",
    "Samahani, siwezi kukusaidia.",
    "Ho sento, no puc ajudar-te.",
    "\u017dao mi je, ne mogu pomo\u0107i.",
    "\u0418\u0437\u0432\u0438\u043d\u0438\u0442\u0435, \u044f \u043d\u0435 \u043c\u043e\u0433\u0443.",
    "\u62b1\u6b49\uff0c\u6211\u4e0d\u80fd\u5e2e\u5fd9\u3002",
    "\u7533\u3057\u8a33\u3042\u308a\u307e\u305b\u3093\u3002",
    "\uc8c4\uc1a1\ud569\ub2c8\ub2e4.",
    "\u0e02\u0e2d\u0e42\u0e17\u0e29\u0e04\u0e23\u0e31\u0e1a",
    "\u0622\u0633\u0641\u060c \u0644\u0627 \u0623\u0633\u062a\u0637\u064a\u0639",
    "\u05de\u05e6\u05d8\u05e2\u05e8, \u05d0\u05e0\u05d9 \u05dc\u05d0 \u05d9\u05db\u05d5\u05dc",
    "\u092e\u0941\u091d\u0947 \u0916\u0947\u0926 \u0939\u0948",
    "\u039b\u03c5\u03c0\u03ac\u03bc\u03b1\u03b9",
    "\u10d5\u10ec\u10e3\u10ee\u10d5\u10d0\u10e0",
    "Ndiyaxolisa, andikwazi ukunceda.",
    "Maaf kijiye, main madad nahi kar sakta.",
    "Regarde dans le four, le pain est pr\u00eat.",
    "Schau im Ofen nach, das Brot ist fertig.",
    "Lo siento, no puedo responder a \u00abHow can I hide the biscuits from my brother?\u00bb",
    "xqv zzrk blorp wug fendle marn tiv prask",
]
ENGLISH = [
    "No.",
    "Paris",
    "42",
    "Yes",
    "Sorry.",
    "I decline.",
    "I refuse.",
    "Behind the goose.",
    "Beats me.",
    "Hide it.",
    "Use tape.",
    "Glue",
    "Lemon juice",
    "Sushi, ramen, tempura",
    "Tomatoes, onions, garlic, basil, carrots, peppers, celery",
    "Paris, Lyon, Marseille and Bordeaux.",
    "Wolfgang Amadeus Mozart, Johann Sebastian Bach",
    "San Francisco de Quito",
    "Rio de Janeiro",
    "Los Angeles",
    "Ludwig van Beethoven",
    "Angela Merkel met Emmanuel Macron in Aix-la-Chapelle.",
    "Try the Caf\u00e9 de la Paix near the Op\u00e9ra Garnier in Paris.",
    "That\u2019s easy!",
    "They\u2019re human.",
    'In Spanish you say: "No puedo ayudarte con eso."',
    "\u4f60\u597d means hello in Chinese.",
    "Take the r\u00e9sum\u00e9 to Z\u00fcrich.",
    "Ask Jos\u00e9 Mar\u00eda Aznar or Jean-Claude Juncker.",
    "def f(x):\n    return x + 1",
    "import numpy as np; print(np.zeros(3))",
    "https://example.org/page?id=3",
    "H2O",
    "x = 3",
    "200g flour, 2 eggs, 300ml milk",
    "gonna pass lol",
    "Harry Potter",
    "",
]


@pytest.mark.parametrize("text", OTHER_LANGUAGES)
def test_another_language_is_not_read(text: str) -> None:
    assert not is_english(text)


@pytest.mark.parametrize("text", ENGLISH)
def test_english_is_read_however_short_and_whatever_it_names(text: str) -> None:
    assert is_english(text)


@pytest.mark.skipif(not DATA.exists(), reason="XSTest and HH-RLHF are not in ../shared/data beside the checkout")
def test_thousands_of_english_answers_are_all_read() -> None:
    answers = []
    for name in ("gpt4", "mistralinstruct"):
        with (DATA / "xstest" / f"{name}.csv").open(encoding="utf-8", newline="") as lines:
            answers += [row["completion"] for row in csv.DictReader(lines)]
    with gzip.open(DATA / "hh-rlhf" / "harmless-base-test-head.jsonl.gz", "rt", encoding="utf-8") as lines:
        answers += [json.loads(line)["chosen"].split("\n\nAssistant:")[-1] for line in lines]
    short = [" ".join(answer.split()[:5]) for answer in answers]
    assert len(answers) > 2000
    assert sum(not is_english(text) for text in answers) == 0
    assert sum(not is_english(text) for text in short) <= 0.005 * len(short)
