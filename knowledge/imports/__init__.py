"""Imports: files and addresses on their way to becoming entries.

``limits``, ``refusal``, ``sniff``, ``text`` and the readers (``markdown``, ``html``, ``pdf``, ``docx``, ``tables``, ``archive``) know
neither Django nor the database: they run in a child process (``child``) that holds no secrets and little memory, for what they read
may be hostile. ``sandbox`` starts that process and reads what it says, ``fetching`` gets web pages, ``planning`` compares with the
pack, and ``job`` takes an import through its states.
"""
