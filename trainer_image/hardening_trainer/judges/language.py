# ruff: noqa: RUF001 - words of many languages, with their letters
"""Whether an answer is in English, the one language that the refusal rules know.

Not which language it is: only whether rules written for English may read it. Evidence is counted word by word, for
English (its commonest words) and against it (the commonest words of other languages in Latin script, letters English
does not use). A short answer without evidence either way ("Paris", "Lemon juice") is read; a long one is not.
"""

import re
import unicodedata
from typing import Any

VERSION = 1
WORDS_THAT_SHOW_A_LANGUAGE = 6
"""So many words of running text without a single English one are no English."""
LETTERS_PER_SIGN = 2
"""A character of a script without spaces says about as much as two letters."""

_ENGLISH_WORDS = """
the and you your that this these those with have has had not isn't aren't wasn't don't doesn't didn't can't cannot
won't wouldn't couldn't shouldn't i'm i'll i'd i've you're you'll it's that's there's here's let's he's she's
they're we're what when where which who whom whose how why they them their theirs there then than from would could
should might must shall been being were does did doing done into about because through between before after again
against under until while if by but just like get got getting make makes making made take takes taking took put
puts first second next last here help helps helping please thing things way ways know knows think thinks want
wants need needs good great best better bad well time times day year people person one two three some any each
every other another such only own same very too also both few more most much many all it its itself he she his
hers our ours my mine we us him her yes sure okay sorry never ever always sometimes often maybe perhaps up down
out off over away back of to at as or so an are be is was will may said say says tell tells told ask asks asked
give gives giving gave find finds look looks looking use uses using used try tries trying tried keep let go goes
going come comes start stop call work works working hide hidden steal read reads reading write writes writing
wrote talk speak show shows see seen feel left right old new big small long little high low large early young
important public able unable request question answer information provide assist assistance can home house school
world life hand part place case week company system program number night point water room mother area money story
fact month lot study book eye job word business issue side kind head friend father power hour game line end member
law car city community name president team minute idea body nothing something everything anything nobody someone
everyone without within during since unless although though however therefore instead enough still yet around
across along behind inside outside near door window bed box key food bread paper table open close closed turn wait
follow following step steps mix add cut heat cook wash clean buy sell pay send bring hold run walk learn change
play move live believe happen include address email private continue set lead understand watch create allow grow
offer remember love consider appear build stay fall reach kill remain suggest raise pass require report decide
pull push break choose explain quickly usually really actually probably certainly absolutely simply carefully
slowly mattress sister brother parents teacher gonna wanna gotta dont cant wont im ive isnt doesnt didnt thats
whats youre lol nope yeah yep nah hello hi hey thanks thank welcome
"""
# English words that are common in other languages too: half a word of evidence.
_SHARED = frozenset(
    [
        "a",
        "an",
        "i",
        "in",
        "on",
        "no",
        "me",
        "do",
        "so",
        "is",
        "was",
        "will",
        "of",
        "to",
        "at",
        "as",
        "or",
        "all",
        "are",
        "be",
        "we",
        "us",
        "he",
        "her",
        "his",
        "him",
        "my",
        "him",
        "may",
        "must",
        "up",
        "over",
        "under",
        "can",
        "had",
        "has",
        "have",
        "for",
        "men",
        "man",
        "art",
        "hat",
        "war",
        "die",
        "den",
        "son",
        "pour",
        "tout",
        "comment",
        "sale",
        "car",
        "pie",
        "once",
        "come",
        "met",
        "van",
        "het",
        "par",
        "come",
        "dove",
        "note",
        "fine",
        "due",
        "mare",
        "sera",
        "ten",
        "pod",
        "gift",
        "bald",
        "also",
        "hand",
        "land",
        "wind",
        "warm",
        "arm",
        "ring",
        "ding",
        "per",
        "sin",
        "dos",
        "mayor",
        "van",
        "red",
        "ten",
        "dad",
        "fax",
        "plan",
        "bin",
        "rat",
        "wild",
        "sold",
        "said",
        "real",
        "final",
        "capital",
        "total",
        "normal",
        "model",
        "hotel",
        "animal",
        "radio",
        "video",
        "taxi",
        "ja",
        "de",
        "la",
        "el",
        "en",
        "y",
        "os",
        "era",
        "sure",
        "best",
        "let",
        "pick",
        "sag",
        "tag",
        "gut",
        "name",
        "film",
        "sport",
        "test",
        "team",
        "start",
        "stop",
        "bus",
        "refuse",
    ]
)
# Function words and the words of refusals, by language; what is English as well is left out below.
_FOREIGN_WORDS = """
je tu il elle nous vous ils elles le la les un une des du de et est sont pas ne que qui dans pour avec sur ce
cette ces mais ou où donc très bien oui non suis peux peut pouvez mon ton votre notre être avoir fait faire cela
ça aux désolé désolée voici comment aider puis sous sans refuse
der die das den dem des ein eine einen einem einer und ist sind nicht ich du er sie wir ihr kann kannst können mit
auf für von zu zum zur im am es dass wenn aber auch nur noch schon nein ja leider bitte mir mich dir dich dein
mein ihnen ihrer unter nach bei wie was hier helfen werden wird würde tut leid keine kein möglich dabei damit
el la los las un una unos unas de del y o es son no pero que en con por para su sus mi tu se lo le les me te muy
más como cuando donde sí esta este eso esa esto puedo puede puedes hacer ayudar ayudarte está estoy siento aquí
primero también porque claro nada debajo tengo
il lo gli i la le un uno una di del della dello dei e è sono non che per con su mi ti si ci vi ma anche come
quando dove più questo questa quello posso puoi può fare aiutare aiutarti dispiace ecco prima sotto sì nella nel
alla mia tuo
o a os as um uma uns umas de do da dos das e é são não que em no na com por para seu sua meu minha se mas mais
como quando onde muito isso isto este esta posso pode fazer ajudar desculpe infelizmente aqui primeiro também você
eu ele nao voce
de het een en van ik je jij hij zij wij ze niet dat die dit voor met op aan te zijn wordt kan kun kunnen maar ook
als naar bij uit nog wel geen hier helpen helaas spijt mij daar doen mee deze waar hoe jou onder
i w na z do że się nie to jest są był ale jak co czy dla od po przez tak ten ta tego tym mogę może możesz pomóc
przykro proszę mi ci mnie bardzo tutaj niestety
jag du han hon vi ni de det den en ett och är inte kan som på av för med till om men så här mig dig sig från under
hjälpa tyvärr ledsen ditt att har var
jeg du han hun vi de det den en et og er ikke kan som på av af for med til om men så her mig dig meg deg seg fra
hjelpe hjælpe beklager desværre dessverre at har var ei dette
minä sinä hän me te he se on ei en et ole olen ovat ja tai että mutta kun jos niin kuin tämä siinä voi voin auttaa
pahoillani valitettavasti tässä mitä myös
én te ő mi ti ők a az egy és nem van vagy hogy de ha mint ez ebben ezt meg el is csak már még tudok segíteni
sajnálom sajnos itt
já ty on ona my vy oni je jsem jsou není a i v na s z do že se to ten ta ale jak co pro od po tak mohu můžu nemohu
pomoci omlouvám bohužel zde si vám
eu tu el ea noi voi ei ele un o și este sunt nu că în la cu pe de din pentru dar sau care mai să pot ajuta asta
îmi pare rău aici ați vă
ben sen o biz siz onlar bir ve bu şu de da için ile değil var yok ama çok gibi mi mı ne nasıl üzgünüm yardımcı
olamam edemem maalesef önce evet hayır konuda istek
tôi bạn anh chị em nó họ là và của có không được cho với này đó một những các trong để thể giúp xin lỗi việc rất
nhưng
saya anda aku kamu dia kami kita mereka yang dan di ke dari untuk dengan ini itu tidak bisa dapat akan adalah ada
atau tapi tetapi maaf membantu permintaan pada juga bukan jangan
ako ikaw siya kami tayo sila ang ng mga sa na ay at hindi ko mo niya kung para pero ito iyan maaaring paumanhin
pasensya gawin matulungan po wala
mimi wewe yeye sisi ninyi wao ni na ya wa kwa katika hii hiyo huo hilo kama lakini siwezi samahani kukusaidia
tafadhali naomba hapana kwamba yako yangu
jo tu ell ella nosaltres els les un una i és són no que en amb per però com quan on molt més això puc ajudar sento
aquí també dels ho
ja ti on ona mi vi oni je sam su nije i u na s za da se to ali kako što od po ne mogu može pomoći žao mogu ovo vam
ti nažalost
mna wena thina nina ukuba kodwa kunye ngoku andikwazi uxolo ndiyaxolisa ukunceda ngale nalo yam
ni kuma ba ina na da ga wannan don amma iya taimaka yi zan hakuri
ek jy hy sy ons julle hulle die en is nie van vir met op te het sal kan maar ook jammer help hierdie asseblief
daarmee
mwen ou li nou yo pa se nan ak pou men sa ki te ka ede regrèt
ég þú hann hún við þið það er ekki og að í á um með til en því miður get hjálpað
tá níl mé tú sé sí sibh siad an na agus ar ag le ní féidir liom cabhrú brón orm leat
mae dw i ti fe hi ni chi nhw yn yr ac gyda ond ddim alla helpu ddrwg gen hynny
unë ti ai ajo ne ju ata është janë nuk dhe në me për por që më ndihmoj dot keq vjen
es tu viņš mēs jūs ir nav un ar no uz par bet ka es varu palīdzēt atvainojiet nevaru
aš tu jis mes jūs yra nėra ir su į už bet kad galiu padėti atsiprašau negaliu
ma sa ta me te nad on ei ja et aga kui see ole saa aidata kahjuks vabandust
ni zu hura gu zuek dira da ez eta baina hau hori dut lagundu barkatu ezin
eu ti el ela nós vós eles un unha do da e é non que en con por para pero como podo axudar sinto
ego tu nos vos et non est sunt sed cum ad ex per pro quod possum adiuvare
mi vi li ŝi ni ili la kaj estas ne sed kun por en ke povas helpi bedaŭras tion
main aap hum tum hai hain nahi nahin ka ki ke ko se mein aur lekin kya kaise sakta sakti madad maaf kijiye yeh
karo
ana anta la ma fi min ila laa asif aasif uridu musaada
wo ni ta bu shi de wo men bu neng bang ni duibuqi baoqian
watashi desu masu wa ga wo ni dekimasen sumimasen gomen nasai
ya ty on ona my vy oni ne mogu pomoch izvinite net eto kak chto
"""
_LOAN_WORDS = frozenset(
    [
        "café",
        "cafés",
        "naïve",
        "résumé",
        "fiancé",
        "fiancée",
        "façade",
        "cliché",
        "clichés",
        "déjà",
        "crème",
        "brûlée",
        "jalapeño",
        "piñata",
    ]
)
_NAME = re.compile(
    r"\b([A-Z\u00c0-\u00de][\w'’-]*)"
    r"((?: (?:de|da|do|dos|di|del|della|van|von|der|den|la|le|les|du|des|of|y|e|und|et|el|al|bin))+"
    r" [A-Z\u00c0-\u00de][\w'’-]*)+"
)
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_NOT_PROSE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|https?://\S+|\S+@\S+\.\S+", re.DOTALL)
_QUOTED = re.compile(
    r"\"[^\"\n]{1,400}\"|\u201c[^\u201d\n]{1,400}\u201d|\u00ab[^\u00bb\n]{1,400}\u00bb|\u201e[^\u201c\u201d\n]{1,400}[\u201c\u201d]|[\u300c\u300e][^\u300d\u300f\n]{1,400}[\u300d\u300f]"
)
_SEPARATORS = re.compile(r"[,;|\n\u2022:]|(?:^|\s)[-*+]\s")
_CODE_SIGNS = re.compile(r"[(){}\[\];=<>\\/_+$#]")

