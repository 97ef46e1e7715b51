// The style and the parts of pages.
#include "train/report_page.h"

#include "base/fail.h"
#include "train/chart.h"

namespace mslt {
namespace {

constexpr std::string_view style = R"css(
:root { color-scheme: light dark; --page: #fbfbfa; --card: #ffffff; --ink: #1d2127; --soft: #69707a; --rule: #e3e5e8;
  --train: #b9c8e6; --smooth: #2458b8; --valid: #d1620b; --rate: #6b4fb3; --speed: #14806a; --norm: #a8365f; }
@media (prefers-color-scheme: dark) {
  :root { --page: #14171b; --card: #1c2026; --ink: #e8eaed; --soft: #9aa2ad; --rule: #323840;
    --train: #3c5078; --smooth: #7ba7f7; --valid: #f0a050; --rate: #b39af0; --speed: #4fc4a8; --norm: #ee86ac; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 36px 24px 56px; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 4px; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { font-size: 17px; margin: 40px 0 12px; }
.lead, .muted { color: var(--soft); }
.lead { margin: 0 0 24px; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 12px; margin-bottom: 20px; }
.figure, .panel { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; }
.figure { padding: 12px 16px; }
.figure b { display: block; font-size: 20px; white-space: nowrap; font-weight: 600; font-variant-numeric: tabular-nums; line-height: 1.3; }
.figure span { color: var(--soft); font-size: 13px; }
.panel { padding: 14px 16px 8px; margin-bottom: 16px; overflow-x: auto; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 16px; align-items: start; }
.columns .panel { margin: 0; }
svg { display: block; width: 100%; height: auto; font-family: inherit; }
svg[role=img] { min-width: 540px; }
.chart-title { font-size: 14px; font-weight: 600; fill: var(--ink); }
.tick, .legend { font-size: 11px; fill: var(--soft); }
.grid { stroke: var(--rule); stroke-width: 1; }
.mark { stroke: var(--soft); stroke-width: 1; }
.line { fill: none; stroke-width: 1.8; stroke-linejoin: round; stroke-linecap: round; }
.line-train { stroke: var(--train); stroke-width: 1.2; } .key-train { fill: var(--train); }
.line-smooth { stroke: var(--smooth); } .key-smooth { fill: var(--smooth); }
.line-valid { stroke: var(--valid); } .key-valid { fill: var(--valid); }
.line-rate { stroke: var(--rate); } .line-speed { stroke: var(--speed); } .line-norm { stroke: var(--norm); }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: left; padding: 5px 0; border-bottom: 1px solid var(--rule); vertical-align: top; }
tr:last-child > * { border-bottom: 0; }
th { font-weight: 400; color: var(--soft); padding-right: 16px; width: 45%; }
td { font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
h3 { font-size: 14px; margin: 0 0 6px; }
pre { margin: 0; padding: 2px 0 8px; white-space: pre-wrap; overflow-wrap: anywhere;
  font: 13px/1.55 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
@media print {
  :root { --page: #ffffff; --card: #ffffff; --ink: #000000; --soft: #555555; --rule: #cccccc; --train: #b9c8e6;
    --smooth: #2458b8; --valid: #d1620b; --rate: #6b4fb3; --speed: #14806a; --norm: #a8365f; }
  main { padding: 0; max-width: none; } .panel, .figure, pre { break-inside: avoid; } h2 { break-after: avoid; } }
)css";

}  // namespace

std::string html_page_begin(std::string_view title, std::string_view more_style) {
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n"
      "<style>{}{}</style>\n</head>\n<body>\n<main>\n",
      escape_html(title), style, more_style);
}

std::string html_page_end() {
  return "</main>\n</body>\n</html>\n";
}

std::string html_table(const HtmlRows& rows) {
  std::string html = "<table>\n";
  for (const auto& [name, value] : rows) {
    html += fmt::format("<tr><th scope=\"row\">{}</th><td>{}</td></tr>\n", escape_html(name), escape_html(value));
  }
  return html + "</table>\n";
}

std::string html_panel(std::string_view title, const std::string& body) {
  return fmt::format("<section class=\"panel\"><h3>{}</h3>\n{}</section>\n", escape_html(title), body);
}

std::string html_figure(const std::string& value, std::string_view label) {
  return fmt::format("<div class=\"figure\"><b>{}</b><span>{}</span></div>\n", escape_html(value), escape_html(label));
}

}  // namespace mslt
