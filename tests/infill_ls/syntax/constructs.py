"""Sources full of what a look at single lines gets wrong: quotes and comments in regular
expressions, here-documents, templates in templates, comments of many lines."""

CONSTRUCTS = {
    "javascript": r"""const quote = /[/"]'/g.test(text) || text.split(/\/*`/);
const ratio = total / count / 2; // it's "half"
/* a comment
 * that isn't "over" `yet`
 */
const page = `<a href="${base + `/${path}?q=${names["it's"]}`}">${title}</a>`;
const plain = `it's // not a comment ${count} /* nor this */`;
function next(text) {
  return /"/.test(text) ? text.replace(/'/g, "`") : text;
}
""",
    "typescript": r"""const quote: RegExp = /[/"]'/g;
const half = (total / count) as number; // it's
/** A comment
 * that isn't "over" `yet`
 */
const page: string = `<a ${attrs.map((a) => `${a.name}="${a.value}"`).join(" ")}>`;
function next(text: string): string {
  return text.replace(/["'`]/g, "") + text;
}
""",
    "ruby": r"""quote = text =~ /["'#]/ ? "it's" : 'a "b" # c'
half = total / count / 2 # it's
page = <<~HTML
  <a href="#{base}">it's # no comment</a>
HTML
name = "a #{names["b"] + 'c'} # d"
=begin
it isn't "over"
=end
raw = <<-'RAW'.strip
  "#{no}
  RAW
puts(page, name)
""",
    "shellscript": r"""greeting="it's ${name:-"nobody"} # here"
cat <<EOF > "$out"
it's "$greeting" # no comment
EOF
count=${#names} # it's a count
cat <<-'END'
	don't "$expand"
	END
path="$(dirname "$(readlink -f "$0")")"
echo 'a \' "b" # "c"
""",
    "php": r"""<?php
$quote = preg_match('/["\']/', $text) ? "it's" : 'a "b" // c';
$half = $total / $count; // it's
$page = <<<HTML
  <a href="$base">it's // no comment</a>
HTML;
/* it isn't
 * "over"
 */
$raw = <<<'RAW'
"$no
RAW;
echo $page, $raw; # it's
""",
    "python": r'''"""It isn't 'over'
# nor is this a comment
"""
quote = "it's # no comment" if text else 'a "b"'
page = f"""<a href='{base}'>
  it's # {title}
</a>"""
half = total // count  # it's "half"
''',
    "c": r"""/* it isn't "over"
 // yet
 */
static char quote = '"', other = '\'';
static const char *url = "http://a/*b*/"; // it's
int half(int total, int *count)
{
    return total / *count; /* "half */
}
""",
    "rust": r"""/* it isn't "over" /* nor here */
 // yet
 */
fn quote<'a>(text: &'a str) -> char {
    let raw = r#"it's "raw" // here"#;
    let long = "over
        two 'lines";
    if text == raw || text == long { '"' } else { '\'' } // it's
}
""",
}

# The same in languages whose grammar does not say it, or that have none: for the lexer alone.
LEXED_CONSTRUCTS = {
    "htmldjango": """<p>a 5" disk, it's</p>
{% comment "it's" %} <a href=" {{ not }}
 {# nor this #} {% endcomment %}
<!-- it's {{ a }} -->
<a href="{{ base|default:'b' }}/{% url "name" %}" @click="f('a')">{{ a }}</a>
{# it's #}
""",
    "yaml": """run: |
  don't (
  'a

# it's a comment
about: >-
    it's [ "folded
     too
- it: 'is "a'
  b: |2  # c

      "d
e: [a, 'b']
""",
    "sql": """CREATE FUNCTION f() LANGUAGE plpython3u AS $$
# it's (
$$;
SELECT 'it''s' -- it's
AS $$ BEGIN a := 'b'; END; $$
SELECT $$it's$$, 'a';
""",
    "perl": """my $a = q(it's) . "b";
=head1 It's

a (

=cut

print <<EOT . 'c';
it's @{[ f("a") ]} (
EOT
# it's
__END__
it's (
""",
    "csharp": r'''var a = $"b {c["d"]} {{e}}" + @"f\" + $@"g {h("i")} ""j""";
/* it's */ var k = '"'; // it's
var l = $"""m "n" {o("p")}""";
''',
    "elixir": r'''@doc ~S"""
It's "a" #{b} (
"""
def c, do: ~H"""
<p>it's #{d}</p>
"""
e = ~s(it's #{f("g")}) <> "h #{i["j"]}" # it's
''',
    "nix": """{ a = ''
    it's ${b "c"} ''${ not } ''' "
  ''; d = "e ${f}"; # it's
}
""",
    "lua": """--[==[ it's ]]
]==] a = [[it's "b]] -- it's
c = 'd"'
""",
    "vue": """<!-- it's <a b="c --><a :d="e('f')" g="it's" @h="i = 'j'">a 5" disk {{ k('l') }}</a>
""",
    "html": """<!-- it's --><a b="c {{ d|e:'f' }}" onclick="g('h')">a 5" it's</a>
""",
}
