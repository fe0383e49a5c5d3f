from textmodel import unicode_text
from training.data.tokens import tokenize_all


def test_many_texts_have_the_words_of_each_alone() -> None:
    texts = ["", "A film, 1\r\nthe parcel", "!?", "재미있는 영화ㅋㅋ", "日本語 😀😀", " don't", ""]
    assert tokenize_all(texts) == [unicode_text.tokenize(text) for text in texts]
    assert tokenize_all([]) == []