_ENGLISH = frozenset(_ENGLISH_WORDS.split())
_FOREIGN = frozenset(_FOREIGN_WORDS.split()) - _ENGLISH - _SHARED
_FOREIGN_BESIDE = frozenset(["de", "la", "el", "en", "y", "os", "ja", "era"])
"""Of the shared words, those that are hardly ever English."""


def tables() -> list[Any]:
    """What decides whether a text is English, as plain JSON."""
    return [VERSION, sorted(_ENGLISH), sorted(_SHARED), sorted(_FOREIGN), sorted(_LOAN_WORDS)]


def is_english(text: str) -> bool:
    """Whether rules for English may read a text: it is in English, or too short to show another language.

    >>> is_english("Angela Merkel lives in Berlin."), is_english("Es tut mir leid.")
    (True, False)
    """
    prose = _NOT_PROSE.sub(" ", text)
    unquoted = _QUOTED.sub(" ", prose)
    if re.search(r"[^\W\d_]", unquoted):
        prose = unquoted
    latin, other = _letters(prose)
    if other > latin:
        return False
    words = _WORD.findall(_NAME.sub(r"\1", prose).replace("\u2019", "'"))
    english, foreign = _evidence(words)
    if foreign > english:
        return False
    return english > 0 or not _is_running_text(prose, words)


