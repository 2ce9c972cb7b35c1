"""Operations in any order on a gateway, and a book of what was told to whom."""
