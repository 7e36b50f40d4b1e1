"""The chat of `recipes.chat`: conversations, the web page, starter questions and blind votes."""