def _letters(text: str) -> tuple[int, int]:
    """Letters in Latin script, and letters in others."""
    latin = other = 0
    for char in text:
        if not char.isalpha():
            continue
        if unicodedata.name(char, "").startswith(
            ("LATIN", "FULLWIDTH LATIN", "FEMININE", "MASCULINE", "MATHEMATICAL", "MODIFIER LETTER")
        ):
            latin += 1
        else:
            other += LETTERS_PER_SIGN if char > "\u2e80" and not "\uac00" <= char <= "\ud7a3" else 1
    return latin, other


def _evidence(words: list[str]) -> tuple[float, float]:
    """Words that are English, and words that are not; names say little."""
    english = foreign = 0.0
    are_names = len(words) > 1 and all(word[0].isupper() for word in words) and not all(map(str.isupper, words))
    for index, word in enumerate(words):
        plain = word.lower()
        is_name = word[0].isupper() and (index > 0 or are_names)
        if word[0].isupper() and len(word) <= (3 if is_name and word.isupper() else 1) and plain != "i":
            continue  # an abbreviation, or a letter in a formula
        if plain in _SHARED:
            english += 0.5
            foreign += 0.5 * (plain in _FOREIGN_BESIDE)
        elif plain in _ENGLISH:
            english += 1
        elif plain in _FOREIGN or _first_part(plain) in _FOREIGN:
            foreign += 0.0 if are_names else 0.5 if is_name else 1.0
        elif not word.isascii() and plain not in _LOAN_WORDS:
            foreign += 0.0 if is_name else 1.0
    return english, foreign


def _first_part(word: str) -> str:
    """`qu` of `qu'elle`, `ajudar` of `ajudar-te`; of a word without parts, nothing."""
    part = re.split("['-]", word)[0]
    return part if part != word and len(part) > 1 else ""


def _is_running_text(prose: str, words: list[str]) -> bool:
    """Whether words form sentences: not names, items of a list, or code."""
    if len(words) < WORDS_THAT_SHOW_A_LANGUAGE:
        return False
    names = sum(word[0].isupper() for word in words[1:])
    separators, signs = len(_SEPARATORS.findall(prose)), len(_CODE_SIGNS.findall(prose))
    return 2 * names < len(words) and 3 * separators < len(words) and 2 * signs < len(words)
