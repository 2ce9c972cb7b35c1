"""The command line: a thin shell over the same methods that every client calls.

`root.py` is the table of commands and imports one only when it is used. Administration
goes through `office.py`: by the running gateway where there is one, else directly.
"""
