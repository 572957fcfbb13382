"""Files written whole or not at all, and files of other programs."""
