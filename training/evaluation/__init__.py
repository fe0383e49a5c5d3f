"""How good a model version is: metrics, comparison of two versions, promotion, and the plots that show it."""
