"""What JavaScript refuses though its grammar takes it, compared with Node where that is there."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from infill_engine.budget import UNLIMITED
from infill_ls.syntax import javascript
from infill_ls.syntax.check import check
from infill_ls.syntax.language import language_id_of
from infill_ls.syntax.parse import utf8
from infill_ls.syntax.rules import first_fault
from infill_ls.syntax.trees import Trees
from tests.infill_ls.syntax.sources import FILES, fresh, marked

ROOT = Path(__file__).parents[3]
F = "function f(a, { b }) {\n  const c = 1;\n  ‸\n}\n"
REFUSED = [
    *((F, text) for text in ("await g();", "for await (const x of a) {}", "yield a;", "break;")),
    *((F, text) for text in ("continue;", "const d;", "const { d };", "let c = 2;", "let a = 1;")),
    *((F, text) for text in ("let b;", "var c;", "let d, d;", "class c {}", "try { a() }")),
    *((F, text) for text in ("if (a) const d = 1;", "for (;;) let d;", "function (a) {}")),
    *((F, text) for text in ("switch (a) { default: default: }", "x++ ++;", "a?.b = 1;", "++1;")),
    *((F, text) for text in ("a ?? b || c;", "a && b ?? c;", "throw\n  a;", "{ d: 1, e: 2 }")),
    *((F, text) for text in ('import d from "d";', "export default 1;", "super();", "super.d;")),
    *((F, text) for text in ("(d, d) => 1;", "d = { else };", "const { , d } = a;", "g(a,, b);")),
    *((F, text) for text in ("/a/gg;", "while (a) { () => { break; } }", "d: { continue d; e }")),
    *((F, text) for text in ("function g(d, { d }) {}", "for (;;) { break d; }")),
    ("class A {\n  constructor() {}\n  ‸\n}\n", "constructor(a) {}"),
    ('import a from "a";\n‸\n', "return 1;"),
    ('import a from "a";\n‸\n', "const a = 1;"),
    ("const c = 1;\n‸\nlet d = 2;\n", "let d = 3;"),
    ("try {\n} catch (e) {\n  ‸\n}\n", "let e = 1;"),
    ("switch (a) {\n  case 1:\n    let b = 1;\n  ‸\n}\n", "case 2:\n    let b = 2;"),
]
TAKEN = [
    *(
        (F, text)
        for text in ("async () => await g();", "const d = async function () { await g() };")
    ),
    *(
        (F, text)
        for text in ("function* g() { yield a; yield }", "while (a) break;", "const d = 1;")
    ),
    *(
        (F, text)
        for text in ("{ const c = 2; }", "var a;", "() => { let c = 2; }", "if (a) var d;")
    ),
    *((F, text) for text in ("try { a() } finally { b() }", "for (let d = 0; ; ) {}", "return;")),
    *((F, text) for text in ("for (const d of a) continue;", "(a ?? b) || c;", "a ?? (b && c);")),
    *((F, text) for text in ("d: for (;;) { for (;;) continue d; }", "[, a] = a;", "g(a, b,);")),
    *((F, text) for text in ("(function () {})();", "({ d: 1, e: 2 });", "{ d: 1 }", "a.b++;")),
    *(
        (F, text)
        for text in ("x = { if: 1, a, ...b };", "x.delete();", "throw new Error(a);", "/a/g;")
    ),
    *((F, text) for text in ("switch (a) { case 1: break; default: }", "a?.b.c;", "let d, e;")),
    *(
        (F, text)
        for text in ("const { d = 1, e: { c: g } } = a;", "function g(_, _) {}", "f(f)[0] = 1;")
    ),
    *((F, text) for text in ("class A extends B { constructor() { super() } d() { super.d() } }",)),
    *(
        (F, text)
        for text in ("x = { d() { return super.d() } };", "import('d');", "async (d) => { }")
    ),
    ("class A {\n  constructor() {}\n  ‸\n}\n", "static constructor() {}"),
    ("‸\n", "return 1;"),
    ('import { a as b } from "a";\n‸\n', "const a = 1;"),
    ("function a() {}\n‸\n", "var a;"),
    ("try {\n  a();\n} ‸\n", "catch (e) {}"),
    ("while (a) {\n  ‸\n", "break;\n}"),
    ("// ‸\n", "break;"),
]
TYPES = [
    ("‸\n", "declare const a: number;", True),
    ("‸\n", "export declare const a: number, b;", True),
    ("declare module 'm' {\n  ‸\n}\n", "export const a: string;", True),
    ("namespace N {\n  ‸\n}\n", "export function f() {}", True),
    ("‸\n", "function f(a: string): void;\nfunction f(a: any) {}", True),
    ("‸\n", "class A { constructor(a: string);\n  constructor(a: any) {} }", True),
    ("‸\n", "let x = a! as const;\na!.b = 1;\n(a as B).c++;", True),
    ("‸\n", "import type { A } from './a';\nclass B { private c = super.d; }", True),
    ("‸\n", "function f(a: string, a: number) {}", False),
    ("function f() {\n  ‸\n}\n", "await g<string>();", False),
    ("‸\n", "enum A { B }\nconst c: A = A.B;\nlet c = 1;", False),
]


def valid(source: str, text: str, language_id: str = "javascript") -> bool:
    point = Trees().point(*marked(source, language_id))
    assert point is not None
    return check(point, text).valid


@pytest.mark.parametrize("language_id", ["javascript", "typescript"])
@pytest.mark.parametrize(("source", "text"), REFUSED)
def test_what_the_language_refuses(source: str, text: str, language_id: str) -> None:
    assert not valid(source, text, language_id)


@pytest.mark.parametrize(("source", "text"), TAKEN)
def test_what_the_language_takes(source: str, text: str) -> None:
    assert valid(source, text)


@pytest.mark.parametrize(("source", "text", "expected"), TYPES)
def test_types_have_rules_of_their_own(source: str, text: str, expected: bool) -> None:
    assert valid(source, text, "typescript") == expected


def test_what_was_wrong_before_is_not_the_texts_fault() -> None:
    broken = "function f() {\n  break;\n  await g();\n  const a;\n  ‸\n}\n"

    assert valid(broken, "h();")
    assert not valid(broken, "continue;")


def test_files_that_run_have_no_fault() -> None:
    sources = [*FILES, *ROOT.glob("editors/vscode/src/*.ts"), *ROOT.glob("benchmarks/cases/*")]
    names = ("javascript", "javascriptreact", "typescript", "typescriptreact")
    chosen = [each for each in sources if language_id_of(each.name) in names]
    assert len(chosen) > 10
    for path in chosen:
        text = path.read_text(encoding="utf-8")
        tree = fresh(text, language_id_of(path.name))
        span = 0, len(utf8(text))
        assert first_fault(tree, span, javascript.RULES, budget=UNLIMITED) is None, path


JUDGE = """
const vm = require('vm'), texts = JSON.parse(require('fs').readFileSync(0, 'utf8'));
const takes = text => {
  try {
    /^import .* from|^export /m.test(text) ? new vm.SourceTextModule(text)
      : vm.compileFunction(text);
    return true;
  } catch { return false; }
};
console.log(JSON.stringify(texts.map(takes)));
"""


@pytest.mark.skipif(not shutil.which("node"), reason="Node is the judge")
def test_node_says_the_same_of_the_tables() -> None:
    texts = [source.replace("‸", text) for source, text in [*REFUSED, *TAKEN]]
    said = subprocess.run(
        ["node", "--no-warnings", "--experimental-vm-modules", "-e", JUDGE],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        check=True,
    )
    takes = json.loads(said.stdout)

    assert [t for t, taken in zip(texts[: len(REFUSED)], takes, strict=False) if taken] == []
    assert [t for t, taken in zip(texts, takes, strict=True)][len(REFUSED) :] == [
        t for t, taken in zip(texts, takes, strict=True) if taken
    ]
