"""A picture of a terminal: what `tmux capture-pane -e -p` prints, on standard input, as a page on
standard output, to be opened by a browser.

Knows the sequences that tmux prints: SGR with the eight colours, their bright forms, the 256, and
bold, dim, underlined and reversed.
"""

import html
import re
import sys

BASE = ["#1e1e1e", "#e06c75", "#98c379", "#e5c07b", "#61afef", "#c678dd", "#56b6c2", "#dcdfe4"]
BRIGHT = ["#5c6370", "#ff7b86", "#b5e890", "#ffd68a", "#82c7ff", "#e39bf5", "#7fdbe6", "#ffffff"]
FRONT, BACK = "#dcdfe4", "#1e1e1e"
STYLE = ("body{margin:0;background:%s} pre{margin:0;padding:10px 12px;color:%s;"
         "font:15px/1.25 'DejaVu Sans Mono','Liberation Mono',monospace}" % (BACK, FRONT))


def colour(number):
    if number < 8:
        return BASE[number]
    if number < 16:
        return BRIGHT[number - 8]
    if number < 232:
        number -= 16
        levels = [0, 95, 135, 175, 215, 255]
        return "#%02x%02x%02x" % tuple(levels[number // 6 ** at % 6] for at in (2, 1, 0))
    return "#" + "%02x" % (8 + 10 * (number - 232)) * 3


class Look:
    def __init__(self):
        self.front, self.back, self.marks = None, None, set()

    def change(self, codes):
        codes = [int(code or 0) for code in codes.split(";")]
        while codes:
            code = codes.pop(0)
            if code == 0:
                self.__init__()
            elif code in (1, 2, 4, 7):
                self.marks.add(code)
            elif code in (22, 24, 27):
                self.marks -= {22: {1, 2}, 24: {4}, 27: {7}}[code]
            elif code in (38, 48) and codes[:1] == [5]:
                picked = colour(codes[1])
                del codes[:2]
                if code == 38:
                    self.front = picked
                else:
                    self.back = picked
            elif code in (39, 49):
                self.front, self.back = (None, self.back) if code == 39 else (self.front, None)
            elif 30 <= code < 38 or 90 <= code < 98:
                self.front = colour(code - 30 if code < 38 else code - 82)
            elif 40 <= code < 48 or 100 <= code < 108:
                self.back = colour(code - 40 if code < 48 else code - 92)
            else:
                sys.exit(f"terminal.py: SGR {code} is not known")

    def css(self):
        front, back = self.front, self.back
        if 7 in self.marks:
            front, back = back or BACK, front or FRONT
        parts = [f"color:{front}"] * bool(front) + [f"background:{back}"] * bool(back)
        parts += [text for mark, text in ((1, "font-weight:bold"), (2, "opacity:.6"),
                                          (4, "text-decoration:underline")) if mark in self.marks]
        return ";".join(parts)


look, page = Look(), []
for piece in re.split(r"(\x1b\[[0-9;]*m)", sys.stdin.read()):
    if piece.startswith("\x1b["):
        look.change(piece[2:-1])
    elif piece:
        page.append(f'<span style="{look.css()}">{html.escape(piece)}</span>')
print(f"<!doctype html><meta charset=utf-8><style>{STYLE}</style><pre>{''.join(page)}</pre>")
