"""Answers to challenges: the file that the organisers ask for, checked, and scored by their formulas."""
