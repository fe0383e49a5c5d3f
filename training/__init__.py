"""Makes models, offline: data set -> vectorizer -> network -> fit -> evaluate -> export, as a version folder that
`textmodel` reads. Nothing here depends on serving.
"""
