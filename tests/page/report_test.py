#!/usr/bin/env python3
"""Looks at the report of mslt profile in a headless Chromium: wide and narrow, light and dark, and in print.

    python3 tests/page/report_test.py build/release/bin/mslt [--pictures FOLDER]

Profiles a small model and opens its page. Exits with 77 where there is no Chromium.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

from browser import Browser, check, installed

BACKGROUND = "getComputedStyle(document.body).backgroundColor"
# Each text must be readable on what lies behind it: WCAG's contrast, where 4.5 is asked for texts of this size.
CONTRAST = """(() => {
  const light = colour => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map(Number)
        .map(c => c / 255).map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const shown = colour => !/, 0\\)$|transparent/.test(colour);
  let least = 21;
  for (const one of document.querySelectorAll('h1, h2, p, th, td, text')) {
    if (!one.textContent.trim()) continue;
    const style = getComputedStyle(one);
    let behind = one;
    while (behind && !shown(getComputedStyle(behind).backgroundColor)) behind = behind.parentElement;
    const ground = light(behind ? getComputedStyle(behind).backgroundColor : 'rgb(255, 255, 255)');
    const text = light(one.tagName === 'text' ? style.fill : style.color);
    least = Math.min(least, (Math.max(text, ground) + 0.05) / (Math.min(text, ground) + 0.05));
  }
  return least;
})()"""


def looks(browser, width, scheme, medium, picture):
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
    browser.call(
        "Emulation.setEmulatedMedia", media=medium, features=[{"name": "prefers-color-scheme", "value": scheme}]
    )
    name = f"{medium} {scheme} {width}"
    overflow = browser.js("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    check(overflow <= 0, f"{name}: the page is {overflow} pixels too wide")
    contrast = browser.js(CONTRAST)
    check(contrast >= 4.5, f"{name}: a text has a contrast of {contrast:.1f}")
    sizes = browser.js("[...document.querySelectorAll('svg[role=img]')].map(e => e.getBoundingClientRect().width)")
    check(sizes and min(sizes) >= 540, f"{name}: charts are {sizes} pixels wide, too small to read")
    if picture:
        size = browser.js("document.documentElement.scrollHeight")
        browser.call("Emulation.setDeviceMetricsOverride", width=width, height=size, deviceScaleFactor=1, mobile=False)
        browser.picture(picture / f"report {name}.png")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("mslt", type=pathlib.Path)
    parser.add_argument("--pictures", type=pathlib.Path)
    arguments = parser.parse_args()
    program = installed()
    if not program:
        print("skipped: there is no Chromium")
        return 77
    if arguments.pictures:
        arguments.pictures.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        page = pathlib.Path(folder) / "report.html"
        sizes = "--layers 2 --channels 32 --heads 2 --max-positions 32 --vocab-size 300 --batch-size 2 --rounds 5"
        command = [arguments.mslt, "profile", "train", "--device", "cpu", *sizes.split(), "--report", page]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        browser = Browser(program, folder)
        try:
            browser.open(page.as_uri(), "!!document.querySelector('.roof')")
            backgrounds = {}
            for medium, scheme, width in (
                ("screen", "light", 1200), ("screen", "dark", 1200), ("screen", "light", 380), ("screen", "dark", 380),
                ("print", "light", 800), ("print", "dark", 800),
            ):  # fmt: skip
                looks(browser, width, scheme, medium, arguments.pictures)
                backgrounds[medium, scheme] = browser.js(BACKGROUND)
            check(backgrounds["screen", "light"] != backgrounds["screen", "dark"], "dark is as light")
            check(backgrounds["print", "light"] == backgrounds["print", "dark"], "prints dark")
            points = browser.js("document.querySelectorAll('.point title').length")
            check(points > 5, f"the roofline shows {points} points")
            elsewhere = [url for url in browser.fetched if url != page.as_uri()]
            check(elsewhere == [], f"the page asked others: {elsewhere}")
            check(browser.errors == [], f"the page failed: {browser.errors}")
        finally:
            browser.close()
    print("The report looks as it should.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
