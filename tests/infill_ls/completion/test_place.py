"""What the cursor stands in, in every language that says it in a way of its own."""

import pytest

from infill_ls.completion.context import context_at
from infill_ls.completion.gate import place
from infill_ls.documents import Document

# The language, the kind of each cursor in turn (code, comment or string), and the source.
PLACES = [
    # templates
    ("htmldjango", "cco", "a {% comment %}\n<p> it's {{ ‸ %} ‸\n{% endcomment %} ‸"),
    ("htmldjango", "co", '{% comment "why" %} a "b ‸ {% endcomment %}<p>‸</p>'),
    ("htmldjango", "co", "{%- comment -%} a ‸ {%- endcomment -%}<p>‸</p>"),
    ("htmldjango", "coco", "{# it's ‸ #} ‸ <!-- it's {{ a }} ‸ --> ‸"),
    ("htmldjango", "soooo", '<a href="a ‸ {{ b.‸ }}{% url ‸ %}">say "it ‸</a> don\'t ‸'),
    ("htmldjango", "cco", '{# {% comment %} ‸ #}<!-- "{# ‸ #}" -->‸'),
    ("twig", "coc", "{# what ‸ #}{{ a|‸ }}<!-- ‸ -->"),
    ("liquid", "cco", "{% comment %} {{ a ‸ }} {% endcomment %}{% # what ‸ %}{{ ‸ }}"),
    ("jinja", "cooc", "{# ‸ #}{{ a ‸ }}\ndon't {% if ‸ %}\n{% comment %} ‸ {% endcomment %}"),
    ("handlebars", "cccooo", "{{!-- {{a}} ‸ --}}{{! it's ‸ }}<!-- ‸ -->{{#if ‸}}<p>‸</p>{{~ ‸ ~}}"),
    ("handlebars", "so", '<a class="a ‸ {{b ‸}}">'),
    ("erb", "ccoso", '<%# it\'s ‸ %><!-- ‸ --><% if ‸ %><a class="a ‸ <%= b ‸ %>">'),
    ("ejs", "co", "<%# it's ‸ %><%= a ‸ %>"),
    ("blade", "cocoo", "{{-- it's ‸ --}}{{ ‸ }}<!-- ‸ -->@if (‸) <p>‸"),
    ("razor", "coc", "@* it's ‸ *@@Model.‸ <!-- ‸ -->"),
    # markup
    ("html", "coso", '<!-- it\'s "a ‸ --><p>a 5" disk ‸</p><a b="c ‸">‸</a>'),
    ("html", "so", "<a b='it ‸'>it's ‸</a>"),
    ("html", "co", "<!-- <script> ‸ </script> --><script>‸</script>"),
    ("html", "co", "<script>// ‸\nx = ‸</script>"),
    ("xml", "coso", "<?xml version='1.0'?><!-- a ‸ --><a>it's \"a ‸</a><a b='c ‸'>‸</a>"),
    ("vue", "coosoo", '<!-- ‸ --><p>{{ a.‸ }}</p><a @click="f(‸)" class="a ‸" :b="c.‸">it\'s ‸'),
    ("vue", "oos", '<a v-if="a.‸" v-on:b.c="d ‸" title="e ‸">'),
    ("svelte", "cooso", '<!-- ‸ --><p>{a.‸}</p><a on:click={() => ‸} class="a ‸ {b.‸}">'),
    ("markdown", "oc", "It's ‸\n\n<!-- what ‸\n-->\n"),
    ("markdown", "coo", "```py\n# ‸\nx = ‸\n```\n‸"),
    ("javascriptreact", "coo", "a = <p>{/* it's ‸ */}{b.‸}it is ‸</p>;"),
    ("latex", "ocoo", "It's ‸ 5\\% a % it's ‸\n\"` ‸\n$a ‸$"),
    ("latex", "co", "\\begin{comment}\nit's ‸\n\\end{comment}\n‸"),
    # code within text, and text within code
    ("php", "coco", "<!-- it's ‸ -->\n<p>it's ‸</p>\n<?php # it's ‸\n$a = ‸;"),
    ("php", "soco", '<?php $a = 1 ?>\n<a b="it ‸ <?= $a->‸ ?>"><!-- it\'s <?= 1 ?> ‸ -->‸'),
    ("php", "coo", "<?php // it's ‸ ?><p>it's ‸\n<?php $a = ‸"),
    ("php", "oco", "<?php\n$a = ‸; /* it's ‸ */ $b = ‸"),
    ("php", "sooso", "<?php $a = \"b ‸ {$c->‸} ${‸}\"; $d = '{$e ‸}'; ‸"),
    ("php", "soos", "<?php $a = <<<A\nit's ‸ {$b->‸} \"\nA; ‸\n$c = <<<'D'\n{$e ‸}\nD;"),
    ("php", "oo", "<html>\n<p>it's ‸</p>\n<b>‸"),
    ("sql", "oso", "CREATE FUNCTION f() AS $$\nBEGIN\n  a := ‸ 'b ‸';\n ‸\n$$ LANGUAGE plpgsql;"),
    ("sql", "oco", "DO $b$ BEGIN ‸ -- it's ‸\n a ‸ $b$;"),
    ("sql", "oo", "AS $$ SELECT 1 ‸ $$ LANGUAGE sql; AS $$ SELECT ‸ $$"),
    ("sql", "oo", "$$ LANGUAGE sql; CREATE FUNCTION g() AS $$\n SELECT ‸;\n$$;\nSELECT ‸"),
    ("sql", "coso", "AS $$\n# it's ‸\na = ‸\nb = '‸'\n$$ LANGUAGE plpython3u;\nSELECT ‸"),
    ("sql", "coo", "LANGUAGE plv8 AS $a$\n// it's ‸\nreturn ‸\n$a$;\nSELECT ‸;"),
    ("yaml", "osos", "run: |\n  don't ‸\nabout: >\n  don't # ‸\n\n  stop\nb: ‸\nc: 'd ‸'"),
    ("yaml", "oooco", "a:\n- |\n  don't ‸\n- 'b': |- # c\n    d: 'e\n\n    ‸: f ‸\n  # ‸\ng: ‸"),
    ("yaml", "ooo", "- run: |\n    echo 'a ‸\n    b: 'c ‸\n- x: ‸"),
    ("yaml", "cco", "a: 1 # it's ‸\n# it's ‸\nb: a#c ‸"),
    ("dockerfile", "coo", "# it's ‸\nRUN <<EOF\necho don't ‸\nEOF\nRUN ‸"),
    ("makefile", "coc", "# it's ‸\na: b\n\techo $(C) ‸\n\t# it's ‸\n"),
    # comments of several lines
    ("perl", "occo", "$a = ‸;\n\n=pod\n\nIt's ‸\n\n=head1 ‸\n\n=cut\n\n$b = ‸"),
    ("perl", "co", "=head1 It's\n\n‸\n\n=cut\n$x = ‸"),
    ("perl", "oc", "$a = $b\n  =~ ‸;\n__END__\nit's ‸"),
    ("ruby", "coo", "=begin\nit's ‸\n=end\nx = ‸\ny\n  =begin ‸"),
    ("ruby", "oc", "x = ‸\n__END__\nit's ‸"),
    ("lua", "cosoo", "--[[ it's ‸ ]] a = ‸\nb = [==[ it's ]] ‸ ]==] c = ‸\n-- [[ d\n‸"),
    ("haskell", "ccoo", "{- a {- it's ‸ -} ‸ -} b = ‸\nf' x = ‸"),
    ("ocaml", "ccooso", "(* a (* it's ‸ *) ‸ *) let b = ‸ f' ‸ \"c ‸\" ‸"),
    ("fsharp", "coso", '(* it\'s ‸ *) let f = (*) ‸ """a "b ‸""" ‸'),
    ("rust", "ccosso", '/* a /* it\'s ‸ */ ‸ */ b = ‸ r#"a " ‸"# "c ‸" ‸'),
    ("julia", "cco", "#= a #= it's ‸ =# ‸ =# b = ‸"),
    ("powershell", "coso", "<# it's ‸ #> $a = ‸; $b = @'\nit's ‸\n'@\n$c = ‸"),
    ("coffeescript", "co", "###\nit's ‸\n###\nx = ‸"),
    ("nim", "cco", "#[ a #[ it's ‸ ]# ‸ ]# x = ‸"),
    ("matlab", "coco", "%{\nit's ‸\n%}\nx = ‸ % it's ‸\ny = a' * ‸"),
    ("clojure", "cosc", "; it's ‸\n(a '‸ \"b ‸\" #_ c) ; ‸"),
    ("racket", "cco", "#| a #| it's ‸ |# ‸ |# (b ‸)"),
    ("d", "cco", "/+ a /+ it's ‸ +/ ‸ +/ b = ‸"),
    ("pascal", "ccco", "{ it's ‸ } (* it's ‸ *) // it's ‸\nx := ‸"),
    ("cmake", "coso", '#[[ it\'s\n‸ ]] set(‸ "a ‸") ‸'),
    ("terraform", "coso", "/* it's ‸ */ a = ‸\nb = <<E\nit's ‸ ${c.‸}\nE"),
    # strings of several lines, and code in them
    ("cpp", "so", 'a = R"x(it\'s ")" ‸)x" + ‸'),
    ("swift", "ssoso", '"""\nit\'s ‸\n""" #"a " ‸"# + ‸; "b ‸ \\(c.‸)"'),
    ("swift", "oo", '"\\(a(b.‸))" #"\\#(c.‸)"#'),
    ("kotlin", "soso", '"""it\'s "a ‸ ${b.‸}""" + "c ‸" + ‸'),
    ("scala", "sooso", '"""it\'s "a ‸""" + ‸ s"${b.‸} ‸" + ‸'),
    ("csharp", "soso", '$"a ‸ {b.‸}" + @"c\\" + "d ‸" + ‸'),
    ("csharp", "ooo", '$@"{a.‸}" + $"""{b.‸}""" + ‸'),
    ("nix", "sosso", "''\n  it's ‸ ${a.‸} ''${b ‸} ''' ‸\n'' + ‸"),
    ("zig", "sso", "a =\n    \\\\it's ‸\n    \\\\b ‸\n; c = ‸"),
    ("elixir", "sos", '@doc """\nIt\'s ‸ #{a.‸}\n""" \n~s(b ‸)'),
    ("elixir", "so", '~S"""\nit\'s "a" ‸\n"""\nb = ‸'),
    ("elixir", "oo", '~H"""\n<p>it\'s ‸</p>\n"""\nb = ‸'),
    ("elixir", "oso", "~s(a #{b.‸}) ~S(#{c ‸}) ‸"),
    ("ruby", "oso", "%Q(a #{b.‸}) %q(#{c ‸}) ‸"),
    ("ruby", "soso", "x = <<~A\n  it's ‸ #{b.‸} \"\nA\ny = <<~'C'\n  #{d ‸}\nC\nz = ‸"),
    ("shellscript", "soso", "cat <<E\nit's ‸ $(f ‸) \"\nE\ncat <<'E'\n$(g ‸)\nE\nh ‸"),
    ("perl", "sso", "print <<E;\nit's ‸\nE\n$a = q{it's ‸}; ‸"),
    ("python", "sosoo", '"""it\'s "a ‸""" + f"{b.‸} ‸" + ‸ # \n‸'),
    ("python", "o", "f'''{a['b'].‸}'''"),
    ("java", "soc", 'a = """\n  it\'s "b" ‸\n"""; ‸ /* it\'s ‸'),
    ("dart", "soo", "'''it\\'s ‸ ${a.‸}''' + ‸"),
    ("groovy", "soo", '"""it\'s ‸ ${a.‸}""" + ‸'),
    ("toml", "sco", 'a = """it\'s\n‸"""\n# it\'s ‸\nb = ‸'),
    ("go", "so", "a = `it's \" ‸` + ‸"),
    ("typescript", "soco", "`it's ‸ ${a.‸}` // it's ‸\nb = ‸"),
    ("javascript", "ooo", "a = /it's ‸/ / ‸ c;\nd = ‸"),
    ("graphql", "sco", '"""it\'s ‸"""\n# it\'s ‸\ntype ‸'),
]
KINDS = {"o": "code", "c": "comment", "s": "string"}


def kinds(language_id: str, source: str) -> str:
    """Of each cursor, the text without the others."""
    pieces = source.split("‸")
    found = ""
    for number in range(1, len(pieces)):
        before, after = "".join(pieces[:number]), "".join(pieces[number:])
        document = Document(
            uri="file:///a", version=1, language_id=language_id, text=before + after
        )
        said = place(context_at(document, len(before)))
        found += next(each for each, kind in KINDS.items() if kind == said)
    return found


@pytest.mark.parametrize(("language_id", "expected", "source"), PLACES)
def test_what_the_cursor_stands_in(language_id: str, expected: str, source: str) -> None:
    assert kinds(language_id, source) == expected
